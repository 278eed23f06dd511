"""One child process and its pipe, as an event loop sees them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from spectacles_engine.messages import EngineOptions, FromChild, ToChild

log = logging.getLogger(__name__)

Target = Callable[[Any, Any], None]
"""``target(pipe, options)``: what runs in the child; a function at the top of a module, for it is found by its name."""

_EXIT_S = 5.0
"""How long a process may take to be gone once it is told to."""


class ChildEnded(Exception):
    """The process is gone; ``str()`` says how, for the log."""


class Child:
    """A process of its own (spawn: CUDA bears no fork) with a fresh pipe; starts at once, in a thread.

    That thread starts it, listens to it, and sees its end; everything else belongs to whoever owns this object.
    """

    def __init__(self, target: Target, options: EngineOptions) -> None:
        context = get_context("spawn")
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[FromChild | None] = asyncio.Queue()
        self._end = asyncio.Event()
        self._is_doomed = False
        self._pipe: Connection[ToChild, FromChild]
        self._pipe, self._far_end = context.Pipe()
        # daemon: should the bot end without ``leave``, it takes its children along instead of waiting for them
        self._process = context.Process(target=target, args=(self._far_end, options), daemon=True)
        threading.Thread(target=self._live, name="engine", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Number of the process, once there is one."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._end.is_set()

    async def receive(self) -> FromChild | None:
        """The next message, or None after ``wake``; raises ChildEnded when there is nothing more to come."""
        while not (self.has_ended and self._inbox.empty()):
            message = await self._inbox.get()
            # what woke the caller may be the end itself: then what came before it is still to be read
            if message is not None or not self.has_ended:
                return message
        raise ChildEnded(f"ended with exit status {self._process.exitcode}")

    def wake(self) -> None:
        """Has ``receive`` return, so that its caller looks around."""
        self._inbox.put_nowait(None)

    def send(self, message: ToChild) -> None:
        """Sends a message; one to a process that is gone is lost, as ``receive`` tells."""
        with contextlib.suppress(OSError):
            self._pipe.send(message)

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._is_doomed = True  # seen by the thread if it is only about to start it
        if self._process.pid is not None:
            self._process.kill()

    async def ended(self, within_s: float = _EXIT_S) -> bool:
        """Waits for the end; False if it did not come in time."""
        try:
            async with asyncio.timeout(within_s):
                await self._end.wait()
        except TimeoutError:
            return False
        return True

    def _live(self) -> None:
        try:
            self._start()
            # the first two are how the end of a process shows, the third how that of the loop does
            with contextlib.suppress(EOFError, OSError, RuntimeError):
                while True:
                    message = self._pipe.recv()
                    self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)
        except OSError:
            log.exception("no process can be started")
        finally:
            self._reap()

    def _start(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Ctrl-C goes to the child as well, and this early it could not yet ignore it. A process inherits the mask
            # of the thread that starts it; the tracker's own start would clear it.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._process.start()
        self._far_end.close()  # so that the child holds the only one, and its death is the end of the pipe
        if self._is_doomed:
            self._process.kill()

    def _reap(self) -> None:
        if self._process.pid is not None:
            self._process.join(_EXIT_S)
            self._process.kill()
            self._process.join()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._note_end)

    def _note_end(self) -> None:
        self._pipe.close()
        self._end.set()
        self.wake()

"""Keeper: has a child ready whenever one is asked for, whatever became of the last one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from spectacles_engine.child import Child, ChildEnded, Target
from spectacles_engine.errors import CancelledError, EngineError
from spectacles_engine.messages import Close, EngineOptions, Failed, FromChild, Ready, ToChild

log = logging.getLogger(__name__)

STARTS = 3
"""So many children in a row may die before they are ready; then there is no engine."""
NO_START = "the engine could not be started"


@dataclass(frozen=True)
class Deadlines:
    """How long to wait for a child, before it is killed: to load, for a sign of life, to cancel, and to leave."""

    start_s: float = 300.0
    stall_s: float = 300.0  # on two busy cores a chunk takes the four networks of `studio` nearly two minutes
    cancel_s: float = 10.0
    close_s: float = 10.0


DEADLINES = Deadlines()
HALTED_S = 5.0
"""A deadline that is noticed so much too late means that this process was halted itself, as in a paused container."""


class Lost(Exception):
    """The child died or hung, and is gone; ``str()`` says which, for the log."""


class Hung(Lost):
    """It gave no sign of life in time, and was killed."""


class Keeper:
    """Keeps one child at a time; belongs to one task, but for ``wake`` and what can be read."""

    def __init__(self, target: Target, options: EngineOptions, deadlines: Deadlines) -> None:
        self._target, self._options, self._deadlines = target, options, deadlines
        self._child: Child | None = None
        self._is_ready = False
        self._until = 0.0
        self.gpus = 0

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is a child."""
        return self._child.pid if self._child else None

    def wake(self) -> None:
        """Has ``hear`` and ``ready`` look around."""
        if self._child:
            self._child.wake()

    async def ready(self, is_unwanted: Callable[[], bool]) -> None:
        """Returns when the child is loaded and warm; starts one if there is none.

        Raises EngineError, or CancelledError as soon as it is unwanted: the child then goes on loading, for the next.
        """
        if self._child and self._child.has_ended:
            log.warning("the engine died while it was idle")
            self._child = None
        for _ in range(STARTS):
            try:
                return await self._started(is_unwanted)
            except Hung as hung:
                raise EngineError(NO_START) from hung
            except Lost as lost:
                log.warning("the engine %s while it started", lost)
        raise EngineError(NO_START)

    async def _started(self, is_unwanted: Callable[[], bool]) -> None:
        if self._child is None:
            self._child, self._is_ready = Child(self._target, self._options), False
            self.expect(self._deadlines.start_s)
        while not self._is_ready:
            if is_unwanted():
                raise CancelledError("cancelled")
            message = await self.hear()
            if isinstance(message, Failed):
                await self.drop(message.traceback)
                raise EngineError(str(message.error))
            if isinstance(message, Ready):
                self.gpus, self._is_ready = message.gpus, True
                log.info("the engine is ready, on %s", "a GPU" if message.gpus else "the CPU")

    def send(self, message: ToChild) -> None:
        """Sends to the child that is ready; if it is gone, ``hear`` raises Lost."""
        assert self._child
        self._child.send(message)

    def expect(self, within_s: float) -> None:
        """Has ``hear`` give the child so much time from now on."""
        self._until = asyncio.get_running_loop().time() + within_s

    async def hear(self) -> FromChild | None:
        """The child's next message, or None, after ``wake`` for one; raises Lost."""
        assert self._child
        try:
            async with asyncio.timeout_at(self._until):
                return await self._child.receive()
        except ChildEnded as ended:
            self._child = None
            raise Lost(str(ended)) from ended
        except TimeoutError:
            if asyncio.get_running_loop().time() - self._until > HALTED_S:
                self.expect(self._deadlines.stall_s)
                return None
            await self.drop()
            raise Hung("gave no sign of life in time, and was killed") from None

    async def drop(self, traceback: str = "") -> None:
        """Kills the child, if there is one; the next ``ready`` starts another. ``traceback``: of a mistake of ours."""
        if traceback:
            log.error("a mistake in the engine:\n%s", traceback)
        if self._child:
            self._child.kill()
            if not await self._child.ended():
                log.error("the engine's process %s does not die", self._child.pid)
            self._child = None

    async def leave(self) -> None:
        """Has the child end by itself, if it does within ``Deadlines.close_s``."""
        if self._child and self._is_ready:
            self._child.send(Close())
            await self._child.ended(self._deadlines.close_s)
        await self.drop()

    def kill(self) -> None:
        """Kills the child without waiting for its end."""
        if self._child:
            self._child.kill()

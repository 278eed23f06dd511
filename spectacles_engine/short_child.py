"""One question to a short-lived child process: what reads a stranger's file can then at worst take itself down.

``ask`` is the side of the event loop, ``answer`` that of the child, a module with a ``__main__``. JSON goes both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from spectacles_engine.errors import SpecTaclesError, error_of

log = logging.getLogger(__name__)

MOST_MEMORY_BYTES = 4 << 30
"""Of address space, for the child: a file that would have it take more ends it."""

_ROOT = Path(__file__).parents[1]
_TOLD_TO_END = (-signal.SIGTERM, -signal.SIGINT)


class ChildFailed(Exception):
    """The child came to no answer, by a fault of ours or of this machine; the log has said more than ``str()``."""


class ChildDied(ChildFailed):
    """The child was ended in the midst of its work, perhaps by the file that it read."""


@contextlib.asynccontextmanager
async def running(
    module: str, *arguments: str, stdin: int
) -> AsyncIterator[tuple[Process, StreamReader, StreamReader]]:
    """``python -m module`` on one thread, its stdout and stderr; gone at the end. Raises OSError if none can be had."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=_ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for this process to hear
    )
    assert process.stdout
    assert process.stderr
    try:
        yield process, process.stdout, process.stderr
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(module: str, question: Mapping[str, Any], *, deadline_s: float) -> Any:
    """What ``python -m module`` answers; raises the SpecTaclesError that it raised, TimeoutError, or ChildFailed.

    Raises OSError where no child can be started (no memory, too many open files): the song is not at fault.
    The child is killed at the deadline, and when the caller is cancelled; it leaves by itself when this process dies.
    One that is told to end is asked again: that is meant for the whole bot (systemd tells all processes at once), and
    no fault of a song.
    Paths in the question must be absolute.
    """
    async with asyncio.timeout(deadline_s):
        while True:
            said, complaint, exit_status = await _asked(module, question, deadline_s)
            if exit_status not in _TOLD_TO_END:
                break
    if not said:
        log.error("%s does not start (exit status %s)\n%s", module, exit_status, complaint.decode(errors="replace"))
        raise ChildFailed(f"{module} does not start")
    return _understood(module, said, exit_status)


async def _asked(module: str, question: Mapping[str, Any], deadline_s: float) -> tuple[bytes, bytes, int | None]:
    """What one child says, what it complains of before it begins, and how it ends."""
    async with running(module, str(deadline_s), stdin=PIPE) as (process, out, complaints):
        assert process.stdin
        with contextlib.suppress(ConnectionError):  # it is dead already, as its answer shows
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
        said, complaint = await asyncio.gather(out.read(), complaints.read())
        return said, complaint, await process.wait()


def _understood(module: str, said: bytes, exit_status: int | None) -> Any:
    try:
        message = json.loads(said)
    except ValueError:
        log.warning("%s ended with exit status %s and no answer", module, exit_status)
        raise ChildDied(f"exit status {exit_status}") from None
    if "error" in message:
        raise error_of(*message["error"])
    if "traceback" in message:
        log.error("%s:\n%s", module, message["traceback"])
        raise ChildFailed("an error that nobody expected")
    return message["answer"]


def answer(work: Callable[[dict[str, Any]], Any]) -> None:
    """The child's whole life: reads the question, and writes what ``work`` makes of it, or how it failed."""
    out = os.dup(1)
    os.write(out, b"\n")  # it runs: an end without an answer is no broken installation any more
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):  # whatever a library prints is no answer
        os.dup2(nowhere, printed)
    question = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _limit(float(sys.argv[1]))
    try:
        message = {"answer": work(question)}
    except SpecTaclesError as error:
        message = {"error": (type(error).__name__, str(error))}
    except MemoryError:
        raise  # of the limit: the file wants too much
    except Exception:  # noqa: BLE001  the parent logs it
        message = {"traceback": traceback.format_exc()}
    with open(out, "w", encoding="utf-8") as answers:
        json.dump(message, answers)


def _leave_with_parent() -> None:
    # nothing more comes: this ends when the other end of the pipe is closed. Not by sys.stdin, whose lock a thread that
    # waits would still hold when Python ends, which aborts it
    os.read(0, 1)
    os._exit(1)


def _limit(deadline_s: float) -> None:
    """Bounds memory, and the time of the processor: a library that hangs might never let the watching thread run."""
    with contextlib.suppress(ImportError, ValueError, OverflowError, OSError):  # not every system has such limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        longest_s = int(deadline_s) + 60
        resource.setrlimit(resource.RLIMIT_CPU, (longest_s, longest_s))

"""EngineProcess: the one task that owns the engine's child process and its pipe (asyncio side; torch-free)."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from spectacles_engine import worker
from spectacles_engine.child import Target
from spectacles_engine.errors import MISTAKE_OF_OURS, CancelledError, EngineError, PoisonousError, SpecTaclesError
from spectacles_engine.keeper import DEADLINES, NO_START, STARTS, Deadlines, Keeper, Lost
from spectacles_engine.messages import (
    Cancel,
    Done,
    EngineOptions,
    Failed,
    Progress,
    Separate,
    SeparationRequest,
    SeparationResult,
)

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""A song that kills or hangs the engine this often is poisonous."""
CLOSED = "the engine is closed"


class Engine(Protocol):
    """What the service needs of an engine. A fake needs no inheritance."""

    async def start(self) -> None:
        """Returns when the models are loaded and warm; raises EngineError with a sentence if they can't be."""

    async def separate(
        self,
        job_id: str,
        song: Path,
        out: Path,
        request: SeparationRequest,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> SeparationResult:
        """One song at a time; more wait in line. Raises SpecTaclesError: what the song is at fault for, CancelledError
        after ``cancel``, PoisonousError when it killed or hung the engine twice, EngineError if there is no engine.

        ``out`` is a folder of the job's own: it is emptied first, and gone unless the job ends with stems.
        """

    def cancel(self, job_id: str) -> None:
        """Ends a job between two chunks, by force at a deadline; nothing happens if there is no such job."""

    async def close(self) -> None:
        """Ends the child after the running chunk; what runs or waits raises CancelledError."""


@dataclass(eq=False)
class _Job:
    """A caller who waits. ``order``: None if only for a ready engine; ``attempts``: how often a child has begun it."""

    answer: asyncio.Future[SeparationResult | None]
    order: Separate | None = None
    on_progress: Callable[[float], None] = lambda share: None
    cancelled: bool = False
    attempts: int = 0

    def is_for(self, job_id: str) -> bool:
        return self.order is not None and self.order.job_id == job_id


class EngineProcess:
    """An engine in a child process, which is replaced when it dies or hangs.

    Callers hold futures; one task alone, the owner, touches the child.
    """

    def __init__(
        self, options: EngineOptions, *, target: Target = worker.main, deadlines: Deadlines = DEADLINES
    ) -> None:
        self.options = options
        self._deadlines = deadlines
        self._keeper = Keeper(target, options, deadlines)
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._owner: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is a child."""
        return self._keeper.pid

    @property
    def gpus(self) -> int:
        """How many GPUs there are on this machine, once it was started."""
        return self._keeper.gpus

    async def start(self) -> None:
        try:
            await self._submit(_Job(asyncio.get_running_loop().create_future()))
        except CancelledError:
            raise EngineError(CLOSED) from None

    async def separate(
        self,
        job_id: str,
        song: Path,
        out: Path,
        request: SeparationRequest,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> SeparationResult:
        order = Separate(job_id, song, out, request)
        result = await self._submit(_Job(asyncio.get_running_loop().create_future(), order, on_progress))
        assert result is not None
        return result

    def cancel(self, job_id: str) -> None:
        for job in self._waiting:
            if job.is_for(job_id) and not job.answer.done():
                job.answer.set_exception(CancelledError("cancelled"))
        if self._running and self._running.is_for(job_id):
            self._running.cancelled = True
            self._look_up()

    async def close(self) -> None:
        self._closing = True
        self._look_up()
        if self._owner:
            await asyncio.wait([self._owner])

    async def _submit(self, job: _Job) -> SeparationResult | None:
        if self._closing:
            raise EngineError(CLOSED)
        if self._owner is None or self._owner.done():
            self._owner = asyncio.create_task(self._own())
        self._waiting.append(job)
        self._look_up()
        try:
            return await job.answer
        finally:
            self._look_up()  # a caller who is cancelled waits no longer

    def _look_up(self) -> None:
        """Has the owner see that something has changed: a job came, is cancelled, or the engine is to close."""
        self._news.set()
        self._keeper.wake()

    # The owner. Nothing below is called by anybody else.

    async def _own(self) -> None:
        try:
            while not self._closing:
                await self._news.wait()
                self._news.clear()
                while self._waiting and not self._closing:
                    self._running = self._waiting.popleft()
                    if not self._is_unwanted(self._running):
                        await self._answer(self._running)
                    self._running = None
            await self._keeper.leave()
        finally:
            self._keeper.kill()
            for job in (*self._waiting, self._running):
                if job and not job.answer.done():
                    job.answer.set_exception(CancelledError(CLOSED))

    async def _answer(self, job: _Job) -> None:
        result: SeparationResult | None = None
        error: SpecTaclesError | None = None
        try:
            if job.order is None:
                await self._keeper.ready(lambda: self._is_unwanted(job))
            else:
                result = await self._separated(job, job.order)
        except SpecTaclesError as expected:
            error = expected
        except Exception:
            log.exception("the owner of the engine made a mistake")
            error = SpecTaclesError(MISTAKE_OF_OURS)
        if job.order and (error or job.answer.done()):
            await _remove(job.order.out)
        if not job.answer.done():
            if error:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(result)

    async def _separated(self, job: _Job, order: Separate) -> SeparationResult:
        for _ in range(ATTEMPTS + STARTS):
            await self._keeper.ready(lambda: self._is_unwanted(job))
            await _remove(order.out)
            try:
                return await self._followed(job, order)
            except Lost as lost:
                log.warning("job %s: the engine %s", order.job_id, lost)
            if self._is_unwanted(job):
                raise CancelledError("cancelled")
            if job.attempts == ATTEMPTS:
                raise PoisonousError("this song brought the separation down twice, and is not tried again")
        raise EngineError(NO_START)

    async def _followed(self, job: _Job, order: Separate) -> SeparationResult:
        """Has the child do a job. Raises what the job ends with, or Lost."""
        self._keeper.send(order)
        self._keeper.expect(self._deadlines.stall_s)
        is_begun = is_told = False
        while True:
            if self._is_unwanted(job) and not is_told:
                self._keeper.send(Cancel(order.job_id))
                is_told = True
                self._keeper.expect(self._deadlines.cancel_s)
            message = await self._keeper.hear()
            if message and not is_begun:
                # a child that is lost before that is not the song's fault
                is_begun = True
                job.attempts += 1
            if isinstance(message, Progress) and not is_told:
                self._keeper.expect(self._deadlines.stall_s)
                # through the loop: what a caller's function raises must not reach the owner
                asyncio.get_running_loop().call_soon(job.on_progress, message.share)
            elif isinstance(message, Failed):
                if message.traceback:
                    # nobody knows what state that left the child in
                    await self._keeper.drop(message.traceback)
                raise message.error
            elif isinstance(message, Done):
                if is_told:
                    raise CancelledError("cancelled")
                return message.result

    def _is_unwanted(self, job: _Job) -> bool:
        return self._closing or job.cancelled or job.answer.done()


async def start_engines(options: EngineOptions, *, target: Target = worker.main) -> list[EngineProcess]:
    """One engine for each GPU, or one on the CPU; all but the first are left to start with ``start``.

    If the first cannot be started, it is the only one, and its own ``start`` says why.
    """
    first = EngineProcess(options, target=target)
    try:
        await first.start()
    except SpecTaclesError as error:
        log.warning("no engine yet: %s", error)
    except asyncio.CancelledError:
        # nobody else knows of it, and a process that is half started when the bot ends dies with a traceback
        await first.close()
        raise
    others = (EngineProcess(replace(options, gpu=gpu), target=target) for gpu in range(1, first.gpus))
    return [first, *others]


async def _remove(folder: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

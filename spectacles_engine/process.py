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
from spectacles_engine.child import Child, ChildEnded, Target
from spectacles_engine.errors import MISTAKE_OF_OURS, CancelledError, EngineError, PoisonousError, SpecTaclesError
from spectacles_engine.messages import (
    Cancel,
    Close,
    Done,
    EngineOptions,
    Failed,
    FromChild,
    Progress,
    Ready,
    Separate,
    SeparationRequest,
    SeparationResult,
)

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""A song that kills or hangs the engine this often is poisonous."""


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


@dataclass(frozen=True)
class Patience:
    """How long to wait for a child, before it is killed: to load, for a sign of life, to cancel, and to leave."""

    start_s: float = 300.0
    stall_s: float = 120.0
    cancel_s: float = 10.0
    close_s: float = 10.0


@dataclass(eq=False)
class _Job:
    """A caller who waits. ``order`` None: for an engine that is ready, no more."""

    answer: asyncio.Future[SeparationResult | None]
    order: Separate | None = None
    on_progress: Callable[[float], None] = lambda share: None
    cancelled: bool = False

    @property
    def is_unwanted(self) -> bool:
        return self.cancelled or self.answer.done()

    def is_for(self, job_id: str) -> bool:
        return self.order is not None and self.order.job_id == job_id


class _Lost(Exception):
    """The child died or hung; ``str()`` says which, for the log."""


class EngineProcess:
    """An engine in a child process, which is replaced when it dies or hangs.

    Callers hold futures; one task alone, the owner, touches the child.
    """

    def __init__(
        self, options: EngineOptions, *, target: Target = worker.main, patience: Patience = Patience()
    ) -> None:
        self.options = options
        self._target, self._patience = target, patience
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._owner: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._closing = False
        self._child: Child | None = None
        self._is_ready = False
        self._deadline = 0.0
        self.gpus = 0
        """How many GPUs there are on this machine, once it was started."""

    @property
    def pid(self) -> int | None:
        """The child's process number, while there is a child."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        await self._submit(_Job(asyncio.get_running_loop().create_future()))

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
            raise EngineError("the engine is closed")
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
        if self._child:
            self._child.wake()

    # The owner. Nothing below is called by anybody else.

    async def _own(self) -> None:
        try:
            while not self._closing:
                await self._news.wait()
                self._news.clear()
                while self._waiting and not self._closing:
                    self._running = self._waiting.popleft()
                    if not self._running.is_unwanted:
                        await self._answer(self._running)
                    self._running = None
            await self._farewell()
        finally:
            if self._child:
                self._child.kill()
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                if not job.answer.done():
                    job.answer.set_exception(CancelledError("the engine was closed"))

    async def _answer(self, job: _Job) -> None:
        result: SeparationResult | None = None
        error: SpecTaclesError | None = None
        try:
            if job.order is None:
                await self._ready(job)
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
        for _ in range(ATTEMPTS):
            child = await self._ready(job)
            await _remove(order.out)
            try:
                return await self._followed(child, job, order)
            except _Lost as lost:
                log.warning("job %s: the engine %s", order.job_id, lost)
                if job.is_unwanted or self._closing:
                    raise CancelledError("cancelled") from None
        raise PoisonousError("this song brought the separation down twice, and is not tried again")

    async def _ready(self, job: _Job) -> Child:
        """The child, loaded and warm; a new one if there is none. Raises EngineError, or CancelledError for the job."""
        if self._child and self._child.has_ended:
            log.warning("the engine died while it was idle")
            self._child = None
        if self._child is None:
            self._child, self._is_ready = Child(self._target, self.options), False
            self._deadline = _now_s() + self._patience.start_s
        while not self._is_ready:
            if job.is_unwanted or self._closing:
                raise CancelledError("cancelled")  # and the child goes on loading, for the next one
            try:
                message = await self._heard(self._child)
            except _Lost as lost:
                log.error("the engine %s while it started", lost)
                raise EngineError("the engine could not be started") from lost
            if isinstance(message, Failed):
                await self._drop(message)
                raise EngineError(str(message.error))
            if isinstance(message, Ready):
                self.gpus, self._is_ready = message.gpus, True
        return self._child

    async def _followed(self, child: Child, job: _Job, order: Separate) -> SeparationResult:
        """Has the child do a job. Raises what the job ends with, or _Lost."""
        child.send(order)
        is_told = False
        self._deadline = _now_s() + self._patience.stall_s
        while True:
            if (job.is_unwanted or self._closing) and not is_told:
                child.send(Cancel(order.job_id))
                is_told = True
                self._deadline = _now_s() + self._patience.cancel_s
            message = await self._heard(child)
            if isinstance(message, Progress) and not is_told:
                self._deadline = _now_s() + self._patience.stall_s
                # through the loop: what a caller's function raises must not reach the owner
                asyncio.get_running_loop().call_soon(job.on_progress, message.share)
            elif isinstance(message, Failed):
                if message.traceback:
                    await self._drop(message)
                raise message.error
            elif isinstance(message, Done):
                if is_told:
                    raise CancelledError("cancelled")
                return message.result

    async def _heard(self, child: Child) -> FromChild | None:
        """The child's next message, or None when there is something to look at; raises _Lost."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await child.receive()
        except ChildEnded as ended:
            self._child = None
            raise _Lost(str(ended)) from ended
        except TimeoutError:
            await self._drop()
            raise _Lost("gave no sign of life in time, and was killed") from None

    async def _drop(self, message: Failed | None = None) -> None:
        """Kills the child; after a mistake of ours as well: nobody knows what state that left it in."""
        if message and message.traceback:
            log.error("a mistake in the engine:\n%s", message.traceback)
        if self._child:
            self._child.kill()
            if not await self._child.ended():
                log.error("the engine's process %s does not die", self._child.pid)
            self._child = None

    async def _farewell(self) -> None:
        if self._child and self._is_ready:
            self._child.send(Close())
            await self._child.ended(self._patience.close_s)
        await self._drop()


async def start_engines(options: EngineOptions, *, target: Target = worker.main) -> list[EngineProcess]:
    """One engine for each GPU, or one on the CPU; all but the first are left to start with ``start``.

    If the first cannot be started, it is the only one, and its own ``start`` says why.
    """
    first = EngineProcess(options, target=target)
    try:
        await first.start()
    except EngineError as error:
        log.warning("the engine could not be started: %s", error)
    others = (EngineProcess(replace(options, gpu=gpu), target=target) for gpu in range(1, first.gpus))
    return [first, *others]


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _remove(folder: Path) -> None:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

"""Separating: the fair queue meets the engines. Each sound is separated once, for all jobs that wait for it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot import refusals
from bot.engines import Engines
from bot.jobs import Chat, Job, State
from bot.ledger import Ledger
from bot.patience import Patience
from bot.queue import forget_idle, ticket, turns
from bot.shelf import Shelf, stem_bytes
from bot.stations import sentence_of
from bot.store import Song
from spectacles_engine.errors import CancelledError, EngineError
from spectacles_engine.messages import STEMS, SeparationRequest, SeparationResult
from spectacles_engine.process import Engine

log = logging.getLogger(__name__)

_TOLD_EVERY_S = 0.25
_MOST_ENGINES_LOST = 2
"""Over one song; then it is not tried again."""


@dataclass(eq=False)
class Run:
    """A separation at work. ``turn``: the job whose turn it is, and whose minutes it takes."""

    id: str
    song: Song
    turn: Job
    engine: Engine
    share: float = 0.0
    told_at_s: float = 0.0
    is_cancelled: bool = False


class Separating:
    """One task for each engine, which takes the next song that has its turn.

    ``make_room`` is called with the bytes that stems will take; raises Unavailable. ``on_done`` is called with whose
    turn it was, and the result; ``on_progress`` with jobs that have progress to tell, ``when_free`` after each run.
    """

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        request: SeparationRequest,
        patience: Patience,
        *,
        make_room: Callable[[float], None],
        on_progress: Callable[[Sequence[Job]], None],
        on_done: Callable[[Job, SeparationResult], None],
        when_free: Callable[[], None],
    ) -> None:
        self._ledger, self._shelf, self._request = ledger, shelf, request
        self._make_room = make_room
        self._on_progress, self._on_done, self._when_free = on_progress, on_done, when_free
        self.engines = Engines(patience.restart_s, self.look)
        self.runs: dict[str, Run] = {}
        self.served_at: dict[Chat, float] = {}
        self._lost_over: dict[str, int] = {}
        """How many engines, by the sound of a song that somebody waits for."""
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._started_at = time.time()

    @property
    def busy(self) -> set[Chat]:
        """Chats that are being served."""
        return {run.turn.place.whole_chat for run in self.runs.values()}

    def add_engine(self, engine: Engine) -> None:
        """Puts one more to work."""
        self.engines.add(engine)
        self._tasks.append(asyncio.create_task(self._serve(len(self._tasks))))

    async def stop(self) -> None:
        """Ends the running chunks; their jobs wait for the next start."""
        self._is_stopping = True
        await self.engines.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self) -> None:
        """Joins jobs to the runs of the same song, ends runs that nobody waits for, and wakes idle engines."""
        for audio, run in self.runs.items():
            wanted = self._ledger.live(State.QUEUED, State.RUNNING, audio=audio)
            if not wanted and not run.is_cancelled:
                run.is_cancelled = True
                run.engine.cancel(run.id)
            if not run.is_cancelled:
                self._all_of(audio, State.QUEUED, state=State.RUNNING)
        if self.engines.are_dead:
            for job in self._ledger.live(State.QUEUED):
                # what was accepted before this start waits for the next one: perhaps it is this one's settings
                if job.accepted_at >= self._started_at:
                    self._ledger.change(job.id, state=State.FAILED, error=refusals.engine_in_trouble())
        forget_idle(self.served_at, self._ledger.live())
        for audio in self._lost_over.keys() - {job.audio for job in self._ledger.live(State.QUEUED, State.RUNNING)}:
            del self._lost_over[audio]
        self._news.set()

    async def _serve(self, number: int) -> None:
        engine = await self.engines.started(number)
        while not self._is_stopping:
            self._news.clear()
            run = self._next(engine)
            if run is None:
                await self._news.wait()
            elif not await self._engine_survives(run):
                await self.engines.started(number)

    def _next(self, engine: Engine) -> Run | None:
        """The run of whose turn it is."""
        waiting = {job.id: job for job in self._ledger.live(State.QUEUED) if job.audio not in self.runs}
        for next_one in turns(map(ticket, waiting.values()), self.served_at, self.busy):
            song = self._shelf.songs.get(next_one.song)
            if song is None:  # lost meanwhile: once more from the start
                self._all_of(next_one.song, State.QUEUED, state=State.PREPARING)
                continue
            job = waiting[next_one.job_id]
            run = self.runs[song.audio] = Run(f"{song.audio[:16]}-{next(self._numbers)}", song, job, engine)
            self.served_at[next_one.chat] = time.time()
            self._all_of(song.audio, State.QUEUED, state=State.RUNNING)
            return run
        return None

    async def _engine_survives(self, run: Run) -> bool:
        """Separates a song; False if the engine was lost over it."""
        audio = run.song.audio
        try:
            await self._separate(run)
        except CancelledError:
            # by those who left; some may have come since
            self._all_of(audio, State.RUNNING, state=State.QUEUED)
        except EngineError as error:
            if not self._is_stopping:
                self._lost_over[audio] = self._lost_over.get(audio, 0) + 1
            if self._lost_over.get(audio, 0) >= _MOST_ENGINES_LOST:
                self._fail(audio, error)
            self._all_of(audio, State.RUNNING, state=State.QUEUED)
            return False
        except Exception as error:  # noqa: BLE001  the song is at fault, the disk, or we are; the next one may do
            self._fail(audio, error)
        finally:
            self._shelf.clear_making(audio)
            del self.runs[audio]
            self.served_at[run.turn.place.whole_chat] = time.time()
            self._when_free()
        return True

    async def _separate(self, run: Run) -> None:
        song = run.song
        self._make_room(len(STEMS) * stem_bytes(song))
        made = await run.engine.separate(
            run.id,
            self._shelf.song_path(song.audio),
            self._shelf.making(song.audio),
            self._request,
            lambda share: self._note_progress(run, share),
        )
        for shortage in made.shortages:
            log.warning("%s", shortage)
        waiting = self._ledger.live(State.QUEUED, State.RUNNING, audio=song.audio)
        if not waiting:  # they left while the last chunk ran, and may have been forgotten
            return
        self._shelf.keep(song, made)
        has_stayed = any(job.id == run.turn.id for job in waiting)
        self._on_done(run.turn if has_stayed else waiting[0], made)
        self._all_of(song.audio, State.QUEUED, State.RUNNING, state=State.DELIVERING)

    def _note_progress(self, run: Run, share: float) -> None:
        run.share = share
        now_s = time.monotonic()
        if now_s - run.told_at_s >= _TOLD_EVERY_S:
            run.told_at_s = now_s
            self._on_progress(self._ledger.live(State.RUNNING, audio=run.song.audio))

    def _fail(self, audio: str, error: Exception) -> None:
        sentence = sentence_of(error, refusals.mistake_of_ours())
        self._all_of(audio, State.RUNNING, state=State.FAILED, error=sentence)

    def _all_of(self, audio: str, *states: State, **changes: object) -> None:
        for job in self._ledger.live(*states, audio=audio):
            self._ledger.change(job.id, **changes)

"""Upkeep: what is kept, and for how long. Whatever a job still needs is spared, also where its chat is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from bot.config import Settings
from bot.jobs import Courier, Forgotten, Job, State
from bot.ledger import Ledger
from bot.shelf import Shelf
from bot.store import JobStore, StoreError

log = logging.getLogger(__name__)


class Upkeep:
    """Deletes what nobody waits for: from time to time, and where room is needed.

    ``on_untold`` is called, from time to time as well, with jobs whose end could not be told before.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        ledger: Ledger,
        shelf: Shelf,
        couriers: Mapping[str, Courier],
        tidy_s: float,
        on_untold: Callable[[Iterable[Job]], None],
    ) -> None:
        self._settings, self._store, self._ledger, self._shelf = settings, store, ledger, shelf
        self._couriers, self._tidy_s, self._on_untold = couriers, tidy_s, on_untold
        self._task: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._awaited: set[str] = set()
        """Sounds that jobs of chats which cannot be reached yet will need."""

    def start(self) -> None:
        """Begins to tidy up, every ``tidy_s``."""
        self._task = asyncio.create_task(self._work())

    def stop(self) -> None:
        """Leaves everything as it is."""
        for task in filter(None, (self._task, self._tidying)):
            task.cancel()

    def await_couriers(self, unfinished: Iterable[Job]) -> None:
        """Spares what these jobs will need once their chats, set up but away, can be reached."""
        away = self._settings.platforms - self._couriers.keys()
        self._awaited = {job.audio for job in unfinished if job.audio and job.place.platform in away}

    def check_room(self, needed_bytes: float) -> None:
        """Raises Unavailable if ``make_room`` would."""
        self._shelf.check_room(needed_bytes, self._spared())

    def make_room(self, needed_bytes: float, also_spared: Collection[str] = ()) -> None:
        """Sees that so much may be written, at the cost of stems that no job waits for; raises Unavailable.

        Those of the sounds ``also_spared`` are kept, too.
        """
        self._shelf.make_room(needed_bytes, self._spared().union(also_spared))

    async def forget(self, jobs: Iterable[Job]) -> Forgotten:
        """Deletes jobs that are over, results that are nobody's then, and of others what these jobs have named."""
        jobs = list(jobs)
        audios = self._ledger.forget(job.id for job in jobs)
        named: dict[str, set[str]] = {}
        for job in jobs:
            if job.audio:
                named.setdefault(job.audio, set()).add(job.order.name_key)
        for audio in named.keys() - set(audios):
            others = {job.order.name_key for job in self._store.of_audio(audio)}
            self._shelf.drop_named(audio, named[audio] - others)
        freed_bytes = await self._shelf.clear_results(audios)
        return Forgotten(len({job.audio or job.id for job in jobs}), len(audios), freed_bytes / 1e6)

    def tidy_soon(self) -> None:
        """Deletes stems whose time is over, or that are beyond the budget, without anybody waiting for it."""
        if not self._tidying or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    def drop_songs(self, at_work: Iterable[str]) -> None:
        """Deletes songs that no job waits to have separated; ``at_work``: sounds that an engine reads just now."""
        needed = {job.audio for job in self._ledger.live(State.QUEUED, State.RUNNING)} | self._awaited
        for audio in set(self._shelf.songs) - needed - set(at_work):
            self._shelf.drop_song(audio)

    async def _work(self) -> None:
        while True:
            oldest = time.time() - self._settings.storage.keep_hours * 3600
            try:
                await self._delete_older(oldest)
            except Exception:
                log.exception("what is no longer kept cannot be deleted yet")
            try:
                # last: what was too old already at the start is still told, and goes next time
                self._on_untold(self._ledger.untold(oldest))
            except Exception:
                log.exception("what could not be told before is told later")
            await asyncio.sleep(self._tidy_s)

    async def _delete_older(self, oldest: float) -> None:
        try:
            self._ledger.flush()
        except StoreError:  # the disk may be full, and what is deleted now make room for it
            log.exception("what changed cannot be stored yet")
        self._store.leave_the_future(time.time())
        outdated = self._store.finished_before(oldest) + self._stranded(oldest)
        await self.forget(outdated)
        await self._shelf.tidy(self._spared)

    async def _tidy(self) -> None:
        try:
            await self._shelf.tidy(self._spared)
        except Exception:
            log.exception("what is beyond the budget cannot be deleted yet")

    def _stranded(self, oldest: float) -> list[Job]:
        """Older jobs of platforms that are not set up any more: nobody can be told, and nothing is kept for ever."""
        known = self._settings.platforms | self._couriers.keys()
        waiting = self._store.unfinished() + self._store.untold()
        stranded = [job for job in waiting if job.accepted_at < oldest and job.place.platform not in known]
        for job in stranded:
            log.warning("job %s is forgotten: it is of %s, which is not set up any more", job.id, job.place.platform)
        return stranded

    def _spared(self) -> set[str]:
        return {job.audio for job in self._ledger.live() if job.audio} | self._awaited

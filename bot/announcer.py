"""Announcer: has couriers show where jobs stand, and wakes who watches. Nobody waits for a slow chat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from bot.jobs import Courier, DeliveryError, Job, Standing
from bot.patience import Patience

log = logging.getLogger(__name__)


class Announcer:
    """One task for a job that has something new to tell; what is overtaken meanwhile is never told.

    ``latest``: where a job stands now; ``on_told``: its end was told.
    """

    def __init__(
        self,
        couriers: Mapping[str, Courier],
        latest: Callable[[str], Standing | None],
        on_told: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._couriers, self._latest, self._on_told, self._patience = couriers, latest, on_told, patience
        self._news: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unheard: dict[str, asyncio.Event] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._mute: set[str] = set()
        """Jobs whose chat shows nothing: only their end is tried."""
        self._is_closed = False

    def announce(self, job: Job) -> None:
        """Has it told, soon."""
        self._wake(job.id)
        courier = self._couriers.get(job.place.platform)
        if courier is None:
            return
        self._news.add(job.id)
        if job.status is None:
            self._unheard.setdefault(job.id, asyncio.Event())
        if job.id not in self._tasks and not self._is_closed:
            self._tasks[job.id] = asyncio.create_task(self._tell(job.id, courier))

    async def heard(self, job_id: str, within_s: float) -> None:
        """Waits until the chat knows of the job, so that its stems do not come before its first message."""
        if event := self._unheard.get(job_id):
            try:
                async with asyncio.timeout(within_s):
                    await event.wait()
            except TimeoutError:
                log.info("job %s: its chat is slow to show that it came", job_id)

    async def watch(self, job_id: str) -> AsyncIterator[Standing]:
        """The standing now, and whenever it changes, until it is final or the job is gone."""
        event = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(event)
        try:
            while (standing := self._latest(job_id)) is not None:
                event.clear()
                yield standing
                if standing.job.state.is_final or self._is_closed:
                    return
                await event.wait()
        finally:
            self._watchers[job_id].discard(event)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    async def close(self) -> None:
        """Tells what there is to tell, within a few seconds; those who watch see no more."""
        self._is_closed = True
        for job_id in list(self._watchers):
            self._wake(job_id)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=self._patience.goodbye_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _wake(self, job_id: str) -> None:
        for event in self._watchers.get(job_id, ()):
            event.set()

    async def _tell(self, job_id: str, courier: Courier) -> None:
        failures = 0
        try:
            while job_id in self._news:
                self._news.discard(job_id)
                standing = self._latest(job_id)
                if standing is None:
                    return
                is_said = await self._is_said(courier, standing)
                if not is_said and failures < len(self._patience.again_s):
                    await asyncio.sleep(self._patience.again_s[failures])
                    failures += 1
                    self._news.add(job_id)
                    continue
                failures = 0
                if job_id in self._unheard:
                    self._unheard[job_id].set()
                if standing.job.state.is_final:
                    self._unheard.pop(job_id, None)
                    self._mute.discard(job_id)
                    if is_said:
                        self._on_told(job_id)
                    return
                await asyncio.sleep(0 if self._is_closed else self._patience.pace_s)
        finally:
            self._news.discard(job_id)
            self._tasks.pop(job_id, None)

    async def _is_said(self, courier: Courier, standing: Standing) -> bool:
        job = standing.job
        if job.id in self._mute and not job.state.is_final:
            return True
        try:
            async with asyncio.timeout(self._patience.tell_s):
                await courier.tell(standing)
        except DeliveryError as error:
            log.info("job %s: its chat shows nothing (%s)", job.id, error.__cause__ or error)
            self._mute.add(job.id)
        except Exception:
            log.warning("job %s: its chat was not told that it is %s", job.id, job.state, exc_info=True)
            return False
        return True

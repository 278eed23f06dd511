"""Ledger: the jobs that are not final, in memory; each change of one is in the store before anybody acts on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from bot.jobs import Job, State
from bot.store import JobStore, StoreError

log = logging.getLogger(__name__)


class Ledger:
    """All live jobs; ``on_change`` is called with each job that is new, or that ``change`` has changed.

    Should the store fail in the midst of a job, the job goes on here, and is written with the next that can be.
    """

    def __init__(self, store: JobStore, on_change: Callable[[Job], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._live: dict[str, Job] = {}
        self._ending: dict[str, Job] = {}  # final, but nobody was told yet
        self._forgotten: dict[str, float] = {}  # since when
        self._unsaved: dict[str, Job] = {}

    def get(self, job_id: str) -> Job | None:
        """A job, final or not, unless it was forgotten."""
        if job_id in self._forgotten:
            return None
        return self.latest(job_id) or self._store.job(job_id)

    def latest(self, job_id: str) -> Job | None:
        """A job that is not over, or whose end is still to be told; also one that was forgotten meanwhile."""
        return self._live.get(job_id) or self._ending.get(job_id)

    def updated(self, job: Job) -> Job:
        """A job as it is by now; as it was, if its end has been told."""
        return self.latest(job.id) or job

    def live(self, *states: State, audio: str | None = None) -> list[Job]:
        """Jobs in one of these states (none: in any that is not final), about this sound, in the order they came."""
        return [
            job
            for job in self._live.values()
            if (not states or job.state in states) and (audio is None or job.audio == audio)
        ]

    def is_in(self, job_id: str, state: State) -> bool:
        job = self._live.get(job_id)
        return job is not None and job.state is state

    def add(self, job: Job) -> None:
        """Takes a new job; raises StoreError, and then has not taken it."""
        self._store.save([job])
        self._take(job)

    def take_up(self, job: Job) -> None:
        """Goes on with a job that the store holds: a live one, or one whose end is still to be told."""
        if self.latest(job.id) is None:
            self._take(job)

    def change(self, job_id: str, **changes: Any) -> Job | None:
        """The job as it is from now on; None if it is final already, which nothing changes."""
        before = self._live.get(job_id)
        if before is None:
            return None
        job = replace(before, **changes)
        self._keep(job)
        self._write(job)
        self._on_change(job)
        return job

    def note(self, job_id: str, **changes: Any) -> None:
        """Changes what is no news of a job, final or not."""
        job = self.latest(job_id) or self._store.job(job_id)
        if job is not None:
            job = replace(job, **changes)
            if self.latest(job_id):
                self._keep(job)
            self._write(job)

    def untold(self, since: float) -> list[Job]:
        """Jobs whose end is still to be told. Those that ended before ``since`` are given up. Raises StoreError."""
        long_forgotten = [self._ending[job_id] for job_id, at in self._forgotten.items() if at < since]
        for job in [job for job in self._store.untold(since) if job.id in self._ending] + long_forgotten:
            log.warning("job %s: it is %s, and nobody could be told", job.id, job.state)
            self.note_told(job.id)
        return list(self._ending.values())

    def note_told(self, job_id: str) -> None:
        """The end of a job was told: all is done. If that cannot be noted, it is still to be told."""
        try:
            self.flush()
            self._store.note_told(job_id)
        except StoreError:
            log.exception("job %s: it cannot be noted that its end was told", job_id)
            return
        self._forgotten.pop(job_id, None)
        self._ending.pop(job_id, None)

    def forget(self, job_ids: Iterable[str]) -> list[str]:
        """Deletes jobs that are final; those whose end is still to be told are hidden from now on.

        Results that no job is about any more are deleted with them: returns the sounds of these.
        """
        gone = list(job_ids)
        audios = self._store.delete(gone)
        for job_id in gone:
            self._unsaved.pop(job_id, None)
            if job_id in self._ending:
                self._forgotten[job_id] = time.time()
        return audios

    def flush(self) -> None:
        """Writes what could not be written before; raises StoreError."""
        if self._unsaved:
            self._store.save(self._unsaved.values())
            self._unsaved.clear()

    def _take(self, job: Job) -> None:
        self._keep(job)
        self._on_change(job)

    def _keep(self, job: Job) -> None:
        if job.state.is_final:
            self._live.pop(job.id, None)
            self._ending[job.id] = job
        else:
            self._live[job.id] = job

    def _write(self, job: Job) -> None:
        if job.id in self._forgotten:
            return
        self._unsaved[job.id] = job
        try:
            self.flush()
        except StoreError:
            log.exception("job %s is %s, but that cannot be stored yet", job.id, job.state)

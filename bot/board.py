"""Board: place in the queue, progress and time left of every job, as far as they can honestly be told."""

from __future__ import annotations

from bot.jobs import Job, Standing, State
from bot.ledger import Ledger
from bot.queue import Load, ticket, turns, wait_s
from bot.separating import Separating


class Board:
    """``elapsed_per_second``: seconds of work for one of audio; None before the first measurement."""

    def __init__(self, ledger: Ledger, separating: Separating) -> None:
        self._ledger, self._separating = ledger, separating
        self.elapsed_per_second: float | None = None
        self._order: list[Load] = []
        self._positions: dict[str, int] = {}

    def refresh(self) -> list[Job]:
        """Reckons anew; returns the jobs whose place has changed."""
        waiting = self._ledger.live(State.PREPARING, State.QUEUED)
        by_id = {job.id: job for job in waiting}
        order = turns(map(ticket, waiting), self._separating.served_at, self._separating.busy)
        self._order = [_load(by_id[turn.job_id]) for turn in order]
        places = {turn.song: number for number, turn in enumerate(order, 1)}
        before, self._positions = self._positions, {job.id: places[ticket(job).song] for job in waiting}
        return [job for job in waiting if self._positions[job.id] != before.get(job.id)]

    def standing(self, job: Job) -> Standing:
        """Where a job stands."""
        if job.state in (State.PREPARING, State.QUEUED):
            position = self._positions.get(job.id)
            return Standing(job, position, eta_s=self._eta_s(job, position or len(self._order) + 1))
        run = self._separating.runs.get(job.audio or "")
        if job.state is State.RUNNING and run:
            rest = Load(run.song.seconds, 1 - run.share)
            eta_s = wait_s((), rest, self.elapsed_per_second, len(self._separating.engines))
            return Standing(job, share=run.share, eta_s=eta_s)
        return Standing(job, share=1.0 if job.state in (State.DELIVERING, State.DONE) else 0.0)

    def _eta_s(self, job: Job, position: int) -> float | None:
        running = [Load(run.song.seconds, 1 - run.share) for run in self._separating.runs.values()]
        ahead = (*running, *self._order[: position - 1])
        return wait_s(ahead, _load(job), self.elapsed_per_second, len(self._separating.engines))


def _load(job: Job) -> Load:
    return Load(job.seconds or job.order.seconds)

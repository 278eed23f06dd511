"""The stations of a job: Preparing (fetch, look at the sound), and Delivering. The third, Separating, has its own file.

A station looks at the ledger: jobs in its state get a task, and a job that leaves the state takes its task along. So
whatever changes a job (a cancel, a restart, another job's result) need not know who works on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from bot import refusals
from bot.admission import Admission
from bot.announcer import Announcer
from bot.disk import is_disk_full, is_disk_trouble
from bot.jobs import Chat, Courier, DeliveryError, Job, Order, Refused, State
from bot.ledger import Ledger
from bot.names import one_line
from bot.patience import Patience
from bot.queue import forget_idle, ticket, turns
from bot.shelf import Shelf
from bot.store import Song
from spectacles_engine.audio_files import Inspected
from spectacles_engine.errors import OutputError, SpecTaclesError

log = logging.getLogger(__name__)

MOST_ARRIVALS = 4
"""Of a platform, as ``MOST_DELIVERIES``: one that has us wait must not hold up what comes from another."""
MOST_INSPECTIONS = 4
"""Of all platforms: each is a process that decodes."""
MOST_ARRIVALS_OF_A_CHAT = 3
"""One place is left to others: what somebody else sends must not wait until slow downloads end."""
MOST_DELIVERIES = 8


class Inspect(Protocol):
    """As ``spectacles_engine.audio_files.inspect``."""

    async def __call__(self, path: Path, *, longest_s: float, deadline_s: float) -> Inspected: ...


def sentence_of(error: Exception, otherwise: str) -> str:
    """What a person reads of an error; one that nobody expected is ``otherwise``, and in the log."""
    if isinstance(error, Refused | DeliveryError | SpecTaclesError):
        return refusals.as_sentence(str(error))
    log.error("this should not have happened", exc_info=error)
    if is_disk_full(error):
        return refusals.disk_full()
    return refusals.disk_in_trouble() if is_disk_trouble(error) else otherwise


class Crew:
    """A task for a job, as long as the job is in ``state``; ``work`` ends that, or raises why it failed.

    ``when_done`` is called when a task has ended, whichever way.
    """

    def __init__(
        self, ledger: Ledger, state: State, work: Callable[[Job], Awaitable[None]], when_done: Callable[[], None]
    ) -> None:
        self._ledger, self._state, self._work, self._when_done = ledger, state, work, when_done
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def waiting(self) -> list[Job]:
        """Jobs in the state that have no task yet; ends the tasks of those that have left it."""
        for job_id, task in self._tasks.items():
            if not self._ledger.is_in(job_id, self._state):
                task.cancel()
        return [job for job in self._ledger.live(self._state) if job.id not in self._tasks]

    def busy(self) -> list[Job]:
        return [job for job in self._ledger.live(self._state) if job.id in self._tasks]

    def begin(self, job: Job) -> None:
        """Starts the task of a job."""

        async def work() -> None:
            try:
                await self._work(job)
            except Exception as error:  # noqa: BLE001  no mistake of ours in one job may keep the others
                self._ledger.change(job.id, state=State.FAILED, error=sentence_of(error, refusals.mistake_of_ours()))

        def forget(task: asyncio.Task[None]) -> None:
            del self._tasks[job.id]
            self._when_done()

        self._tasks[job.id] = asyncio.create_task(work())
        self._tasks[job.id].add_done_callback(forget)

    async def stop(self, within_s: float = 0.0) -> None:
        """Ends all tasks, some of them by force."""
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Preparing:
    """Has songs fetched, and looks at their sound: a few at a time, in fair turns."""

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        admission: Admission,
        couriers: Mapping[str, Courier],
        inspect: Inspect,
        patience: Patience,
        when_done: Callable[[], None],
    ) -> None:
        self._ledger, self._shelf, self._admission, self._couriers = ledger, shelf, admission, couriers
        self._inspect, self._patience = inspect, patience
        self._crew = Crew(ledger, State.PREPARING, self._prepare, when_done)
        self._served_at: dict[Chat, float] = {}
        self._inspections = asyncio.Semaphore(MOST_INSPECTIONS)
        self._outages: dict[str, Iterator[float]] = {}
        """By job whose platform could not be reached: how long to wait the next times."""
        self._paused: set[str] = set()
        self._when_done = when_done

    def look(self) -> None:
        """Begins with what has its turn."""
        forget_idle(self._served_at, self._ledger.live())
        for job_id in [job_id for job_id in self._outages if not self._ledger.is_in(job_id, State.PREPARING)]:
            del self._outages[job_id]
        waiting = {job.id: job for job in self._crew.waiting() if job.id not in self._paused}
        busy = Counter(job.place.whole_chat for job in self._crew.busy())
        arriving = Counter(job.place.platform for job in self._crew.busy())
        for next_one in turns(map(ticket, waiting.values()), self._served_at, busy):
            platform, _ = next_one.chat
            if arriving[platform] >= MOST_ARRIVALS or busy[next_one.chat] >= MOST_ARRIVALS_OF_A_CHAT:
                continue
            arriving[platform] += 1
            busy[next_one.chat] += 1
            self._served_at[next_one.chat] = time.time()
            self._crew.begin(waiting[next_one.job_id])

    async def stop(self) -> None:
        await self._crew.stop()

    async def _prepare(self, job: Job) -> None:
        try:
            song = self._shelf.arrival(job.id)
            try:
                await self._fetch(job, song)
            except ConnectionError as error:
                self._pause(job, error)
                return
            limits = self._admission.limits.of_a_song
            async with self._inspections:
                found = await self._inspect(song, longest_s=limits.longest_s, deadline_s=limits.decode_deadline_s)
            self._take_in(self._ledger.updated(job), song, found)
        finally:
            self._shelf.clear_arrival(job.id)

    def _pause(self, job: Job, error: ConnectionError) -> None:
        """Leaves its place to others for a while; raises Refused if that has not helped so far."""
        pause_s = next(self._outages.setdefault(job.id, iter(self._patience.outages_s)), None)
        if pause_s is None:
            raise Refused(refusals.fetch_failed()) from error
        log.warning("job %s: its song cannot be reached (%s), next try in %g s", job.id, error, pause_s)
        self._paused.add(job.id)
        asyncio.get_running_loop().call_later(pause_s, self._resume, job.id)

    def _resume(self, job_id: str) -> None:
        self._paused.discard(job_id)
        self._when_done()

    async def _fetch(self, job: Job, song: Path) -> None:
        """Raises Refused, or ConnectionError while the platform cannot be reached."""
        try:
            async with asyncio.timeout(self._patience.fetch_s):
                await self._couriers[job.place.platform].fetch(job, song)
        except ConnectionError:
            raise
        except Exception as error:
            raise Refused(sentence_of(error, refusals.fetch_failed())) from error
        if not song.is_file():
            raise Refused(refusals.fetch_failed())
        self._admission.check_size(song.stat().st_size)

    def _take_in(self, job: Job, song: Path, found: Inspected) -> None:
        """Keeps the song for the engine, unless its stems are stored, or the same song waits already."""
        about = {"audio": found.audio, "seconds": found.seconds, "order": _named(job, found)}
        if self._shelf.result(found.audio):
            self._ledger.change(job.id, state=State.DELIVERING, **about)
            return
        if found.audio not in self._shelf.songs:
            others = self._ledger.live(State.QUEUED, State.RUNNING)
            self._admission.check_minutes(job.place, found.seconds, others)
            details = (found.audio, found.seconds, found.sample_rate, found.channels, found.warnings)
            self._shelf.keep_song(song, Song(*details))
        self._ledger.change(job.id, state=State.QUEUED, **about)


class Delivering:
    """Has results sent: to many chats at once, to each one after the other."""

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        announcer: Announcer,
        couriers: Mapping[str, Courier],
        patience: Patience,
        when_done: Callable[[], None],
    ) -> None:
        self._ledger, self._shelf, self._announcer, self._couriers = ledger, shelf, announcer, couriers
        self._patience = patience
        self._crew = Crew(ledger, State.DELIVERING, self._deliver, when_done)
        self._chats: WeakValueDictionary[Chat, asyncio.Lock] = WeakValueDictionary()
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MOST_DELIVERIES))

    def look(self) -> None:
        """Begins with all that is ready."""
        for job in self._crew.waiting():
            self._crew.begin(job)

    async def stop(self) -> None:
        await self._crew.stop(self._patience.goodbye_s)

    async def _deliver(self, job: Job) -> None:
        for pause_s in (*self._patience.outages_s, None):
            try:
                await self._send(job)
                return
            except Exception as error:  # noqa: BLE001  whatever a chat does, it is told of
                if pause_s is None or not isinstance(error, ConnectionError):
                    log.info("job %s: its chat takes no stems (%s)", job.id, _without_title(error.__cause__ or error))
                    sentence = sentence_of(error, refusals.delivery_failed())
                    self._ledger.change(job.id, state=State.FAILED, error=sentence)
                    return
                log.warning("job %s: its chat cannot be reached (%s), next try in %g s", job.id, error, pause_s)
            await asyncio.sleep(pause_s)

    async def _send(self, job: Job) -> None:
        chat = self._chats.setdefault(job.place.whole_chat, asyncio.Lock())
        async with chat, self._slots[job.place.platform]:
            await self._announcer.heard(job.id, self._patience.first_word_s)
            result = self._shelf.result(job.audio) if job.audio else None
            if result is None:  # lost meanwhile: once more from the start
                self._ledger.change(job.id, state=State.PREPARING)
                return
            self._shelf.note_use(result)
            async with asyncio.timeout(self._patience.deliver_s):
                await self._couriers[job.place.platform].deliver(self._ledger.updated(job), result)
            # At once: should the bot be killed before this, the stems are sent again.
            self._ledger.change(job.id, state=State.DONE)


def _without_title(error: BaseException) -> str:
    """What an error says, but of a file: that is called after its song."""
    if isinstance(error, OutputError):
        return "they cannot be written"
    return error.strerror if isinstance(error, OSError) and error.filename and error.strerror else str(error)


def _named(job: Job, found: Inspected) -> Order:
    """The order with the song's name by its tags, where the platform gave no more than a file name."""
    title, performer = one_line(found.title or ""), one_line(found.performer or "")
    if job.order.performer is None and title and performer:
        return replace(job.order, title=title, performer=performer)
    return job.order

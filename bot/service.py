"""SeparationService: admit, enqueue, follow, cancel, deliver, forget. One for all chats of a bot."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from bot import refusals
from bot.admission import DAY_S, Admission
from bot.announcer import Announcer
from bot.board import Board
from bot.config import Settings
from bot.jobs import (
    Courier,
    Forgotten,
    Job,
    Order,
    Place,
    Reference,
    Standing,
    StartError,
    State,
    StoredResult,
    Unavailable,
)
from bot.ledger import Ledger
from bot.patience import PATIENCE, Patience
from bot.queue import LEAST_S
from bot.separating import Separating
from bot.shelf import Shelf
from bot.stations import Delivering, Inspect, Preparing
from bot.store import JobStore, StoreError
from bot.upkeep import Upkeep
from spectacles_engine import audio_files
from spectacles_engine.messages import SeparationRequest, SeparationResult
from spectacles_engine.process import Engine

log = logging.getLogger(__name__)


class SeparationService:
    """All that is between the chats and the engines; its methods belong to one event loop.

    An order becomes a job in the store before ``accept`` returns, and the service drives it from there, through the
    courier of its platform, also after a restart: fetch → look at the sound → fair queue → engine → deliver.
    Whatever asks the store may raise Refused, when the store is in trouble.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        *,
        inspect: Inspect = audio_files.inspect,
        patience: Patience = PATIENCE,
    ) -> None:
        engine = settings.engine
        self._store = store
        self._setup = f"{engine.preset} {engine.blend} {engine.device}"
        self._couriers: dict[str, Courier] = {}
        self._admission = Admission(settings)
        self._ledger = Ledger(store, self._on_change)
        self._shelf = Shelf(store, settings.storage, engine.ensemble)
        self._announcer = Announcer(self._couriers, self._latest, self._ledger.note_told, patience)
        self._upkeep = Upkeep(
            settings, store, self._ledger, self._shelf, self._couriers, patience.tidy_s, on_untold=self._announce
        )
        request = SeparationRequest(format="flac", preset=engine.preset, blend=engine.blend)
        self._separating = Separating(
            self._ledger,
            self._shelf,
            request,
            patience,
            make_room=self._upkeep.make_room,
            on_progress=self._announce,
            on_done=self._on_separated,
            when_free=self._look_soon,
        )
        self._preparing = Preparing(
            self._ledger, self._shelf, self._admission, self._couriers, inspect, patience, self._look_soon
        )
        self._delivering = Delivering(
            self._ledger, self._shelf, self._announcer, self._couriers, patience, self._look_soon
        )
        self._board = Board(self._ledger, self._separating)
        self._is_started = self._is_stopping = self._looks_soon = False

    def attach(self, platform: str, courier: Courier) -> None:
        """Names the courier of a platform; jobs of platforms without one wait in the store."""
        self._couriers[platform] = courier
        if self._is_started:
            self._take_up([platform])

    def add_engine(self, engine: Engine) -> None:
        """Puts one more engine to work; until there is one, songs wait."""
        self._separating.add_engine(engine)

    async def start(self) -> None:
        """Goes on with every job that the store holds; raises StartError."""
        try:
            self._shelf.open()
            self._board.elapsed_per_second = self._store.speed(self._setup)
            self._admission.remember(self._store.charges(time.time() - DAY_S))
            self._is_started = True
            self._take_up(self._couriers)
        except StoreError as error:
            raise StartError(f"the list of songs in {self._store.folder} cannot be used ({error.__cause__})") from error
        self._upkeep.start()
        self._look_soon()

    async def stop(self) -> None:
        """Accepts nothing more, ends the running chunk; what is not final stays in the store for the next start."""
        self._is_stopping = True
        self._upkeep.stop()
        await asyncio.gather(self._preparing.stop(), self._separating.stop(), self._delivering.stop())
        self._board.refresh()
        await self._announcer.close()
        with suppress(StoreError):
            self._ledger.flush()

    async def accept(self, order: Order) -> Job:
        """Stores the job and returns at once; ``Courier.tell`` is called with its place soon after.

        The same order again (a platform that repeats itself, a second tap), while it is in progress, is the same job.

        Raises Refused: a limit is reached (size, length, waiting jobs, minutes of today, allow-list, disk), the engine
        cannot be started, or the service is stopping.
        """
        if self._is_stopping:
            raise Unavailable(refusals.bot_is_stopping())
        in_progress = self._ledger.live()
        if same := next((job for job in in_progress if order.is_same(job.order)), None):
            return same
        self._admission.check_chat(order.place)
        self._admission.check_count(order.place, in_progress)
        audio = self._store.audio_of(order.place.platform, order.source_key) if order.source_key else None
        job = self._placed(Job(secrets.token_hex(12), order, State.PREPARING, time.time(), audio))
        if job.state is not State.DELIVERING:
            self._check_new_song(job)
        self._ledger.add(job)
        self._announce(self._board.refresh())
        return job

    def check_room(self, needed_bytes: float) -> None:
        """Raises Unavailable if there is no room for so much, and none can be made."""
        self._upkeep.check_room(needed_bytes)

    def make_room(self, needed_bytes: float, also_spared: Collection[str] = ()) -> None:
        """Sees that so much may be written, at the cost of stems that no job waits for; raises Unavailable.

        Those of the sounds ``also_spared`` are kept, too.
        """
        self._upkeep.make_room(needed_bytes, also_spared)

    def standing(self, job_id: str) -> Standing | None:
        """Where a job stands now; None if there is no such job (or it was forgotten)."""
        job = self._ledger.get(job_id)
        return self._board.standing(job) if job else None

    def watch(self, job_id: str) -> AsyncIterator[Standing]:
        """The standing now, and whenever it changes, until it is final (for server-sent events)."""
        return self._announcer.watch(job_id)

    def jobs(self, place: Place) -> list[Standing]:
        """Unfinished jobs of a person in a chat, oldest first."""
        return [self._board.standing(job) for job in self._ledger.live() if job.place == place]

    def history(self, place: Place) -> list[Standing]:
        """All jobs of a person in a chat that are still known, newest first."""
        jobs = [job for job in self._store.of_chat(place.platform, place.chat) if job.place == place]
        return [self._board.standing(self._ledger.updated(job)) for job in reversed(jobs)]

    def job(self, job_id: str) -> Job | None:
        """A job as it is now; None if there is none, or it was forgotten."""
        return self._ledger.get(job_id)

    def note_use(self, result: StoredResult) -> None:
        """Somebody wants stored stems: where room is needed, others go first."""
        self._shelf.note_use(result)

    def result(self, job: Job) -> StoredResult | None:
        """The stored stems of a job's song, while they are kept."""
        return self._shelf.result(job.audio) if job.audio else None

    def find(self, platform: str, chat: str, key: str, message: int) -> Job | None:
        """The newest job of a chat whose status holds this number of a message under ``key``, alone or in a list."""
        for job in reversed(self._store.of_chat(platform, chat)):
            noted = (job.status or {}).get(key)
            if noted == message or (isinstance(noted, list) and message in noted):
                return self._ledger.updated(job)
        return None

    def note_status(self, job_id: str, status: Reference) -> None:
        """The courier sent the job's status message: it will be edited from now on, also after a restart."""
        self._ledger.note(job_id, status=status)

    def move_chat(self, platform: str, chat: str, to: str) -> None:
        """A chat has another id from now on, and so have all of its jobs; what is noted of messages is forgotten."""
        self._admission.move_chat(platform, chat, to)
        for job in self._ledger.live():
            if job.place.whole_chat == (platform, chat):
                self._ledger.change(job.id, order=_moved(job.order, to), status=None)
        with suppress(StoreError):  # else what is over stays behind
            for job in self._store.of_chat(platform, chat):
                self._ledger.note(job.id, order=_moved(job.order, to), status=None)

    def upload(self, audio: str, name: str, key: str, platform: str) -> str | None:
        """The platform's id of a file that was uploaded before (Telegram's ``file_id``), while the result is kept.

        ``key``: as ``Rung.upload_key``.
        """
        return self._store.upload(audio, name, key, platform)

    def note_upload(self, audio: str, name: str, key: str, platform: str, file_id: str) -> None:
        """Remembers one, if it can be."""
        try:
            self._store.save_upload(audio, name, key, platform, file_id)
        except StoreError:
            log.exception("a file that was uploaded is uploaded again the next time")

    async def cancel(self, job_id: str, place: Place) -> Job | None:
        """Ends a job, also while its stems are being sent; None if it is not this person's, or already final."""
        job = self._ledger.get(job_id)
        return self._ledger.change(job_id, state=State.CANCELLED) if job and job.place == place else None

    async def forget(self, place: Place, *, whole_chat: bool = False) -> Forgotten:
        """Deletes all of a person on this platform (or of the whole chat): jobs, files, results nobody else has."""
        if whole_chat:
            return await self._forget(self._store.of_chat(place.platform, place.chat))
        return await self._forget(self._store.of_person(place.platform, place.person))

    async def forget_job(self, job_id: str, place: Place) -> Forgotten:
        """Deletes one job of a person, as ``forget`` does all."""
        job = self._ledger.get(job_id)
        return await self._forget([job] if job and job.place == place else [])

    async def _forget(self, jobs: Sequence[Job]) -> Forgotten:
        for job in jobs:
            self._ledger.change(job.id, state=State.CANCELLED)
        return await self._upkeep.forget(jobs)

    def _check_new_song(self, job: Job) -> None:
        """Raises Refused for a song that would have to be fetched or separated."""
        if self._separating.engines.are_dead:
            raise Unavailable(refusals.engine_in_trouble())
        self._admission.check_song(job.order)
        if job.state is State.PREPARING:
            self.make_room(job.order.size_bytes or 0)
            waiting = self._ledger.live(State.QUEUED, State.RUNNING)
            self._admission.check_minutes(job.place, job.order.seconds or 0.0, waiting)

    def _placed(self, job: Job) -> Job:
        """The job in the state from which it can go on with what is here of its song, new or after a crash."""
        if job.audio and (result := self._shelf.result(job.audio)):
            return replace(job, state=State.DELIVERING, seconds=result.seconds)
        if song := self._shelf.songs.get(job.audio or ""):
            return replace(job, state=State.QUEUED, seconds=song.seconds)
        return replace(job, state=State.PREPARING, audio=None)

    def _take_up(self, platforms: Iterable[str]) -> None:
        """Goes on with what the store holds of these platforms."""
        charges = self._store.charges(time.time() - DAY_S)
        served_at = {each.place.whole_chat: each.at for each in charges if each.place.platform in platforms}
        unfinished = self._store.unfinished()
        for job in unfinished:
            if job.place.platform in platforms:
                self._ledger.take_up(self._placed(job))
                if job.state is State.RUNNING:  # the bot was killed, perhaps by this song: others come first
                    served_at[job.place.whole_chat] = time.time()
        self._separating.served_at.update(served_at)
        for job in self._store.untold():
            if job.place.platform in platforms:
                self._ledger.take_up(job)
        self._upkeep.await_couriers(unfinished)

    def _on_change(self, job: Job) -> None:
        self._announcer.announce(job)
        self._look_soon()

    def _announce(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._announcer.announce(job)

    def _latest(self, job_id: str) -> Standing | None:
        job = self._ledger.latest(job_id) or self._ledger.get(job_id)
        return self._board.standing(job) if job else None

    def _on_separated(self, payer: Job, made: SeparationResult) -> None:
        """Counts a song against the minutes of whose turn it was, and takes its speed in."""
        self._admission.charge(payer.place, made.seconds)
        try:
            self._store.charge(payer.id, made.seconds)
            self._store.note_speed(self._setup, made.elapsed_s, max(made.seconds, LEAST_S))
            self._board.elapsed_per_second = self._store.speed(self._setup)
        except StoreError:
            log.exception("job %s: what it took cannot be noted", payer.id)
        self._upkeep.tidy_soon()

    def _look_soon(self) -> None:
        """Has all stations look at what has changed, once for all that changes now."""
        if self._is_started and not self._looks_soon and not self._is_stopping:
            self._looks_soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looks_soon = False
        if self._is_stopping:
            return
        self._upkeep.drop_songs(self._separating.runs)
        self._preparing.look()
        self._separating.look()
        self._delivering.look()
        self._announce(self._board.refresh())


def _moved(order: Order, to: str) -> Order:
    """The order in a chat that has another id; so has who asks in the name of the chat."""
    place = order.place
    person = to if place.person == place.chat else place.person
    source = {**order.source, "before": place.chat}  # where buttons of messages from before still are
    return replace(order, place=Place(place.platform, to, person), source=source, answers={})

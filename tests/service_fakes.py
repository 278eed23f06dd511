"""Stand-ins for what surrounds the service: an engine in this process, a chat that records, and a look at the sound.

A song is a line of text: what it sounds like, and how many seconds. So tests decode nothing, and wait for nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import namedtuple
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bot.config import EngineSettings, LimitSettings, Settings, StorageSettings
from bot.jobs import Job, Order, Place, Refused, Standing, State, StoredResult, Wish
from bot.patience import PATIENCE, Patience
from bot.service import SeparationService
from bot.store import JobStore
from spectacles_engine.audio_files import Inspected
from spectacles_engine.errors import CancelledError, NotAudioError, TooLongError
from spectacles_engine.messages import (
    STEMS,
    QualityNote,
    SeparationRequest,
    SeparationResult,
    StemQuality,
)

QUICK = Patience(
    fetch_s=5.0,
    tell_s=5.0,
    deliver_s=5.0,
    pace_s=0.0,
    again_s=(0.01, 0.01),
    outages_s=(0.01, 0.01),
    first_word_s=1.0,
    restart_s=(0.01,),
    tidy_s=0.05,
    goodbye_s=1.0,
)
QUALITY = StemQuality("good", 6.0, 4.5, 7.5)
NOTE = QualityNote(dict.fromkeys(STEMS, QUALITY), -40.0)
PATIENCE_S = 30.0
"""Long enough for a busy machine; nothing is measured by it."""
Usage = namedtuple("Usage", "total used free")
"""What ``shutil.disk_usage`` answers."""


def order(
    sound: str = "song",
    *,
    chat: str = "1",
    person: str = "ann",
    platform: str = "fake",
    seconds: float = 100,
    wish: Wish = Wish(),  # noqa: B008  frozen
    **more: object,
) -> Order:
    """An order of a song; ``more`` are other fields of Order."""
    fields = {"title": sound, "answers": {"message": sound}} | more
    return Order(Place(platform, chat, person), wish, {"song": f"{sound} {seconds}"}, **fields)  # type: ignore[arg-type]


def audio_of(sound: str) -> str:
    """The hash of a sound."""
    return hashlib.sha256(sound.encode()).hexdigest()


async def inspect(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """What the line of text says."""
    del deadline_s
    await asyncio.sleep(0)
    sound, seconds = path.read_text(encoding="utf-8").split()
    if sound == "noise":
        raise NotAudioError("not an audio file")
    if float(seconds) > longest_s:
        raise TooLongError(f"longer than {longest_s / 60:g} minutes")
    return Inspected(audio_of(sound), float(seconds), 44_100, 2, None, None, ())


@dataclass
class FakeEngine:
    """Separates at once, or when ``may_go`` is set; notes what it did.

    ``troubles``: raised instead, by sound; ``start_troubles``: raised by so many starts.
    """

    done: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    troubles: dict[str, Exception] = field(default_factory=dict)
    start_troubles: list[Exception] = field(default_factory=list)
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    is_closed: bool = False
    _running: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.may_go.set()

    async def start(self) -> None:
        self.starts += 1
        if self.start_troubles:
            raise self.start_troubles.pop(0)

    async def separate(
        self,
        job_id: str,
        song: Path,
        out: Path,
        request: SeparationRequest,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> SeparationResult:
        sound, seconds = song.read_text(encoding="utf-8").split()
        self.begun.append(sound)
        if sound in self.troubles:
            raise self.troubles[sound]
        cancelled = self._running[job_id] = asyncio.Event()
        on_progress(0.5)
        waits = [asyncio.ensure_future(self.may_go.wait()), asyncio.ensure_future(cancelled.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        del self._running[job_id]
        if cancelled.is_set():
            raise CancelledError("cancelled")
        out.mkdir(parents=True)
        for name in request.stems:
            (out / f"{name}.{request.format}").write_text(sound, encoding="utf-8")
        self.done.append(sound)
        files = {name: str(out / f"{name}.flac") for name in STEMS}
        length_s = float(seconds)
        return SeparationResult(
            str(song), length_s, 44_100, request.preset, request.blend, "fake", length_s / 2, 0, files, NOTE
        )

    def cancel(self, job_id: str) -> None:
        if job_id in self._running:
            self._running[job_id].set()

    async def close(self) -> None:
        self.is_closed = True
        for running in self._running.values():
            running.set()
        while self._running:
            await asyncio.sleep(0)


def held_engine() -> FakeEngine:
    """It separates nothing until it may go."""
    engine = FakeEngine()
    engine.may_go.clear()
    return engine


@dataclass
class FakeCourier:
    """A chat that records. ``trouble``: raised by the call of that name, for the song of that title.

    ``untold_ends``: so many times the end of a job cannot be told.
    """

    told: list[Standing] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    sending: list[str] = field(default_factory=list)
    delivered: list[tuple[Job, StoredResult]] = field(default_factory=list)
    trouble: dict[tuple[str, str], Exception] = field(default_factory=dict)
    may_fetch: asyncio.Event = field(default_factory=asyncio.Event)
    may_deliver: asyncio.Event = field(default_factory=asyncio.Event)
    on_told: Callable[[Standing], None] = lambda standing: None
    untold_ends: int = 0

    def __post_init__(self) -> None:
        self.may_fetch.set()
        self.may_deliver.set()

    async def fetch(self, job: Job, to: Path) -> None:
        self.fetched.append(job.order.title)
        await self.may_fetch.wait()
        self._maybe("fetch", job)
        to.write_text(job.order.source["song"], encoding="utf-8")

    async def tell(self, standing: Standing) -> None:
        self._maybe("tell", standing.job)
        if standing.job.state.is_final and self.untold_ends:
            self.untold_ends -= 1
            raise ConnectionError("away")
        self.told.append(standing)
        self.on_told(standing)

    async def deliver(self, job: Job, result: StoredResult) -> None:
        self.sending.append(job.order.title)
        await self.may_deliver.wait()
        self._maybe("deliver", job)
        assert all(result.stem(name).read_text(encoding="utf-8") for name in STEMS)
        self.delivered.append((job, result))

    def _maybe(self, call: str, job: Job) -> None:
        if error := self.trouble.get((call, job.order.title)):
            raise error

    def answers(self) -> list[tuple[str, str]]:
        """(chat, title) of what was delivered, in order."""
        return [(job.place.chat, job.order.title) for job, _ in self.delivered]

    def ends(self) -> dict[str, Job]:
        """Title → the job's end, as it was told."""
        return {told.job.order.title: told.job for told in self.told if told.job.state.is_final}


@dataclass
class House:
    """A service with all that surrounds it."""

    service: SeparationService
    store: JobStore
    engine: FakeEngine
    courier: FakeCourier
    folder: Path

    async def until(self, job: Job, *states: State) -> Standing:
        """Waits until a job is in one of the states (none: a final one)."""
        async with asyncio.timeout(PATIENCE_S):
            async for standing in self.service.watch(job.id):
                if standing.job.state in states or standing.job.state.is_final:
                    assert not states or standing.job.state in states, standing
                    return standing
        raise AssertionError(f"{job.id} is gone")

    async def told(self, job: Job) -> Job:
        """Waits until the end of a job was told."""
        await self.until(job)
        await eventually(lambda: any(told.job.id == job.id and told.job.state.is_final for told in self.courier.told))
        found = self.service.job(job.id)
        assert found is not None
        return found

    def standing(self, job: Job) -> Standing:
        """Where a job stands that is there."""
        found = self.service.standing(job.id)
        assert found is not None
        return found

    async def refused(self, *orders: Order) -> str:
        """Hands in orders; returns why the last one is refused."""
        for wanted in orders[:-1]:
            await self.service.accept(wanted)
        with pytest.raises(Refused) as caught:
            await self.service.accept(orders[-1])
        return refusal(caught.value)

    def files(self) -> list[str]:
        """What lies in the data folder, of songs."""
        return sorted(
            str(Path(where, name).relative_to(self.folder))
            for top in ("work", "songs", "results")
            for where, folders, names in os.walk(self.folder / top)  # unlike rglob it bears what vanishes meanwhile
            for name in (*folders, *names)
        )


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for something that has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def house(
    folder: Path,
    *,
    engine: FakeEngine | None = None,
    engines: int = 1,
    courier: FakeCourier | None = None,
    patience: Patience = QUICK,
    limits: LimitSettings = LimitSettings(),  # noqa: B008  frozen
    storage: StorageSettings = StorageSettings(keep_free_mb=0),  # noqa: B008
    engine_settings: EngineSettings = EngineSettings(),  # noqa: B008
    starts: bool = True,
    is_late: bool = False,
    **more: object,
) -> AsyncIterator[House]:
    """A service at work in ``folder``; what it did not finish is there for the next one.

    ``is_late``: the chat comes after the start, as platforms do.
    """
    store = JobStore(folder)
    engine, courier = engine or FakeEngine(), courier or FakeCourier()
    settings = Settings(data_dir=folder, engine=engine_settings, limits=limits, storage=storage, **more)  # type: ignore[arg-type]
    service = SeparationService(settings, store, inspect=inspect, patience=patience)
    if not is_late:
        service.attach("fake", courier)
    try:
        if starts:
            await service.start()
        if is_late:
            await asyncio.sleep(0)
            service.attach("fake", courier)
        for _ in range(engines):
            service.add_engine(engine)
        yield House(service, store, engine, courier, folder)
    finally:
        await service.stop()
        store.close()


def outages_are_short(service: SeparationService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a platform could not be reached, songs and stems are tried again soon, and as often as need be."""
    for station in (service._preparing, service._delivering):
        monkeypatch.setattr(station, "_patience", replace(PATIENCE, outages_s=(0.1,) * 100))


def refusal(caught: BaseException | None) -> str:
    """The sentence of a refusal."""
    assert isinstance(caught, Refused)
    sentence = str(caught)
    assert sentence.endswith(".")
    assert sentence[0].isupper()
    return sentence

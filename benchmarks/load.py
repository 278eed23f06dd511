"""Many chats at once, through the service and an engine that crashes and hangs: is anything lost, who waits how long?

::

    python -m benchmarks.load                 # 200 jobs from 20 chats, 5 % crashes, 2 % hangs, chats in trouble
    python -m benchmarks.load --jobs 40 --chats 4 --seed 7

The engine is the fast fake one in a real child process; songs are looked into for real, each in a child of its own.
The test of the same name asserts the zeros.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median

import soundfile

from bot.config import LimitSettings, Settings, StorageSettings
from bot.jobs import DeliveryError, Job, Order, Place, Refused, Standing, State, StoredResult, Wish
from bot.patience import PATIENCE
from bot.service import SeparationService
from bot.stations import Inspect
from bot.store import JobStore
from spectacles_engine import audio_files
from spectacles_engine.keeper import Deadlines
from spectacles_engine.process import EngineProcess
from tests import fake_engine
from tests.fake_engine import FakeOptions, write_song


@dataclass(frozen=True)
class Load:
    """How many, and how much goes wrong. One song in ten is one that another chat sends as well.

    Every chat sends all of its songs at once, one chat after the other: the first would be served first by a queue that
    takes turns by arrival.
    """

    jobs: int = 200
    chats: int = 20
    crash_rate: float = 0.05
    hang_rate: float = 0.02
    trouble_rate: float = 0.03
    seed: int = 0
    stall_s: float = 1.5

    def sender(self, number: int) -> int:
        """Which chat sends the ``number``-th song."""
        return number * self.chats // self.jobs

    def song(self, number: int) -> int:
        """Which song that is: every tenth is one of the neighbour's."""
        neighbours = number - self.jobs // self.chats
        return neighbours if number % 10 == 9 and neighbours >= 0 else number


@dataclass
class Chats:
    """All chats of the test: they record, and now and then are slow, drop a connection, or throw the bot out."""

    songs: Path
    load: Load
    accepted_at: dict[str, float] = field(default_factory=dict)
    first_told_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    ends: dict[str, list[Job]] = field(default_factory=lambda: defaultdict(list))
    sent: Counter[str] = field(default_factory=Counter)
    misplaced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.load.seed)

    async def fetch(self, job: Job, to: Path) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.05))
        self._maybe(ConnectionResetError("reset"))
        self._maybe(Refused("The chat has lost the file."))
        await asyncio.to_thread(shutil.copyfile, self.songs / job.order.source["song"], to)

    async def tell(self, standing: Standing) -> None:
        job = standing.job
        self._maybe(ConnectionResetError("reset"))
        if self._chance.random() < self.load.trouble_rate:  # a rate limit: wait, and again
            await asyncio.sleep(0.3)
        self.first_told_at.setdefault(job.id, time.monotonic())
        if job.state.is_final:
            self.ended_at[job.id] = time.monotonic()
            self.ends[job.id].append(job)

    async def deliver(self, job: Job, result: StoredResult) -> None:
        await asyncio.sleep(self._chance.uniform(0, 0.05))
        self._maybe(DeliveryError("The bot was thrown out of this chat."))
        song, _ = soundfile.read(self.songs / job.order.source["song"])
        stem, _ = soundfile.read(result.stem("vocals"))
        if job.place.chat != job.order.title.partition(":")[0] or abs(song / 4 - stem).max() > 1e-3:
            self.misplaced.append(job.id)
        self.sent[job.id] += 1

    def _maybe(self, error: Exception) -> None:
        if self._chance.random() < self.load.trouble_rate:
            raise error


@dataclass(frozen=True)
class Figures:
    """What came of it. Waits are from ``accept`` to the end, first answers to the first word in the chat."""

    accepted: int
    stems: int
    sentences: Counter[str]
    lost: int
    answered_twice: int
    in_the_wrong_chat: int
    engine_starts: int
    wall_s: float
    chat_waits_s: Sequence[float]
    first_answers_s: Sequence[float]
    left_over: list[str]

    def lines(self) -> list[str]:
        """For people."""
        told = ", ".join(f"{count} × {sentence}" for sentence, count in self.sentences.most_common())
        failed = self.accepted - self.stems
        fastest, slowest = min(self.chat_waits_s), max(self.chat_waits_s)
        return [
            f"{self.accepted} jobs in {self.wall_s:.1f} s: {self.stems} as stems, {failed} as a sentence",
            f"  ({told})",
            f"{self.lost} lost, {self.answered_twice} answered twice, {self.in_the_wrong_chat} in the wrong chat",
            f"engine started {self.engine_starts} times; left over: {', '.join(self.left_over) or 'nothing'}",
            f"mean wait of a chat: fastest {fastest:.1f} s, slowest {slowest:.1f} s ({slowest / fastest:.2f} times)",
            f"first answer: median {median(self.first_answers_s):.3f} s, worst {max(self.first_answers_s):.3f} s",
        ]


async def measure(load: Load, folder: Path, inspect: Inspect = audio_files.inspect) -> Figures:
    """Puts the load on a service in ``folder``."""
    songs = folder / "songs"
    songs.mkdir(parents=True)
    chats = Chats(songs, load)
    options = FakeOptions(
        folder / "models", crash_rate=load.crash_rate, hang_rate=load.hang_rate, seed=load.seed, step_s=0.01
    )
    engine = EngineProcess(options, target=fake_engine.main, deadlines=Deadlines(stall_s=load.stall_s))
    settings = Settings(data_dir=folder / "data", limits=LimitSettings(), storage=StorageSettings(keep_free_mb=0))
    store = JobStore(settings.data_folder)
    # a platform is away for a moment, not for minutes
    patience = replace(PATIENCE, outages_s=(0.5, 1.0, 2.0))
    service = SeparationService(settings, store, inspect=inspect, patience=patience)
    service.attach("load", chats)
    for seed in {load.song(number) for number in range(load.jobs)}:
        await asyncio.to_thread(write_song, _path(songs, seed), seed=seed)
    started = time.monotonic()
    children: set[int] = set()
    watching = asyncio.create_task(_count_children(engine, children))
    await service.start()
    service.add_engine(engine)
    try:
        jobs = [await _accept(service, chats, number) for number in range(load.jobs)]
        while len(chats.ends) < len(jobs):
            await asyncio.sleep(0.05)
        wall_s = time.monotonic() - started
        await asyncio.sleep(0.5)  # for what should not come any more
    finally:
        watching.cancel()
        await service.stop()
        left_over = sorted(path.name for name in ("work", "songs") for path in (store.folder / name).iterdir())
        left_over += [job.id for job in store.unfinished()]
        store.close()
    return _figures(chats, jobs, wall_s, len(children), left_over)


async def _accept(service: SeparationService, chats: Chats, number: int) -> Job:
    chat, song = f"c{chats.load.sender(number)}", _path(chats.songs, chats.load.song(number))
    order = Order(Place("load", chat, f"p{chat}"), Wish(), {"song": song.name}, f"{chat}:{number}")
    at = time.monotonic()
    job = await service.accept(order)
    chats.accepted_at[job.id] = at
    return job


def _path(songs: Path, seed: int) -> Path:
    return songs / f"{seed}.wav"


async def _count_children(engine: EngineProcess, seen: set[int]) -> None:
    while True:
        if engine.pid:
            seen.add(engine.pid)
        await asyncio.sleep(0.02)


def _figures(chats: Chats, jobs: Sequence[Job], wall_s: float, starts: int, left_over: list[str]) -> Figures:
    waits: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        waits[job.place.chat].append(chats.ended_at[job.id] - chats.accepted_at[job.id])
    ends = {job_id: told[-1] for job_id, told in chats.ends.items()}
    failed = [end for end in ends.values() if end.state is State.FAILED]
    return Figures(
        accepted=len(jobs),
        stems=sum(chats.sent.values()),
        sentences=Counter(str(end.error) for end in failed),
        lost=sum(not (chats.sent[job.id] or (job.id in ends and ends[job.id].error)) for job in jobs),
        answered_twice=sum(
            chats.sent[job.id] + (ends[job.id].state is State.FAILED) > 1 or len(chats.ends[job.id]) > 1 for job in jobs
        ),
        in_the_wrong_chat=len(chats.misplaced),
        engine_starts=starts,
        wall_s=wall_s,
        chat_waits_s=[mean(each) for each in waits.values()],
        first_answers_s=[chats.first_told_at[job.id] - chats.accepted_at[job.id] for job in jobs],
        left_over=left_over,
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("jobs", "chats", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Load, name))
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        load = Load(jobs=arguments.jobs, chats=arguments.chats, seed=arguments.seed)
        print("\n".join(asyncio.run(measure(load, Path(folder))).lines()))


if __name__ == "__main__":
    main()

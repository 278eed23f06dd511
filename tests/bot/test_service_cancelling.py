"""Jobs that are ended by whoever asked for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bot.jobs import Job, Place, State
from tests.service_fakes import QUICK, FakeEngine, House, audio_of, eventually, held_engine, house, order


async def test_a_waiting_job_is_cancelled(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        running, waiting = [await home.service.accept(order(name)) for name in "ab"]
        await home.until(running, State.RUNNING)
        await home.until(waiting, State.QUEUED)
        cancelled = await home.service.cancel(waiting.id, waiting.place)
        assert cancelled is not None
        assert cancelled.state is State.CANCELLED
        assert (await home.told(waiting)).state is State.CANCELLED
        assert await home.service.cancel(waiting.id, waiting.place) is None
        engine.may_go.set()
        await home.told(running)
        assert engine.begun == ["a"]
        await eventually(lambda: not list((tmp_path / "songs").iterdir()))


async def test_a_running_job_is_cancelled_and_the_engine_is_free(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        first, second = [await home.service.accept(order(name)) for name in "ab"]
        await home.until(first, State.RUNNING)
        assert await home.service.cancel(first.id, first.place)
        await home.until(second, State.RUNNING)
        engine.may_go.set()
        await home.told(second)
        assert engine.done == ["b"]
        assert home.courier.answers() == [("1", "b")]


@pytest.mark.parametrize("which", [0, 1])
async def test_cancelling_one_does_not_disturb_the_other_who_waits_for_the_same_song(
    tmp_path: Path, which: int
) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        jobs = [await home.service.accept(order("a", chat=chat)) for chat in "12"]
        for job in jobs:
            await home.until(job, State.RUNNING)
        assert await home.service.cancel(jobs[which].id, jobs[which].place)
        await home.told(jobs[which])
        engine.may_go.set()
        assert (await home.told(jobs[1 - which])).state is State.DONE
        assert engine.begun == ["a"]
        assert home.courier.answers() == [("12"[1 - which], "a")]
        # whose minutes it takes
        assert [charge.place for charge in home.store.charges(0)] == [jobs[1 - which].place]


@dataclass
class DeafEngine(FakeEngine):
    """Is held, and hears of a cancel late, or never."""

    hears_after_s: float | None = None

    def __post_init__(self) -> None:
        self.may_go.clear()

    def cancel(self, job_id: str) -> None:
        if self.hears_after_s is not None:
            asyncio.get_running_loop().call_later(self.hears_after_s, super().cancel, job_id)


async def cancelled_at_work(home: House) -> Job:
    """A job whose song the engine reads, cancelled."""
    job = await home.service.accept(order("a"))
    await home.until(job, State.RUNNING)
    await home.service.cancel(job.id, job.place)
    return job


async def test_a_song_that_comes_again_while_its_run_is_being_cancelled_is_separated(tmp_path: Path) -> None:
    engine = DeafEngine(hears_after_s=0.2)
    async with house(tmp_path, engine=engine) as home:
        await cancelled_at_work(home)
        second = await home.service.accept(order("a", chat="2"))
        await eventually(lambda: len(engine.begun) == 2)
        engine.may_go.set()
        assert (await home.told(second)).state is State.DONE
        assert home.courier.answers() == [("2", "a")]


async def test_a_song_that_an_engine_still_reads_is_not_deleted_under_it(tmp_path: Path) -> None:
    engine = DeafEngine()
    async with house(tmp_path, engine=engine) as home:
        await home.told(await cancelled_at_work(home))
        assert home.files() == [f"songs/{audio_of('a')}"]
        engine.may_go.set()
        await eventually(lambda: home.files() == [])


async def test_cancelling_while_a_song_is_fetched_or_sent(tmp_path: Path) -> None:
    async with house(tmp_path, patience=replace(QUICK, fetch_s=3600, deliver_s=3600)) as home:
        home.courier.may_fetch.clear()
        job = await home.service.accept(order("a"))
        await eventually(lambda: bool(home.courier.fetched))
        assert await home.service.cancel(job.id, job.place)
        assert (await home.told(job)).state is State.CANCELLED
        await eventually(lambda: home.files() == [])
        home.courier.may_fetch.set()
        home.courier.may_deliver.clear()
        job = await home.service.accept(order("b"))
        await eventually(lambda: home.courier.sending == ["b"])
        assert await home.service.cancel(job.id, job.place)
        await home.until(job)
        home.courier.may_deliver.set()
        assert (await home.told(job)).state is State.CANCELLED
        # the next answer to this chat is not held up by the one that was called off
        assert (await home.told(await home.service.accept(order("c")))).state is State.DONE
        assert home.courier.answers() == [("1", "c")]


async def test_nobody_cancels_the_job_of_another(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        for place in (Place("fake", "1", "bob"), Place("fake", "2", "ann"), Place("other", "1", "ann")):
            assert await home.service.cancel(job.id, place) is None
        assert await home.service.cancel("nothing", job.place) is None
        await home.until(job, State.RUNNING)


async def test_cancelled_before_anything_began(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        jobs = [await home.service.accept(order(f"a{number}")) for number in range(10)]
        for job in jobs:
            await home.service.cancel(job.id, job.place)
        for job in jobs:
            assert (await home.told(job)).state is State.CANCELLED
        assert (await home.told(await home.service.accept(order("b")))).state is State.DONE
        assert home.courier.answers() == [("1", "b")]

"""How much room results take, and who makes room for others."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from bot import refusals
from bot.admission import DAY_S, Admission
from bot.config import LimitSettings, Settings, StorageSettings
from bot.jobs import Job, Place, Refused, State, Unavailable
from bot.store import JobStore, StoreError
from tests.service_fakes import (
    QUICK,
    FakeCourier,
    Usage,
    audio_of,
    eventually,
    held_engine,
    house,
    order,
)


async def test_a_full_disk_is_a_sentence_after_old_results_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.shelf._size_bytes", lambda folder: 10**9)
    async with house(tmp_path) as home:
        for name in "ab":
            await home.told(await home.service.accept(order(name)))
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if _stored(tmp_path) > 1 else 10**9))
        assert (await home.told(await home.service.accept(order("c")))).state is State.DONE
        # the one that nobody asked for the longest time
        assert not (tmp_path / "results" / audio_of("a")).exists()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10))
        assert (await home.refused(order("d", source_key=None, size_bytes=11))).startswith("There is no room left")
        monkeypatch.undo()
        assert (await home.told(await home.service.accept(order("e")))).state is State.DONE


async def test_no_results_go_for_a_song_that_would_find_no_room_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("a")))
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10))
        assert (await home.refused(order("b", size_bytes=100))).startswith("There is no room left")
        assert (tmp_path / "results" / audio_of("a")).exists()


async def test_no_more_results_are_looked_at_than_make_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[Path] = []

    def size_bytes(folder: Path) -> int:
        looked_at.append(folder)
        return 10**9

    async with house(tmp_path) as home:
        for name in "abc":
            await home.told(await home.service.accept(order(name)))
        monkeypatch.setattr("bot.shelf._size_bytes", size_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10))
        home.service.check_room(10**9)
        assert [folder.name for folder in looked_at] == [audio_of("a")]


async def test_room_is_not_made_at_the_cost_of_stems_that_are_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        home.courier.may_deliver.clear()
        job = await home.service.accept(order("a"))
        await home.until(job, State.DELIVERING)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if _stored(tmp_path) else 10**9))
        assert (await home.refused(order("b", size_bytes=1))).startswith("There is no room left")
        home.courier.may_deliver.set()
        assert (await home.told(job)).state is State.DONE
        assert home.engine.done == ["a"]


async def test_room_for_the_next_stems_is_not_made_at_the_cost_of_those_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        home.courier.may_deliver.clear()
        jobs = [await home.service.accept(order(sound)) for sound in "ab"]
        await home.until(jobs[1], State.QUEUED)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if _stored(tmp_path) else 10**9))
        engine.may_go.set()
        assert (await home.told(jobs[1])).error == refusals.disk_full()
        home.courier.may_deliver.set()
        assert (await home.told(jobs[0])).state is State.DONE
        assert engine.done == ["a"]


def _stored(folder: Path) -> int:
    return len(list((folder / "results").iterdir()))


async def test_a_song_whose_stems_would_not_fit_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path, storage=StorageSettings(keep_free_mb=1)) as home:
        # four of 100 s with two channels of 24 bit
        needed = 4 * 100 * 44_100 * 2 * 3 + 10**6
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, needed - 1))
        job = await home.told(await home.service.accept(order("a")))
        assert (job.error or "").startswith("There is no room left on my disk.")
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, needed))
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE


async def test_a_folder_that_vanishes_is_a_sentence(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        shutil.rmtree(tmp_path / "songs")
        (tmp_path / "songs").write_text("in the way", encoding="utf-8")
        job = await home.told(await home.service.accept(order("a")))
        assert job.state is State.FAILED
        assert job.error


async def test_results_beyond_the_budget_go_the_least_wanted_first(tmp_path: Path) -> None:
    # each of these results is 4 stems of one letter
    async with house(tmp_path, storage=StorageSettings(disk_budget_gb=8e-9, keep_free_mb=0)) as home:
        for name in "ab":
            await home.told(await home.service.accept(order(name)))
        await home.told(await home.service.accept(order("a", chat="2")))
        assert (await home.told(await home.service.accept(order("c")))).state is State.DONE
        await eventually(lambda: _stored(tmp_path) == 2)
        assert not (tmp_path / "results" / audio_of("b")).exists()
        assert home.store.result(audio_of("b")) is None


async def test_two_that_tidy_at_once_delete_no_more_than_one(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        for name in "abc":
            await home.told(await home.service.accept(order(name)))
        shelf = home.service._shelf
        shelf._settings = StorageSettings(disk_budget_gb=8e-9)
        await asyncio.gather(shelf.tidy(set), shelf.tidy(set))
        assert _stored(tmp_path) == 2


async def test_stems_of_a_time_that_is_yet_to_come_are_kept_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        now = time.time()
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda: now + 1000 * DAY_S)
            await home.told(await home.service.accept(order("a")))
        await eventually(lambda: all(result.made_at < now + DAY_S for result in home.store.results()))
        assert home.store.results()


async def test_a_mistake_of_ours_does_not_end_the_tidying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path) as home:
        mistakes = [ZeroDivisionError()]
        finished_before = home.store.finished_before

        def once_wrong(at: float) -> list[Job]:
            if mistakes:
                raise mistakes.pop()
            return finished_before(at)

        monkeypatch.setattr(home.store, "finished_before", once_wrong)
        job = await home.told(await home.service.accept(order("a")))
        await eventually(lambda: not mistakes)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 2 * DAY_S)
        await eventually(lambda: home.store.job(job.id) is None)


async def test_what_is_no_longer_kept_goes_also_while_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("full")

    async with house(tmp_path) as home:
        old = await home.told(await home.service.accept(order("a")))
        home.engine.may_go.clear()
        job = await home.service.accept(order("b"))
        await home.until(job, State.RUNNING)
        await eventually(lambda: not home.store.untold())
        with monkeypatch.context() as patch:
            patch.setattr(JobStore, "save", full)
            await home.service.cancel(job.id, job.place)  # which is to be written as soon as it can be
            now = time.time()
            patch.setattr(time, "time", lambda: now + 2 * DAY_S)
            await eventually(lambda: home.store.job(old.id) is None)
            await eventually(lambda: home.files() == [])


async def test_what_a_job_still_needs_is_kept_beyond_time_and_budget(tmp_path: Path) -> None:
    courier = FakeCourier()
    courier.may_deliver.clear()
    storage = StorageSettings(keep_hours=1e-9, disk_budget_gb=1e-9, keep_free_mb=0)
    async with house(tmp_path, courier=courier, storage=storage) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.DELIVERING)
        home.service._upkeep.tidy_soon()
        await asyncio.sleep(4 * QUICK.tidy_s)
        assert _stored(tmp_path) == 1
        courier.may_deliver.set()
        await home.until(job)
        await eventually(lambda: home.files() == [])
        # and the job is not known any more, as everything is over
        await eventually(lambda: home.service.job(job.id) is None)


async def test_minutes_that_a_clock_counted_ahead_of_its_time_are_free_after_a_day() -> None:
    admission = Admission(Settings(limits=LimitSettings(minutes_a_day_per_person=1)))
    place, now = Place("fake", "1", "ann"), time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 1e9)
        admission.charge(place, 60)
        patch.setattr(time, "time", lambda: now)
        with pytest.raises(Refused):
            admission.check_minutes(place, 1, ())
        patch.setattr(time, "time", lambda: now + DAY_S + 1)
        admission.check_minutes(place, 1, ())


async def test_results_may_lie_on_a_disk_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def within_a_disk(source: Path, target: Path) -> None:
        if Path(source).parent.name != Path(target).parent.name:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", within_a_disk)
    monkeypatch.setattr(os, "replace", within_a_disk)
    async with house(tmp_path) as home:
        first = await home.told(await home.service.accept(order("a")))
        assert first.state is State.DONE
        assert not any((tmp_path / "work").iterdir())
        # where it is full, older ones make room; where the other is, they would not
        full = tmp_path
        free = {tmp_path / "results": lambda: 0 if _stored(tmp_path) else 10**9, tmp_path: lambda: 10**9}
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, free[folder]()))
        monkeypatch.setattr("bot.shelf._size_bytes", lambda folder: 10**9)
        monkeypatch.setattr("bot.shelf._is_one_disk", lambda *folders: False)
        assert (await home.told(await home.service.accept(order("b")))).state is State.DONE
        assert home.service.result(first) is None
        full_ones = {full: lambda: 10}, {full: lambda: 10, tmp_path / "results": lambda: 10}
        free[tmp_path / "results"] = lambda: 10**9
        for those in full_ones:
            free |= those
            assert (await home.refused(order("c", size_bytes=11))).startswith("There is no room left")
            with pytest.raises(Unavailable):
                home.service.check_room(11)
            assert _stored(tmp_path) == 1


async def test_stems_of_which_nothing_can_be_noted_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*result: object) -> None:
        raise StoreError(refusals.disk_full())

    async with house(tmp_path) as home:
        monkeypatch.setattr(home.store, "save_result", full)
        job = await home.told(await home.service.accept(order("a")))
        assert (job.error or "").startswith("There is no room left")
        await eventually(lambda: home.files() == [])


async def test_stems_of_which_nothing_was_noted_are_not_in_the_way_of_new_ones(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        left_over = tmp_path / "results" / audio_of("a") / "left-over"
        left_over.parent.mkdir()
        left_over.touch()
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
        assert not left_over.exists()


async def test_results_are_kept_for_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with house(tmp_path, storage=StorageSettings(keep_hours=1, keep_free_mb=0)) as home:
        await home.told(await home.service.accept(order("a")))
        monkeypatch.setattr(time, "time", lambda: now + 1800)
        job = await home.told(await home.service.accept(order("a", chat="2")))
        await asyncio.sleep(4 * QUICK.tidy_s)
        assert home.service.result(job) is not None
        monkeypatch.setattr(time, "time", lambda: now + 3700)
        await eventually(lambda: home.service.result(job) is None)
        await eventually(lambda: home.files() == [])
        # what was asked for later is still known
        assert home.service.job(job.id) is not None

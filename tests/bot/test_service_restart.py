"""What becomes of jobs when the bot ends, is killed, or its store fails; and what is left on the disk."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.config import EngineSettings, StorageSettings
from bot.jobs import Job, StartError, State
from bot.refusals import disk_full
from bot.shelf import Shelf
from bot.store import JobStore
from spectacles_engine.errors import CancelledError, EngineError
from spectacles_engine.messages import STEMS, SeparationResult
from tests.service_fakes import QUICK, FakeCourier, FakeEngine, Usage, audio_of, eventually, held_engine, house, order


async def test_a_bot_that_ends_keeps_its_jobs(tmp_path: Path) -> None:
    courier = FakeCourier()
    async with house(tmp_path, engine=held_engine(), courier=courier) as home:
        running = await home.service.accept(order("a"))
        await home.until(running, State.RUNNING)
        waiting = await home.service.accept(order("b"))
        await home.until(waiting, State.QUEUED)
        courier.may_fetch.clear()
        coming = await home.service.accept(order("c"))
        await eventually(lambda: "c" in courier.fetched)
    assert courier.answers() == []
    assert home.engine.is_closed
    # whoever reads it meanwhile reads that it waits
    assert [told.job.state for told in courier.told if told.job.id == running.id][-1] is State.QUEUED
    async with house(tmp_path) as home:
        for job in (running, waiting, coming):
            assert (await home.told(job)).state is State.DONE
        assert home.courier.fetched == ["c"]
        assert home.engine.begun == ["a", "b", "c"]
        assert sorted(home.courier.answers()) == [("1", "a"), ("1", "b"), ("1", "c")]


async def test_a_bot_that_has_ended_deletes_nothing_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    async with house(tmp_path, storage=StorageSettings(keep_hours=1, keep_free_mb=0)) as home:
        job = await home.told(await home.service.accept(order("a")))
        await home.service.stop()
        monkeypatch.setattr(time, "time", lambda: now + 3700)
        await asyncio.sleep(4 * QUICK.tidy_s)
        assert home.store.job(job.id) is not None
        assert home.store.result(audio_of("a")) is not None


async def test_the_end_of_the_bot_is_not_a_second_engine_that_a_song_has_cost(tmp_path: Path) -> None:
    class Fragile(FakeEngine):
        losses = 0

        async def separate(self, *args: Any) -> SeparationResult:
            self.losses += 1
            if self.losses == 1:
                raise EngineError("it died")
            try:
                return await super().separate(*args)
            except CancelledError:
                raise EngineError("it is closed") from None

    engine = Fragile()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine) as home:
        job = await home.service.accept(order("a"))
        await eventually(lambda: engine.begun == ["a"])
    async with house(tmp_path) as home:
        assert (await home.told(job)).state is State.DONE


async def test_a_delivery_that_is_under_way_may_end(tmp_path: Path) -> None:
    courier = FakeCourier()
    courier.may_deliver.clear()
    async with house(tmp_path, courier=courier) as home:
        job = await home.service.accept(order("a"))
        await eventually(lambda: bool(courier.sending))
        asyncio.get_running_loop().call_later(0.1, courier.may_deliver.set)
    assert courier.answers() == [("1", "a")]
    async with house(tmp_path) as home:
        assert home.courier.answers() == []
        found = home.service.job(job.id)
        assert found is not None
        assert found.state is State.DONE


@pytest.mark.parametrize("state", [State.PREPARING, State.QUEUED, State.RUNNING, State.DELIVERING])
@pytest.mark.parametrize("has_song", [True, False])
@pytest.mark.parametrize("has_result", [True, False])
async def test_a_job_goes_on_from_what_is_there(tmp_path: Path, state: State, has_song: bool, has_result: bool) -> None:
    async with house(tmp_path) as home:
        if has_result:
            await home.told(await home.service.accept(order("a", chat="0")))
        else:
            home.engine.may_go.clear()
            await home.until(await home.service.accept(order("a", chat="0")), State.RUNNING)
    store = JobStore(tmp_path)
    audio = None if state is State.PREPARING else audio_of("a")
    job = Job("j", order("a"), state, 5.0, audio=audio, status={"message": 1})
    store.save([job])
    if has_song and not has_result:
        assert store.songs()
    if not has_song and not has_result:
        shutil.rmtree(tmp_path / "songs")
    store.close()
    async with house(tmp_path) as home:
        assert (await home.told(job)).state is State.DONE
        assert ("1", "a") in home.courier.answers()
        is_known = audio is not None and (has_result or has_song)
        assert home.courier.fetched.count("a") == (0 if is_known else 1 if has_song or has_result else 2)
        # whatever it was, it is answered once
        assert home.courier.answers().count(("1", "a")) == 1


async def test_a_chat_that_was_just_served_waits_for_the_others_also_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        served = await home.service.accept(order("a1", chat="a"))
        await home.until(served, State.RUNNING)
        waiting = [await home.service.accept(order(name, chat=name[0])) for name in ("a2", "b1")]
        for job in waiting:
            await home.until(job, State.QUEUED)
    store = JobStore(tmp_path)
    store.save([replace(served, state=State.DONE)])
    store.charge(served.id, 100.0)
    store.close()
    async with house(tmp_path, is_late=True) as home:
        for job in waiting:
            await home.told(job)
        assert home.engine.begun == ["b1", "a2"]


async def test_a_song_with_which_the_whole_bot_died_lets_others_go_first(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        running = await home.service.accept(order("a1", chat="a"))
        await home.until(running, State.RUNNING)
        waiting = await home.service.accept(order("b1", chat="b"))
        await home.until(waiting, State.QUEUED)
    store = JobStore(tmp_path)
    store.save([replace(running, state=State.RUNNING, audio=audio_of("a1"))])  # as a kill leaves it
    store.close()
    async with house(tmp_path, is_late=True) as home:
        for job in (running, waiting):
            await home.told(job)
        assert home.engine.begun == ["b1", "a1"]


async def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "songs").write_text("in the way", encoding="utf-8")
    async with house(tmp_path, starts=False) as home:
        with pytest.raises(StartError, match=r"cannot be written \(File exists\)"):
            await home.service.start()


async def test_an_end_that_nobody_was_told_is_told_after_a_restart(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    failed = Job("j1", order("a"), State.FAILED, 5.0, error="Why.", status={"message": 1})
    store.save([failed, Job("j2", order("b"), State.DONE, 6.0)])
    store.close()
    async with house(tmp_path) as home:
        await eventually(lambda: set(home.courier.ends()) == {"a", "b"})
        assert home.courier.ends()["a"] == failed
        await eventually(lambda: home.store.untold() == [])
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("c")))
        assert set(home.courier.ends()) == {"c"}
    assert home.courier.answers() == [("1", "c")]


async def test_a_status_that_is_noted_after_the_end_was_told_has_nothing_told_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.told(await home.service.accept(order("a")))
        await eventually(lambda: home.store.untold() == [])
        said = len(home.courier.told)
        home.service.note_status(job.id, {"message": 1})
        await asyncio.sleep(4 * QUICK.tidy_s)
        assert len(home.courier.told) == said
        assert home.service.find("fake", "1", "message", 1)


@pytest.mark.parametrize("has_restarted", [False, True])
async def test_an_end_is_told_when_a_long_outage_is_over(tmp_path: Path, has_restarted: bool) -> None:
    outage = FakeCourier(trouble={("tell", "a"): ConnectionError("no network")})
    patience = replace(QUICK, tidy_s=3600) if has_restarted else QUICK
    async with house(tmp_path, courier=outage, patience=patience) as home:
        job = await home.service.accept(order("a"))
        await home.until(job)
        await eventually(lambda: not home.service._announcer._tasks)
        assert home.store.untold() == [home.service.job(job.id)]
        if not has_restarted:
            outage.trouble.clear()
            await home.told(job)
    async with house(tmp_path) as home:
        if has_restarted:
            await home.told(job)
        await eventually(lambda: home.store.untold() == [])
        assert home.courier.answers() == []


async def test_an_end_is_told_also_while_nothing_can_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tidy(shelf: Shelf, spared: Callable[[], Collection[str]]) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Shelf, "tidy", tidy)
    outage = FakeCourier(trouble={("tell", "a"): ConnectionError("no network")})
    async with house(tmp_path, courier=outage) as home:
        job = await home.service.accept(order("a"))
        await home.until(job)
        await eventually(lambda: not home.service._announcer._tasks)
        outage.trouble.clear()
        await home.told(job)


async def test_leftovers_of_a_killed_bot_are_cleaned_up(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        for name in "ab":
            await home.told(await home.service.accept(order(name)))
    gone = audio_of("gone")
    left = (f"work/{gone[:24]}/song", f"work/{gone}.making/vocals.flac", f"songs/{gone}", f"results/{gone}/vocals.flac")
    for name in (*left, f"results/.{gone}-01234567/vocals.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("left over", encoding="utf-8")
    for name in (".send-x/a.mp3", ".encode-y/a.mp3", "peaks.part"):
        (tmp_path / "results" / audio_of("a") / name).parent.mkdir(exist_ok=True)
        (tmp_path / "results" / audio_of("a") / name).write_text("left over", encoding="utf-8")
    # a result that lacks a stem is none
    (tmp_path / "results" / audio_of("b") / "drums.flac").unlink()
    async with house(tmp_path) as home:
        stems = {f"results/{audio_of('a')}/{stem}.flac" for stem in STEMS}
        assert set(home.files()) == {f"results/{audio_of('a')}", *stems}
        assert home.store.result(audio_of("b")) is None
        assert (await home.told(await home.service.accept(order("b", chat="2")))).state is State.DONE


async def test_what_somebody_else_has_in_the_folder_stays(tmp_path: Path) -> None:
    own = ("work/thesis/draft.txt", "songs/my song.mp3", "results/run 1/.config", "results/table.csv")
    for name in own:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("of years", encoding="utf-8")
    async with house(tmp_path) as home:
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
    async with house(tmp_path):
        assert all((tmp_path / name).is_file() for name in own)


async def test_a_song_that_nobody_waits_for_any_more_is_cleaned_up(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
    store = JobStore(tmp_path)
    store.delete([job.id])
    store.close()
    async with house(tmp_path) as home:
        await eventually(lambda: home.files() == [])
        assert home.store.songs() == []


async def test_results_of_another_ensemble_are_not_passed_off_as_this_ones(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("a", source_key="k")))
    async with house(tmp_path, engine_settings=EngineSettings(blend="average")) as home:
        assert home.files() == []
        job = await home.told(await home.service.accept(order("a", chat="2", source_key="k")))
        assert job.state is State.DONE
        assert home.engine.begun == ["a"]


async def test_jobs_of_a_chat_that_is_not_served_wait_for_it(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.save([Job("j", order("a", platform="other"), State.QUEUED, time.time(), audio="gone")])
    store.close()
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("b")))
        assert home.store.job("j") is not None
        courier = FakeCourier()
        home.service.attach("other", courier)
        await eventually(lambda: courier.answers() == [("1", "a")])


async def _left_by_telegram(folder: Path) -> Job:
    """A bot was ended while it separated this job's song."""
    async with house(folder, engine=held_engine()) as home:
        await home.until(await home.service.accept(order("a")), State.RUNNING)
    store = JobStore(folder)
    (job,) = store.unfinished()
    job = replace(job, order=replace(job.order, place=replace(job.place, platform="telegram")))
    store.save([job])
    store.close()
    return job


async def test_songs_of_a_chat_that_is_away_at_the_start_are_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")
    await _left_by_telegram(tmp_path)
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("b")))
        courier = FakeCourier()
        home.service.attach("telegram", courier)
        await eventually(lambda: courier.answers() == [("1", "a")])
        assert courier.fetched == []


async def test_songs_of_a_chat_that_is_not_set_up_are_not_kept(tmp_path: Path) -> None:
    job = await _left_by_telegram(tmp_path)
    async with house(tmp_path) as home:
        await eventually(lambda: home.store.songs() == [])
        assert [stored.id for stored in home.store.unfinished()] == [job.id]


async def test_once_the_chat_is_back_they_are_kept_no_longer_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")
    job = await _left_by_telegram(tmp_path)
    async with house(tmp_path, engine=held_engine()) as home:
        home.service.attach("telegram", FakeCourier())
        assert await home.service.cancel(job.id, job.place)
        await eventually(lambda: list((tmp_path / "songs").iterdir()) == [])


async def test_room_is_not_made_at_the_cost_of_stems_for_a_chat_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")
    async with house(tmp_path) as home:
        stems = await home.told(await home.service.accept(order("a")))
    store = JobStore(tmp_path)
    store.save([Job("j", order("a", platform="telegram"), State.DELIVERING, time.time(), stems.audio)])
    store.close()
    async with house(tmp_path) as home:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if home.store.results() else 10**9))
        assert (await home.told(await home.service.accept(order("b")))).error == disk_full()
        courier = FakeCourier()
        home.service.attach("telegram", courier)
        await eventually(lambda: courier.answers() == [("1", "a")])
        assert home.engine.done == []


async def test_old_jobs_of_a_chat_that_is_not_set_up_any_more_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")  # which is away
    monkeypatch.delenv("DISCORD_BOT_TOKEN", raising=False)
    store = JobStore(tmp_path)
    states = {"queued": State.QUEUED, "untold": State.FAILED}
    for platform in ("telegram", "discord"):
        store.save(Job(f"{platform} {name}", order("a", platform=platform), states[name], 5.0) for name in states)
    store.close()
    async with house(tmp_path, storage=StorageSettings(keep_hours=1e-9, keep_free_mb=0)) as home:
        await eventually(lambda: home.store.of_chat("discord", "1") == [])
        await asyncio.sleep(4 * QUICK.tidy_s)
        assert len(home.store.of_chat("telegram", "1")) == 2
    assert "job discord queued is forgotten: it is of discord, which is not set up any more" in caplog.text


async def test_orders_that_come_before_the_start_are_served_after_it(tmp_path: Path) -> None:
    async with house(tmp_path, starts=False) as home:
        job = await home.service.accept(order("a"))
        await eventually(lambda: [told.job.state for told in home.courier.told] == [State.PREPARING])
        assert home.courier.told[0].position == 1
        await home.service.start()
        assert (await home.told(job)).state is State.DONE


async def test_who_waited_long_for_a_song_is_told_its_end_when_the_chat_is_back(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE jobs SET accepted_at = accepted_at - 36000")
    storage = StorageSettings(keep_hours=5, keep_free_mb=0)
    async with house(tmp_path, courier=FakeCourier(untold_ends=10), storage=storage) as home:
        assert (await home.told(job)).state is State.DONE

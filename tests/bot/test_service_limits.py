"""What the service refuses, and what it keeps, for how long, and for whom."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot import replies
from bot.admission import DAY_S, Admission
from bot.config import LimitSettings, Settings, StorageSettings, TelegramSettings
from bot.jobs import Job, Place, Refused, State, TooLarge, Unavailable, Wish
from tests.service_fakes import (
    PATIENCE_S,
    QUICK,
    FakeCourier,
    FakeEngine,
    House,
    Usage,
    audio_of,
    eventually,
    held_engine,
    house,
    order,
    refusal,
)


async def _refused(home: House, *orders: object) -> str:
    for wanted in orders[:-1]:
        await home.service.accept(wanted)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        await home.service.accept(orders[-1])  # type: ignore[arg-type]
    return refusal(caught.value)


async def test_songs_in_progress_are_limited_for_a_person_and_for_a_chat(tmp_path: Path) -> None:
    limits = LimitSettings(songs_in_progress_per_person=2, songs_in_progress_per_chat=3)
    async with house(tmp_path, engine=held_engine(), limits=limits) as home:
        sentence = await _refused(home, order("a"), order("b", chat="2"), order("c", chat="3"))
        assert sentence.startswith("You have 2 songs in progress already.")
        bob = [order(name, person="bob") for name in "de"]
        sentence = await _refused(home, *bob, order("f", person="cleo"))
        assert sentence.startswith("This chat has 3 songs in progress already.")
        (first,) = home.service.jobs(Place("fake", "1", "ann"))
        await home.service.cancel(first.job.id, first.job.place)
        await home.service.accept(order("f", person="cleo"))
        # another platform has its own numbers
        await home.service.accept(order("g", platform="other"))


async def test_minutes_of_a_day_count_what_was_separated(tmp_path: Path) -> None:
    limits = LimitSettings(minutes_a_day_per_person=5, minutes_a_day_per_chat=7)
    async with house(tmp_path, limits=limits) as home:
        for name, person, chat in (("a", "ann", "1"), ("b", "bob", "1")):
            job = await home.told(await home.service.accept(order(name, person=person, chat=chat, seconds=200)))
            assert job.state is State.DONE
        # stored results are free, for everybody
        assert (await home.told(await home.service.accept(order("b", seconds=200)))).state is State.DONE
        too_much = await home.told(await home.service.accept(order("c", seconds=101)))
        assert too_much.state is State.FAILED
        assert (too_much.error or "").startswith("That would be more than your 5 minutes of audio within 24 hours.")
        # told before it is fetched, where the platform knows the length
        sentence = await _refused(home, replace(order("c", chat="2"), seconds=101.0))
        assert sentence.endswith("The first of them are free again in 24 hours.")
        sentence = await _refused(home, replace(order("c", person="cleo"), seconds=30.0))
        assert sentence.startswith("That would be more than this chat's 7 minutes")
        sentence = await _refused(home, replace(order("c", chat="2", person="cleo"), seconds=301.0))
        assert sentence == "That song alone is more than your 5 minutes of audio within 24 hours."
        assert (await home.told(await home.service.accept(order("c", seconds=10)))).state is State.DONE
        # to be forgotten gives no new minutes
        await home.service.forget(Place("fake", "1", "ann"))
        await _refused(home, replace(order("d", chat="2"), seconds=120.0))
    async with house(tmp_path, limits=limits) as home:
        await _refused(home, replace(order("e", chat="2", person="bob"), seconds=101.0))


async def test_whose_turn_a_song_took_pays_for_it_though_others_get_it_too(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        before = await home.service.accept(order("before"))
        await home.until(before, State.RUNNING)
        wants = [
            await home.service.accept(order("song", chat=chat, person=who))
            for chat, who in (("1", "ann"), ("2", "bob"))
        ]
        for job in wants:
            await home.until(job, State.QUEUED)
        engine.may_go.set()
        for job in wants:
            assert (await home.told(job)).state is State.DONE
        assert [charge.place.person for charge in home.store.charges(0)] == ["ann", "bob"]


async def test_minutes_are_free_again_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path, limits=LimitSettings(minutes_a_day_per_person=5)) as home:
        await home.told(await home.service.accept(order("a", seconds=200)))
        later = time.time() + 10 * 3600
        monkeypatch.setattr(time, "time", lambda: later)
        assert (await home.told(await home.service.accept(order("b", seconds=100)))).state is State.DONE
    async with house(tmp_path, limits=LimitSettings(minutes_a_day_per_person=5)) as home:
        sentence = await _refused(home, replace(order("c"), seconds=200.0))
        assert sentence.endswith("The first of them are free again in 14 hours.")
        tomorrow = later + 15 * 3600
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        assert (await home.told(await home.service.accept(order("c", seconds=200)))).state is State.DONE


async def test_minutes_that_wait_count_as_well(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine(), limits=LimitSettings(minutes_a_day_per_person=5)) as home:
        first = await home.service.accept(order("a", seconds=200))
        await home.until(first, State.RUNNING)
        same = await home.service.accept(order("a", seconds=200, chat="2"))
        await home.until(same, State.RUNNING)
        other = await home.told(await home.service.accept(order("b", seconds=200)))
        assert (other.error or "").startswith("That would be more than your 5 minutes")
        # of those who wait for the same song, they count for who came first
        await home.until(await home.service.accept(order("a", seconds=200, person="bob")), State.RUNNING)
        await home.until(await home.service.accept(order("c", seconds=200, person="bob")), State.QUEUED)


async def test_large_files_and_long_songs_are_refused_before_they_are_fetched(tmp_path: Path) -> None:
    async with house(tmp_path, limits=LimitSettings(largest_file_mb=1, longest_song_minutes=2)) as home:
        with pytest.raises(TooLarge, match="I take files up to 1 MB"):
            await home.service.accept(replace(order("a"), size_bytes=1_000_001))
        with pytest.raises(TooLarge, match="I take up to 2 minutes"):
            await home.service.accept(replace(order("a"), seconds=121.0))
        assert home.courier.fetched == []
        await home.service.accept(replace(order("a"), size_bytes=1_000_000, seconds=120.0))


async def test_a_file_that_turns_out_too_large_is_a_sentence(tmp_path: Path) -> None:
    async with house(tmp_path, limits=LimitSettings(largest_file_mb=0.000003)) as home:
        job = await home.told(await home.service.accept(order("a")))
        assert (job.error or "").startswith("That file is too large")
        assert home.files() == []


async def test_only_chats_on_the_list_are_served(tmp_path: Path) -> None:
    async with house(tmp_path, telegram=TelegramSettings(allowed_chats=(-5, 7))) as home:
        sentence = await _refused(home, order("a", platform="telegram", chat="5"))
        assert sentence == "This chat is not on the list of chats that I work for."
        for platform, chat in (("telegram", "-5"), ("telegram", "7"), ("fake", "1")):
            await home.service.accept(order("a", platform=platform, chat=chat))


async def test_nothing_is_accepted_once_the_bot_ends(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        pass
    with pytest.raises(Unavailable, match="being shut down"):
        await home.service.accept(order("a"))


# The disk.


async def test_a_full_disk_is_a_sentence_after_old_results_have_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        for name in "ab":
            await home.told(await home.service.accept(order(name)))
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if _stored(tmp_path) > 1 else 10**9))
        assert (await home.told(await home.service.accept(order("c")))).state is State.DONE
        # the one that nobody asked for the longest time
        assert not (tmp_path / "results" / audio_of("a")).exists()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10))
        assert (await _refused(home, order("d", source_key=None, size_bytes=11))).startswith("There is no room left")
        monkeypatch.undo()
        assert (await home.told(await home.service.accept(order("e")))).state is State.DONE


async def test_room_is_not_made_at_the_cost_of_stems_that_are_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        home.courier.may_deliver.clear()
        job = await home.service.accept(order("a"))
        await home.until(job, State.DELIVERING)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 0 if _stored(tmp_path) else 10**9))
        assert (await _refused(home, order("b", size_bytes=1))).startswith("There is no room left")
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
        assert (await home.told(jobs[1])).error == replies.disk_full()
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
        await home.told(await home.service.accept(order("c")))
        await eventually(lambda: _stored(tmp_path) == 2)
        assert not (tmp_path / "results" / audio_of("b")).exists()
        assert home.store.result(audio_of("b")) is None


async def test_stems_of_a_time_that_is_yet_to_come_are_kept_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        now = time.time()
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda: now + 1000 * DAY_S)
            await home.told(await home.service.accept(order("a")))
        await eventually(lambda: all(kept.result.made_at < now + DAY_S for kept in home.store.results()))
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


async def test_what_a_job_still_needs_is_kept_beyond_time_and_budget(tmp_path: Path) -> None:
    courier = FakeCourier()
    courier.may_deliver.clear()
    storage = StorageSettings(keep_hours=1e-9, disk_budget_gb=1e-9, keep_free_mb=0)
    async with house(tmp_path, courier=courier, storage=storage) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.DELIVERING)
        home.service._shelf.tidy(home.service._spared())
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
        job = await home.told(await home.service.accept(order("a")))
        assert job.state is State.DONE
        assert not any((tmp_path / "work").iterdir())


async def test_a_disk_that_fills_up_while_stems_are_taken_over_keeps_no_half_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        if Path(target).parent.name == "results":
            Path(target).mkdir()
            (Path(target) / "vocals.flac").touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        os.rename(source, target)

    async with house(tmp_path) as home:
        monkeypatch.setattr(shutil, "move", full)
        job = await home.told(await home.service.accept(order("a")))
        assert (job.error or "").startswith("There is no room left")
        await eventually(lambda: home.files() == [])


async def test_results_are_kept_for_their_time(tmp_path: Path) -> None:
    async with house(tmp_path, storage=StorageSettings(keep_hours=1, keep_free_mb=0)) as home:
        job = await home.told(await home.service.accept(order("a")))
        shelf = home.service._shelf
        shelf.tidy(())
        assert home.service.result(job) is not None
        now = time.time()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: now + 3700)
            shelf.tidy(())
        assert home.service.result(job) is None
        assert home.files() == []


# Forgetting.


async def test_a_person_is_forgotten_on_all_chats_and_others_keep_theirs(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        # whoever asks twice for one song has one song
        orders = [order("a"), order("a", wish=Wish(("bass",))), order("b", chat="2")]
        orders += [order("b", chat="3", person="bob"), order("c", person="bob")]
        jobs = [await home.told(await home.service.accept(wanted)) for wanted in orders]
        home.engine.may_go.clear()
        running = await home.service.accept(order("d"))
        await home.until(running, State.RUNNING)
        gone = await home.service.forget(Place("fake", "1", "ann"))
        assert (gone.songs, gone.results) == (3, 1)
        assert gone.megabytes == pytest.approx(4e-6)
        assert [home.service.job(job.id) is None for job in jobs] == [True, True, True, False, False]
        assert home.service.standing(running.id) is None
        await eventually(lambda: {path.name for path in (tmp_path / "results").iterdir()} == set(map(audio_of, "bc")))
        # the running one was cancelled, told, and leaves nothing
        await eventually(lambda: "d" in home.courier.ends())
        assert home.courier.ends()["d"].state is State.CANCELLED
        await eventually(lambda: not list((tmp_path / "songs").iterdir()))
        home.engine.may_go.set()
        assert (await home.told(await home.service.accept(order("e")))).state is State.DONE
        assert home.engine.done == ["a", "b", "c", "e"]
        assert await home.service.forget(Place("fake", "9", "nobody")) == replace(gone, songs=0, results=0, megabytes=0)


async def test_a_whole_chat_is_forgotten(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        orders = [order("a"), order("b", person="bob"), order("c", chat="2")]
        jobs = [await home.told(await home.service.accept(wanted)) for wanted in orders]
        gone = await home.service.forget(Place("fake", "1", "ann"), whole_chat=True)
        assert (gone.songs, gone.results) == (2, 2)
        assert [home.service.job(job.id) is None for job in jobs] == [True, True, False]


async def test_what_is_forgotten_while_somebody_writes_beside_it_is_gone_all_the_same(tmp_path: Path) -> None:
    """As the child does that makes the waveforms of a page."""
    async with house(tmp_path) as home:
        for _ in range(10):
            job = await home.told(await home.service.accept(order("a")))
            result = home.service.result(job)
            assert result is not None
            script = "import itertools, sys\nfor n in itertools.count(): open(f'{sys.argv[1]}/{n}', 'x').close()"
            with subprocess.Popen([sys.executable, "-c", script, result.folder], stderr=subprocess.DEVNULL) as writing:
                try:
                    await eventually((result.folder / "9").exists)
                    await home.service.forget_job(job.id, job.place)
                    assert not result.folder.exists()
                    assert writing.wait(20) == 1
                finally:
                    writing.kill()
            assert list((tmp_path / "results").iterdir()) == []


async def test_nobody_waits_while_files_of_forgotten_songs_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_delete, rmtree = threading.Event(), shutil.rmtree

    def slowly(folder: Path, ignore_errors: bool) -> None:
        if folder.parent.name == "results" and folder.exists():
            assert may_delete.wait(PATIENCE_S)
        rmtree(folder, ignore_errors)

    async with house(tmp_path) as home:
        jobs = [await home.told(await home.service.accept(order(name))) for name in "ab"]
        monkeypatch.setattr(shutil, "rmtree", slowly)
        forgetting = asyncio.create_task(home.service.forget(jobs[0].place))
        await asyncio.sleep(0)
        # nobody finds them any more; should the bot be killed now, the next one deletes what no row knows
        assert home.store.results() == []
        assert not any((tmp_path / "results" / audio_of(name)).exists() for name in "ab")
        assert (await home.told(await home.service.accept(order("a", chat="2", person="bob")))).state is State.DONE
        may_delete.set()
        assert (await forgetting).results == 2
        assert [path.name for path in (tmp_path / "results").iterdir()] == [audio_of("a")]


async def test_what_cannot_be_moved_away_is_forgotten_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(folder: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    async with house(tmp_path) as home:
        job = await home.told(await home.service.accept(order("a")))
        monkeypatch.setattr(Path, "rename", rename)
        await home.service.forget_job(job.id, job.place)
        assert list((tmp_path / "results").iterdir()) == []


async def test_one_job_is_forgotten(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        jobs = [await home.told(await home.service.accept(order(name))) for name in "ab"]
        assert (await home.service.forget_job(jobs[0].id, Place("fake", "1", "bob"))).songs == 0
        assert (await home.service.forget_job(jobs[0].id, jobs[0].place)).results == 1
        assert [home.service.job(job.id) is None for job in jobs] == [True, False]


@pytest.mark.parametrize("state", [State.PREPARING, State.RUNNING, State.DELIVERING])
async def test_what_is_forgotten_in_the_midst_of_it_leaves_nothing_and_sends_nothing(
    tmp_path: Path, state: State
) -> None:
    engine, courier = held_engine(), FakeCourier()
    courier.may_deliver.clear()
    if state is State.PREPARING:
        courier.may_fetch.clear()
    if state is State.DELIVERING:
        engine.may_go.set()
    async with house(tmp_path, engine=engine, courier=courier) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, state)
        courier.on_told = lambda standing: home.service.note_status(standing.job.id, {"message": 1})
        await home.service.forget(job.place)
        for event in (engine.may_go, courier.may_fetch, courier.may_deliver):
            event.set()
        await eventually(lambda: "a" in courier.ends())
        assert courier.ends()["a"].state is State.CANCELLED
        await eventually(lambda: home.files() == [])
        assert courier.answers() == []
        assert home.store.of_chat("fake", "1") == []
        # a word that was under way comes back too late, and brings no row back
        home.service.note_status(job.id, {"message": 1})
        assert home.store.of_chat("fake", "1") == []


async def test_what_is_forgotten_while_its_last_chunk_runs_is_not_kept(tmp_path: Path) -> None:
    class Deaf(FakeEngine):
        def cancel(self, job_id: str) -> None:
            """Hears it too late."""

    engine = Deaf()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        await home.service.forget(job.place)
        engine.may_go.set()
        await eventually(lambda: engine.done == ["a"] and not home.service._separating.runs)
        await eventually(lambda: home.files() == [])
        assert home.store.results() == []

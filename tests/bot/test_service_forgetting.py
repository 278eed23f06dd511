"""What is deleted, by whom, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import errno
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bot.config import StorageSettings
from bot.jobs import Place, State, Wish
from tests.service_fakes import (
    PATIENCE_S,
    QUICK,
    FakeCourier,
    FakeEngine,
    audio_of,
    eventually,
    held_engine,
    house,
    order,
)


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


async def test_what_was_forgotten_long_ago_and_cannot_be_told_is_given_up(tmp_path: Path) -> None:
    courier = FakeCourier(trouble={("tell", "a"): RuntimeError("no such token")})
    storage = StorageSettings(keep_hours=0.2 / 3600, keep_free_mb=0)
    async with house(tmp_path, courier=courier, engine=held_engine(), storage=storage) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        await home.service.forget(job.place)
        assert home.service._ledger.latest(job.id)
        await eventually(lambda: not home.service._ledger.latest(job.id))


async def test_what_is_forgotten_while_its_last_chunk_runs_is_not_kept(tmp_path: Path) -> None:
    class Deaf(FakeEngine):
        def cancel(self, job_id: str) -> None:
            """Hears it too late."""

    engine = Deaf()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine, patience=replace(QUICK, tidy_s=3600)) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        await home.service.forget(job.place)
        engine.may_go.set()
        await eventually(lambda: engine.done == ["a"] and not home.service._separating.runs)
        await eventually(lambda: home.files() == [])
        assert home.store.results() == []

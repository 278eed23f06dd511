"""A store in trouble: a full disk, a locked database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bot.config import StorageSettings
from bot.jobs import Job, Refused, Standing, StartError, State, StoredResult
from bot.store import JobStore, StoreError
from tests.service_fakes import QUICK, FakeCourier, eventually, held_engine, house, order


@contextmanager
def _locked(store: JobStore) -> Iterator[None]:
    """Somebody else writes, and nobody else can."""
    store._database.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(store.folder / "jobs.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


async def test_a_locked_store_refuses_and_goes_on_when_it_can(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        with _locked(home.store):
            with pytest.raises(Refused, match="I cannot reach my list of songs just now"):
                await home.service.accept(order("b"))
            assert [standing.job for standing in home.service.jobs(job.place)] == [home.service.job(job.id)]
            # a job that is cancelled meanwhile is cancelled, and that is written as soon as it can be
            await home.service.cancel(job.id, job.place)
            await eventually(lambda: "a" in home.courier.ends())
            await eventually(lambda: not home.service._announcer._tasks)
            known, stored = home.service.job(job.id), home.store.job(job.id)
            assert known is not None
            assert stored is not None
            assert (known.state, stored.state) == (State.CANCELLED, State.RUNNING)
        await eventually(lambda: (found := home.store.job(job.id)) is not None and found.state is State.CANCELLED)
        await eventually(lambda: home.store.untold() == [])
        home.engine.may_go.set()
        assert (await home.told(await home.service.accept(order("b")))).state is State.DONE


async def test_an_end_that_was_told_is_not_noted_before_the_end_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = JobStore.save

    def full(store: JobStore, jobs: Iterable[Job]) -> None:
        jobs = list(jobs)
        if any(job.state.is_final for job in jobs):
            raise StoreError("full")
        save(store, jobs)

    async with house(tmp_path) as home:
        monkeypatch.setattr(JobStore, "save", full)
        job = await home.service.accept(order("a"))
        await eventually(lambda: "a" in home.courier.ends())
        await eventually(lambda: not home.service._announcer._tasks)
        assert home.service._ledger.latest(job.id)
        monkeypatch.undo()
        await eventually(lambda: not home.service._ledger.latest(job.id))
        stored = home.store.job(job.id)
        assert stored is not None
        assert stored.state is State.DONE
        assert home.store.untold() == []


async def test_where_a_job_stands_is_written_as_soon_as_it_can_be(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine(), engines=0) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.QUEUED)
        with _locked(home.store):
            home.service.add_engine(home.engine)
            await home.until(job, State.RUNNING)
            assert [found.state for found in home.store.unfinished()] == [State.QUEUED]
        await eventually(lambda: [found.state for found in home.store.unfinished()] == [State.RUNNING])


async def test_what_is_forgotten_is_not_written_late(tmp_path: Path) -> None:
    async with house(tmp_path, patience=replace(QUICK, tidy_s=3600)) as home:
        job = await home.told(await home.service.accept(order("a")))
        with _locked(home.store):
            home.service.note_status(job.id, {"message": 1})
        await home.service.forget(job.place)
        await home.told(await home.service.accept(order("b", chat="2")))
        assert home.store.of_chat("fake", "1") == []


async def test_a_result_that_cannot_be_stored_is_a_sentence(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        with _locked(home.store):
            home.engine.may_go.set()
            await eventually(lambda: "a" in home.courier.ends())
            assert (home.courier.ends()["a"].error or "").startswith("I cannot reach my list of songs")
            await eventually(lambda: home.files() == [])
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE


async def test_a_song_that_cannot_be_stored_is_a_sentence(tmp_path: Path) -> None:
    courier = FakeCourier()
    courier.may_fetch.clear()
    async with house(tmp_path, courier=courier) as home:
        await home.service.accept(order("a"))
        await eventually(lambda: courier.fetched == ["a"])
        with _locked(home.store):
            courier.may_fetch.set()
            await eventually(lambda: "a" in courier.ends())
            assert (courier.ends()["a"].error or "").startswith("I cannot reach my list of songs")
            await eventually(lambda: home.files() == [])
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE


async def test_stems_are_sent_though_what_goes_with_them_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise StoreError("locked")

    class Uploading(FakeCourier):
        async def deliver(self, job: Job, result: StoredResult) -> None:
            await super().deliver(job, result)
            home.service.note_upload(result.audio, "vocals", "mp3", "fake", "f1")

    async with house(tmp_path, courier=Uploading()) as home:
        for note in ("charge", "note_use", "save_upload", "delete_song"):
            monkeypatch.setattr(home.store, note, locked)
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
        assert home.courier.answers() == [("1", "a")]


async def test_what_could_not_be_stored_is_when_the_bot_ends(tmp_path: Path) -> None:
    courier = FakeCourier(trouble={("tell", "a"): ConnectionError("away")})
    async with house(tmp_path, engine=held_engine(), courier=courier) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        with _locked(home.store):
            await home.service.cancel(job.id, job.place)
    async with house(tmp_path) as home:
        assert (await home.told(job)).state is State.CANCELLED


async def test_a_mistake_in_a_courier_does_not_stop_the_service(tmp_path: Path) -> None:
    class Broken(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            raise ZeroDivisionError

    storage = StorageSettings(keep_hours=1 / 3600, keep_free_mb=0)
    async with house(tmp_path, courier=Broken(), storage=storage) as home:
        for name in "ab":
            assert (await home.until(await home.service.accept(order(name)))).job.state is State.DONE
        assert home.courier.answers() == [("1", "a"), ("1", "b")]
        # nobody can be told, and that is not tried for ever
        await eventually(lambda: home.store.of_chat("fake", "1") == [])


async def test_a_store_that_cannot_be_read_at_the_start_is_a_sentence(tmp_path: Path) -> None:
    async with house(tmp_path, starts=False, engines=0) as home:
        home.store._database.execute("ALTER TABLE speeds RENAME TO gone")
        with pytest.raises(StartError, match=r"^the list of songs in .* cannot be used \(no such table: speeds\)$"):
            await home.service.start()

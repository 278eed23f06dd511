"""The service with an engine in this process and a chat that records: what becomes of jobs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot import separating
from bot.config import EngineSettings
from bot.jobs import Place, Standing, State, Wish
from bot.queue import LEAST_S
from spectacles_engine.audio_files import Inspected
from spectacles_engine.messages import SeparationRequest, SeparationResult
from tests.service_fakes import FakeCourier, FakeEngine, audio_of, eventually, held_engine, house, inspect, order


async def test_a_song_becomes_stems(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.service.accept(order("a"))
        assert job.state is State.PREPARING
        standing = home.service.standing(job.id)
        assert standing is not None
        assert standing.position == 1
        job = await home.told(job)
        assert (job.state, job.audio, job.seconds, job.error) == (State.DONE, audio_of("a"), 100.0, None)
        assert home.courier.answers() == [("1", "a")]
        result = home.service.result(job)
        assert result is not None
        assert (result.seconds, result.sample_rate, result.channels) == (100.0, 44_100, 2)
        # the song itself is not kept, and nothing else either
        kept = [f"results/{audio_of('a')}", *(f"results/{audio_of('a')}/{s}.flac" for s in ("bass", "drums", "other"))]
        assert home.files() == [*kept, f"results/{audio_of('a')}/vocals.flac"]
        states = [told.job.state for told in home.courier.told]
        assert states[0] is State.PREPARING
        assert states[-1] is State.DONE
        assert states == sorted(states, key=list(State).index)


async def test_the_same_song_is_separated_once(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        jobs = [await home.service.accept(order("a", chat=chat)) for chat in "123"]
        for job in jobs:
            await home.until(job, State.RUNNING)
        late = await home.service.accept(order("a", chat="4"))
        await home.until(late, State.RUNNING)
        engine.may_go.set()
        for job in (*jobs, late):
            assert (await home.told(job)).state is State.DONE
        again = await home.service.accept(order("a", chat="5", wish=Wish((), "karaoke", "mp3")))
        assert (await home.told(again)).state is State.DONE
        assert engine.begun == ["a"]
        assert sorted(home.courier.answers()) == [(chat, "a") for chat in "12345"]
        assert home.courier.delivered[-1][0].order.wish == Wish((), "karaoke", "mp3")


async def test_a_song_known_by_its_key_is_not_even_fetched(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        first = await home.service.accept(order("a", source_key="k"))
        await home.until(first, State.RUNNING)
        while_it_runs = await home.service.accept(order("a", chat="2", source_key="k"))
        assert while_it_runs.state is State.QUEUED
        await home.until(while_it_runs, State.RUNNING)
        engine.may_go.set()
        await home.told(first)
        afterwards = await home.service.accept(order("a", chat="3", source_key="k"))
        assert afterwards.state is State.DELIVERING
        for job in (while_it_runs, afterwards):
            assert (await home.told(job)).state is State.DONE
        assert home.courier.fetched == ["a"]
        assert sorted(home.courier.answers()) == [("1", "a"), ("2", "a"), ("3", "a")]


async def test_what_is_read_and_heard_in_a_song_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Warning(FakeEngine):
        async def separate(self, *call: Any) -> SeparationResult:
            made = await super().separate(*call)
            return replace(made, warnings=("it is mono", "it is short"), shortages=("the GPU is full",))

    async def listen(path: Path, **limits: float) -> Inspected:
        found = await inspect(path, **limits)
        performer = "\n" if found.audio == audio_of("c") else "\u200bAnn"
        title = "" if found.audio == audio_of("d") else "Two\nlines\u202e and  tabs\t"
        warnings = ("it is clipped", "it is mono")
        return replace(found, title=title, performer=performer, channels=1, warnings=warnings)

    monkeypatch.setattr("tests.service_fakes.inspect", listen)
    async with house(tmp_path, engine=Warning()) as home:
        named = [order("a"), order("b", performer="Bob"), order("c"), order("d")]
        jobs = [await home.told(await home.service.accept(wanted)) for wanted in named]
        # tags have a say only where the platform has none, and tell the whole name
        called = [(job.order.title, job.order.performer) for job in jobs]
        assert called == [("Two lines and tabs", "Ann"), ("b", "Bob"), ("c", None), ("d", None)]
        result = home.service.result(jobs[0])
        assert result is not None
        assert (result.channels, result.warnings) == (1, ("it is clipped", "it is mono", "it is short"))
        assert "the GPU is full" in caplog.text  # for who runs the bot, not for who sent the song


async def test_songs_are_separated_as_it_is_set(tmp_path: Path) -> None:
    asked: list[SeparationRequest] = []

    class Noting(FakeEngine):
        async def separate(self, *call: Any) -> SeparationResult:
            asked.append(call[3])
            return await super().separate(*call)

    settings = EngineSettings(preset="studio", blend="average")
    async with house(tmp_path, engine=Noting(), engine_settings=settings) as home:
        await home.told(await home.service.accept(order("a")))
    assert asked == [SeparationRequest(format="flac", preset="studio", blend="average")]


async def test_turns_are_fair_among_chats(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        many = [await home.service.accept(order(f"a{number}", chat="a")) for number in range(5)]
        await home.until(many[0], State.RUNNING)
        few = [await home.service.accept(order(f"{chat}0", chat=chat)) for chat in "bc"]
        for job in (*many[1:], *few):
            await home.until(job, State.QUEUED)
        await eventually(lambda: [s.position for s in home.service.jobs(Place("fake", "a", "ann"))[1:]] == [3, 4, 5, 6])
        assert [standing.position for job in few if (standing := home.service.standing(job.id))] == [1, 2]
        engine.may_go.set()
        for job in (*many, *few):
            await home.told(job)
        assert engine.begun == ["a0", "b0", "c0", "a1", "a2", "a3", "a4"]


async def test_chats_without_a_job_are_not_remembered(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        for number in range(3):
            await home.told(await home.service.accept(order(f"s{number}", chat=str(number))))
        await eventually(lambda: not home.service._preparing._served_at and not home.service._separating.served_at)


async def test_songs_are_fetched_in_fair_turns(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.courier.may_fetch.clear()
        for name in ("a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2", "e1"):
            await home.service.accept(order(name, chat=name[0]))
        await eventually(lambda: len(home.courier.fetched) == 4)
        home.courier.may_fetch.set()
        await eventually(lambda: len(home.courier.fetched) == 9)
        assert home.courier.fetched[:5] == ["a1", "b1", "c1", "d1", "e1"]


async def test_slow_downloads_of_one_chat_leave_room_for_another(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.courier.may_fetch.clear()
        for number in range(6):
            await home.service.accept(order(f"a{number}", chat="a"))
        await eventually(lambda: len(home.courier.fetched) == 3)
        await home.service.accept(order("b", chat="b"))
        await eventually(lambda: home.courier.fetched[3:] == ["b"])
        # and there are never many at once
        await home.service.accept(order("c", chat="c"))
        await asyncio.sleep(0.1)
        assert len(home.courier.fetched) == 4
        home.courier.may_fetch.set()
        await eventually(lambda: len(home.courier.answers()) == 8)


async def test_places_are_told_when_the_queue_moves(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        running = await home.service.accept(order("a", chat="a"))
        await home.until(running, State.RUNNING)
        jobs = [await home.service.accept(order(name, chat=name)) for name in "bcd"]
        for job in jobs:
            await home.until(job, State.QUEUED)

        def places() -> list[int | None]:
            told = {standing.job.id: standing for standing in home.courier.told}
            return [told[job.id].position for job in jobs]

        await eventually(lambda: places() == [1, 2, 3])
        assert await home.service.cancel(jobs[1].id, jobs[1].place)
        await eventually(lambda: places() == [1, None, 2])


async def test_the_time_left_is_told_once_it_was_measured(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        first = await home.service.accept(order("a", chat="a", seconds=100))
        second = await home.service.accept(order("b", chat="b", seconds=60))
        await home.until(first, State.RUNNING)
        await home.until(second, State.QUEUED)
        assert home.standing(first).eta_s is None
        assert home.standing(second).eta_s is None
        engine.may_go.set()
        await home.told(second)
        engine.may_go.clear()
        # the fake engine takes half of a song's time, and stops at the half of it
        third = await home.service.accept(order("c", chat="c", seconds=80))
        await eventually(lambda: home.standing(third).share == 0.5)
        fourth = await home.service.accept(order("d", chat="d", seconds=10))
        await home.until(fourth, State.QUEUED)
        assert home.standing(third).eta_s == pytest.approx(20)
        assert home.standing(fourth).eta_s == pytest.approx(25)
    async with house(tmp_path) as home:
        # the speed is known after a restart, and the two that were not done are ahead
        fifth = await home.service.accept(replace(order("e", chat="e"), seconds=8))
        assert home.standing(fifth).eta_s == pytest.approx((80 + 10 + LEAST_S) / 2)


async def test_an_engine_that_reports_often_is_not_told_of_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=1000.0, time=time.time)
    clock.monotonic = lambda: clock.now_s
    monkeypatch.setattr(separating, "time", clock)
    shares: set[float] = set()

    class Talkative(FakeEngine):
        async def separate(self, job_id: str, *call: Any) -> SeparationResult:
            *_, on_progress = call
            on_progress(0.1)
            await eventually(lambda: 0.1 in shares)
            clock.now_s += 0.2
            on_progress(0.2)
            for _ in range(20):  # whoever watches would see it by then
                await asyncio.sleep(0)
            clock.now_s += 0.1
            on_progress(0.3)
            await eventually(lambda: 0.3 in shares)
            return await super().separate(job_id, *call)

    async with house(tmp_path, engine=Talkative()) as home:
        job = await home.service.accept(order("a"))
        async for standing in home.service.watch(job.id):
            shares.add(standing.share)
        assert shares & {0.1, 0.2, 0.3} == {0.1, 0.3}


async def test_what_a_voice_note_took_says_little_of_a_song(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        engine.may_go.set()
        await home.told(await home.service.accept(order("a", seconds=1)))
        engine.may_go.clear()
        song = await home.service.accept(order("b", seconds=200))
        await eventually(lambda: home.standing(song).share == 0.5)
        assert home.standing(song).eta_s == pytest.approx(0.5 * 200 * 0.5 / LEAST_S)


async def test_the_same_order_again_is_the_same_job(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        first = await home.service.accept(order("a"))
        assert (await home.service.accept(order("a"))).id == first.id
        others = [order("a", person="bob"), order("a", wish=Wish(("bass",))), order("a", answers={"message": 8})]
        ids = {(await home.service.accept(other)).id for other in others}
        assert len(ids | {first.id}) == 4
        home.engine.may_go.set()
        await home.told(first)
        assert (await home.service.accept(order("a"))).id != first.id


async def test_jobs_and_history_are_of_one_person_in_one_chat(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        ann, bob = Place("fake", "1", "ann"), Place("fake", "1", "bob")
        for name, chat, person in (("a", "1", "ann"), ("b", "1", "bob"), ("c", "2", "ann"), ("d", "1", "ann")):
            await home.service.accept(order(name, chat=chat, person=person))

        def titles(standings: list[Standing]) -> list[str]:
            return [standing.job.order.title for standing in standings]

        assert titles(home.service.jobs(ann)) == ["a", "d"]
        assert titles(home.service.history(bob)) == ["b"]
        home.engine.may_go.set()
        await eventually(lambda: not home.service.jobs(ann))
        assert titles(home.service.history(ann)) == ["d", "a"]


async def test_a_job_is_found_by_its_messages(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.service.accept(order("a"))
        home.service.note_status(job.id, {"message": 7})
        assert home.service.find("fake", "1", "message", 7) == home.service.job(job.id)
        assert home.service.find("fake", "2", "message", 7) is None
        assert home.service.find("fake", "1", "message", 8) is None
        assert home.service.find("fake", "1", "answers", 7) is None
        await home.told(job)
        home.service.note_status(job.id, {"message": [7, 8, 9], "more": 1})
        found = home.service.find("fake", "1", "message", 8)
        assert found is not None
        assert (found.id, found.state) == (job.id, State.DONE)
        # of several, the newest
        newer = await home.service.accept(order("a", wish=Wish(("bass",))))
        home.service.note_status(newer.id, {"message": 10, "more": 1})
        found = home.service.find("fake", "1", "more", 1)
        assert found is not None
        assert found.id == newer.id


async def test_the_status_message_is_known_to_every_later_call(tmp_path: Path) -> None:
    seen: list[object] = []

    class Noting(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            seen.append(standing.job.status)
            if standing.job.status is None:
                await asyncio.sleep(0.01)
                home.service.note_status(standing.job.id, {"message": 1})

        async def deliver(self, job: object, result: object) -> None:
            seen.append(job.status)  # type: ignore[attr-defined]

    async with house(tmp_path, courier=Noting()) as home:
        job = await home.service.accept(order("a"))
        await eventually(lambda: bool(home.store.finished_before(2e10)))
        assert seen[0] is None
        assert len(seen) >= 3
        assert all(status == {"message": 1} for status in seen[1:])
        stored = home.service.job(job.id)
        assert stored is not None
        assert stored.status == {"message": 1}


async def test_uploads_are_remembered(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.told(await home.service.accept(order("a")))
        assert job.audio is not None
        home.service.note_upload(job.audio, "vocals", "mp3", "fake", "file-1")
        assert home.service.upload(job.audio, "vocals", "mp3", "fake") == "file-1"
        assert home.service.upload(job.audio, "drums", "mp3", "fake") is None


async def test_a_job_is_watched_to_its_end_by_many(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.service.accept(order("a"))

        async def watch() -> list[State]:
            return [standing.job.state async for standing in home.service.watch(job.id)]

        for states in await asyncio.gather(*(watch() for _ in range(3))):
            assert states[0] is State.PREPARING
            assert states[-1] is State.DONE
        assert await watch() == [State.DONE]
        assert [s async for s in home.service.watch("nothing")] == []


async def test_who_watches_is_let_go_when_the_bot_ends(tmp_path: Path) -> None:
    async with house(tmp_path, engine=held_engine()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        watching = asyncio.create_task(home.until(job))
        await asyncio.sleep(0)
    with pytest.raises(AssertionError, match="is gone"):
        await watching

"""What goes wrong with a song, a chat or an engine: a sentence, or once more, and never a lost job."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.jobs import DeliveryError, Refused, Standing, State
from spectacles_engine.audio_files import Inspected
from spectacles_engine.errors import MISTAKE_OF_OURS, EngineError, OutputError, PoisonousError, SpecTaclesError
from spectacles_engine.messages import SeparationResult
from spectacles_engine.process import EngineProcess
from tests import fake_engine
from tests.fake_engine import FakeOptions
from tests.service_fakes import (
    QUICK,
    FakeCourier,
    FakeEngine,
    audio_of,
    eventually,
    held_engine,
    house,
    inspect,
    order,
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PoisonousError("this song brought the separation down twice"), "This song brought the separation down twice."),
        (SpecTaclesError(MISTAKE_OF_OURS), "Something went wrong in SpecTacles itself."),
        (ZeroDivisionError("secret"), "Something went wrong in SpecTacles itself. Please send the song again."),
        (OSError(28, "No space left"), "There is no room left on my disk."),
        (EngineError("the engine could not be started"), "The engine could not be started."),
    ],
)
async def test_a_failed_separation_is_a_sentence_for_all_who_wait(
    tmp_path: Path, error: Exception, sentence: str
) -> None:
    engine = held_engine()
    engine.troubles["b"] = error
    async with house(tmp_path, engine=engine) as home:
        first = await home.service.accept(order("a"))
        await home.until(first, State.RUNNING)
        bad = [await home.service.accept(order("b", chat=chat)) for chat in "23"]
        good = await home.service.accept(order("c"))
        for job in (*bad, good):
            await home.until(job, State.QUEUED)
        engine.may_go.set()
        for job in bad:
            ended = await home.told(job)
            assert ended.state is State.FAILED
            assert ended.error is not None
            assert ended.error.startswith(sentence)
        assert (await home.told(good)).state is State.DONE
        assert not any("b" in title for _, title in home.courier.answers())
        # only what cost the engine is tried once more
        tries = 2 if type(error) is EngineError else 1
        assert engine.begun.count("b") == tries
        # and a failed song is not kept; sent again, it is tried as often again
        assert not list((tmp_path / "songs").iterdir())
        await home.told(await home.service.accept(order("b")))
        assert engine.begun.count("b") == 2 * tries


@pytest.mark.parametrize(
    ("song", "sentence"),
    [
        ("noise", "Not an audio file."),
        ("long", "Longer than 60 minutes."),
        ("empty", "I could not download that song."),
    ],
)
async def test_a_song_that_is_none_is_a_sentence(tmp_path: Path, song: str, sentence: str) -> None:
    async with house(tmp_path) as home:
        if song == "empty":

            async def fetch(job: object, to: Path) -> None:
                """Forgets to write the file."""

            home.courier.fetch = fetch  # type: ignore[method-assign]
        job = await home.told(await home.service.accept(order(song, seconds=4000 if song == "long" else 100)))
        assert (job.state, (job.error or "")[: len(sentence)]) == (State.FAILED, sentence)
        assert home.files() == []


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        ("fetch", Refused("The song is gone."), "The song is gone."),
        ("fetch", ConnectionError("https://secret"), "I could not download that song. Please send it again."),
        ("fetch", TimeoutError(), "I could not download that song. Please send it again."),
        ("fetch", OSError(28, "No space left"), "There is no room left on my disk."),
        ("fetch", PermissionError(13, "Permission denied"), "I cannot write to my disk."),
        ("deliver", DeliveryError("I was thrown out of this chat."), "I was thrown out of this chat."),
        ("deliver", ConnectionError("https://secret"), "The stems are ready, but I could not send them."),
    ],
)
async def test_trouble_of_a_courier_is_a_sentence_and_the_next_song_is_served(
    tmp_path: Path, call: str, error: Exception, sentence: str
) -> None:
    courier = FakeCourier(trouble={(call, "b"): error})
    async with house(tmp_path, courier=courier) as home:
        jobs = [await home.service.accept(order(name)) for name in "abc"]
        ended = [await home.told(job) for job in jobs]
        assert [job.state for job in ended] == [State.DONE, State.FAILED, State.DONE]
        assert (ended[1].error or "").startswith(sentence)
        assert courier.answers() == [("1", "a"), ("1", "c")]
        # only what may be over soon is tried again
        tries = courier.fetched if call == "fetch" else courier.sending
        assert tries.count("b") == (3 if isinstance(error, ConnectionError) else 1)


@pytest.mark.parametrize("cause", [None, OSError(28, "No space left on device", "/x/Secret – bass.mp3")])
async def test_the_title_of_what_cannot_be_written_is_not_in_the_log(
    tmp_path: Path, cause: OSError | None, caplog: pytest.LogCaptureFixture
) -> None:
    error = OutputError("Secret – bass.mp3 could not be written")
    error.__cause__ = cause
    caplog.set_level(logging.INFO)
    async with house(tmp_path, courier=FakeCourier(trouble={("deliver", "a"): error})) as home:
        await home.told(await home.service.accept(order("a")))
    assert "its chat takes no stems" in caplog.text
    assert "Secret" not in caplog.text


async def test_a_courier_that_hangs_is_given_up(tmp_path: Path) -> None:
    courier = FakeCourier()
    courier.may_fetch.clear()
    async with house(tmp_path, courier=courier, patience=replace(QUICK, fetch_s=0.05, deliver_s=0.05)) as home:
        job = await home.told(await home.service.accept(order("a")))
        assert job.error == "I could not download that song. Please send it again."
        courier.may_fetch.set()
        courier.may_deliver.clear()
        job = await home.told(await home.service.accept(order("b")))
        assert (job.error or "").startswith("The stems are ready, but I could not send them.")


async def test_songs_that_cannot_be_reached_keep_no_place_from_others(tmp_path: Path) -> None:
    names = "abcdef"
    courier = FakeCourier(trouble={("fetch", name): ConnectionError("no network") for name in names})
    async with house(tmp_path, courier=courier, patience=replace(QUICK, outages_s=(0.05,) * 1000)) as home:
        away = [await home.service.accept(order(name, chat=name, person=name)) for name in names]
        await eventually(lambda: courier.fetched.count("f") > 2)
        await home.told(await home.service.accept(order("near", chat="near", person="near")))
        assert courier.answers() == [("near", "near")]
        await home.service.cancel(away[0].id, away[0].place)
        courier.trouble.clear()
        ended = [await home.told(job) for job in away]
        assert [job.state for job in ended] == [State.CANCELLED, *[State.DONE] * 5]


async def test_the_place_of_a_song_that_cannot_be_reached_is_taken_at_once(tmp_path: Path) -> None:
    names = "abcd"
    courier = FakeCourier(trouble={("fetch", name): ConnectionError("no network") for name in names})
    courier.may_fetch.clear()
    async with house(tmp_path, courier=courier, patience=replace(QUICK, outages_s=(3600.0,))) as home:
        for name in names:
            await home.service.accept(order(name, chat=name, person=name))
        near = await home.service.accept(order("near", chat="near", person="near"))
        await eventually(lambda: len(courier.fetched) == len(names))
        courier.may_fetch.set()
        assert (await home.told(near)).state is State.DONE


async def test_stems_come_when_the_chat_can_be_reached_again(tmp_path: Path) -> None:
    courier = FakeCourier(trouble={("deliver", "a"): ConnectionError("no network")})
    async with house(tmp_path, courier=courier, patience=replace(QUICK, outages_s=(0.01,) * 1000)) as home:
        job = await home.service.accept(order("a"))
        await eventually(lambda: courier.sending.count("a") > 2)
        # nobody else waits for that
        assert (await home.told(await home.service.accept(order("b")))).state is State.DONE
        courier.trouble.clear()
        assert (await home.told(job)).state is State.DONE
        assert courier.answers() == [("1", "b"), ("1", "a")]


async def test_a_chat_that_never_answers_is_told_again(tmp_path: Path) -> None:
    class Hanging(FakeCourier):
        calls = 0

        async def tell(self, standing: Standing) -> None:
            self.calls += 1
            if self.calls == 1:
                await asyncio.Event().wait()
            await super().tell(standing)

    courier = Hanging()
    async with house(tmp_path, courier=courier, patience=replace(QUICK, tell_s=0.01)) as home:
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
    assert courier.calls > len(courier.told)


async def test_a_chat_that_shows_nothing_is_told_the_end_alone(tmp_path: Path) -> None:
    asked: list[State] = []

    class Mute(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            asked.append(standing.job.state)
            raise DeliveryError("I may not write here.")

    async with house(tmp_path, engine=held_engine(), courier=Mute()) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.RUNNING)
        await eventually(lambda: not home.service._announcer._tasks)
        home.engine.may_go.set()
        await eventually(lambda: home.store.untold() == [] and State.DONE in asked)
    assert len(asked) == 2


async def test_a_chat_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    class Hanging(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            self.fetched.append("told")
            await asyncio.Event().wait()

    courier = Hanging()
    async with asyncio.timeout(30):
        async with house(tmp_path, courier=courier, patience=replace(QUICK, tell_s=3600, goodbye_s=0.05)) as home:
            await home.service.accept(order("a"))
            await eventually(lambda: "told" in courier.fetched)


async def test_what_is_being_told_when_the_bot_ends_is_told(tmp_path: Path) -> None:
    class Slow(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            await asyncio.sleep(0.1)
            await super().tell(standing)

    async with house(tmp_path, courier=Slow(), engine=held_engine()) as home:
        await home.service.accept(order("a"))
    assert home.courier.told


async def test_a_chat_that_is_slow_to_show_delays_nobody(tmp_path: Path) -> None:
    shown = asyncio.Event()

    class Slow(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            if standing.job.order.title == "a":
                await shown.wait()
            await super().tell(standing)

    async with house(tmp_path, courier=Slow(), patience=replace(QUICK, first_word_s=0.05, tell_s=30)) as home:
        slow, quick = [await home.service.accept(order(name, chat=name)) for name in "ab"]
        assert (await home.told(quick)).state is State.DONE
        assert (await home.until(slow)).job.state is State.DONE
        assert home.courier.told
        assert all(told.job.order.title == "b" for told in home.courier.told)
        shown.set()
        await home.told(slow)
        # what was overtaken meanwhile was not told
        assert [told.job.state for told in home.courier.told if told.job.id == slow.id] == [State.PREPARING, State.DONE]


async def test_stems_do_not_come_before_the_first_word(tmp_path: Path) -> None:
    shown = asyncio.Event()

    class Slow(FakeCourier):
        async def tell(self, standing: Standing) -> None:
            await shown.wait()
            home.service.note_status(standing.job.id, {"message": 1})
            await super().tell(standing)

    async with house(tmp_path, courier=Slow(), patience=replace(QUICK, first_word_s=3600)) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.DELIVERING)
        await asyncio.sleep(0.1)
        assert home.courier.sending == []
        shown.set()
        assert (await home.told(job)).state is State.DONE
        # and what is sent knows it
        assert [sent.status for sent, _ in home.courier.delivered] == [{"message": 1}]


async def test_stems_that_are_lost_before_they_are_sent_are_made_once_more(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.courier.may_deliver.clear()
        jobs = [await home.service.accept(order(name)) for name in "ab"]
        await home.until(jobs[1], State.DELIVERING)
        await eventually(lambda: home.courier.sending == ["a"])
        shutil.rmtree(tmp_path / "results" / audio_of("b"))
        home.courier.may_deliver.set()
        for job in jobs:
            assert (await home.told(job)).state is State.DONE
        assert home.engine.done == ["a", "b", "b"]


async def test_only_a_few_results_are_sent_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.courier.may_deliver.clear()
        jobs = [await home.service.accept(order("a", chat=str(chat))) for chat in range(9)]
        for job in jobs:
            await home.until(job, State.DELIVERING)
        await eventually(lambda: len(home.courier.sending) == 8)
        await asyncio.sleep(0.1)
        assert len(home.courier.sending) == 8
        home.courier.may_deliver.set()
        for job in jobs:
            await home.told(job)


@pytest.mark.parametrize("call", ["fetch", "deliver"])
async def test_a_platform_that_has_us_wait_holds_up_no_other(tmp_path: Path, call: str) -> None:
    async with house(tmp_path) as home:
        getattr(home.courier, f"may_{call}").clear()
        away = [await home.service.accept(order(f"song{chat}", chat=str(chat))) for chat in range(10)]
        for job in away:
            await home.until(job, State.PREPARING if call == "fetch" else State.DELIVERING)
        home.service.attach("other", other := FakeCourier())
        job = await home.service.accept(order("mine", platform="other"))
        assert (await home.until(job)).job.state is State.DONE
        assert other.answers() == [("1", "mine")]
        getattr(home.courier, f"may_{call}").set()
        for job in away:
            assert (await home.told(job)).state is State.DONE


async def test_songs_are_looked_at_a_few_at_a_time_whoever_sent_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    looking = 0

    async def slow(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
        nonlocal looking
        looking += 1
        at_once.append(looking)
        await asyncio.sleep(0.02)
        looking -= 1
        return await inspect(path, longest_s=longest_s, deadline_s=deadline_s)

    monkeypatch.setattr("tests.service_fakes.inspect", slow)
    async with house(tmp_path) as home:
        platforms = ("fake", "other", "third")
        for platform in platforms[1:]:
            home.service.attach(platform, FakeCourier())
        where = [(platform, str(chat)) for platform in platforms for chat in range(4)]
        jobs = [await home.service.accept(order("a", platform=platform, chat=chat)) for platform, chat in where]
        for job in jobs:
            assert (await home.until(job)).job.state is State.DONE
    assert max(at_once) == 4


async def test_each_word_of_a_job_may_fail_as_often(tmp_path: Path) -> None:
    class Shaky(FakeCourier):
        failed: tuple[State, ...] = ()

        async def tell(self, standing: Standing) -> None:
            state = standing.job.state
            if state in (State.PREPARING, State.RUNNING, State.DONE) and state not in self.failed:
                self.failed = (*self.failed, state)
                raise ConnectionError("reset")
            await super().tell(standing)

    def has_told(state: State) -> bool:
        return any(told.job.state is state for told in home.courier.told)

    engine = held_engine()
    patience = replace(QUICK, tidy_s=1000.0, pace_s=0.5)
    async with house(tmp_path, courier=Shaky(), engine=engine, patience=patience) as home:
        home.courier.may_fetch.clear()
        job = await home.service.accept(order("a"))
        await eventually(lambda: has_told(State.PREPARING))
        home.courier.may_fetch.set()
        await eventually(lambda: has_told(State.RUNNING))
        engine.may_go.set()
        assert (await home.told(job)).state is State.DONE


async def test_an_end_that_could_not_be_told_is_tried_again(tmp_path: Path) -> None:
    # without waiting for upkeep's look for ends that are untold
    async with house(tmp_path, courier=FakeCourier(untold_ends=2), patience=replace(QUICK, tidy_s=1000.0)) as home:
        job = await home.told(await home.service.accept(order("a")))
        assert job.state is State.DONE
        assert home.courier.answers() == [("1", "a")]


async def test_what_is_sent_to_a_chat_is_sent_in_order_and_chats_do_not_wait_for_each_other(tmp_path: Path) -> None:
    at_once: list[int] = []
    busy: set[str] = set()

    class Counting(FakeCourier):
        async def deliver(self, job: object, result: object) -> None:
            chat = job.place.chat  # type: ignore[attr-defined]
            assert chat not in busy
            busy.add(chat)
            at_once.append(len(busy))
            await super().deliver(job, result)  # type: ignore[arg-type]
            busy.discard(chat)

    courier = Counting()
    courier.may_deliver.clear()
    async with house(tmp_path, courier=courier) as home:
        jobs = [await home.service.accept(order(f"{chat}{n}", chat=chat)) for n in range(3) for chat in "ab"]
        await eventually(lambda: all(home.standing(j).job.state is State.DELIVERING for j in jobs))
        await eventually(lambda: len(busy) == 2)
        courier.may_deliver.set()
        for job in jobs:
            await home.told(job)
        assert max(at_once) == 2
        for chat in "ab":
            assert [title for place, title in courier.answers() if place == chat] == [f"{chat}{n}" for n in range(3)]


async def test_without_an_engine_people_are_told_so_until_there_is_one(tmp_path: Path) -> None:
    engine = FakeEngine(start_troubles=[EngineError("no")] * 40)
    async with house(tmp_path, engine=engine) as home:
        waiting = await home.service.accept(order("a"))
        ended = await home.told(waiting)
        assert (ended.error or "").startswith("The part of me that separates songs does not start.")
        with pytest.raises(Refused, match="The part of me that separates songs does not start"):
            await home.service.accept(order("b"))
        await eventually(lambda: not engine.start_troubles)
        await eventually(lambda: engine.starts == 41)
        assert (await home.told(await home.service.accept(order("b")))).state is State.DONE


async def test_what_was_accepted_before_waits_for_an_engine_that_starts(tmp_path: Path) -> None:
    async with house(tmp_path, engines=0) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.QUEUED)
    engine = FakeEngine(start_troubles=[EngineError("no cuda")] * 10_000)
    async with house(tmp_path, engine=engine) as home:
        await eventually(lambda: engine.starts > 5)
        assert home.standing(job).job.state is State.QUEUED
    async with house(tmp_path) as home:
        assert (await home.told(job)).state is State.DONE


async def test_an_engine_that_starts_at_the_second_try_costs_no_song(tmp_path: Path) -> None:
    engine = FakeEngine(start_troubles=[EngineError("no")])
    async with house(tmp_path, engine=engine, patience=replace(QUICK, restart_s=(0.3,))) as home:
        await eventually(lambda: engine.starts == 1)
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
        assert engine.starts == 2


async def test_an_engine_that_is_still_starting_when_the_bot_ends_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineProcess(FakeOptions(tmp_path, start_s=60.0), target=fake_engine.main)
    async with house(tmp_path / "data", engines=0) as at:
        at.service.add_engine(engine)
        await eventually(lambda: engine.pid is not None)
    assert engine.pid is None
    assert caplog.messages == []


async def test_what_is_separated_already_needs_no_engine(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.told(await home.service.accept(order("a", source_key="k")))
    engine = FakeEngine(start_troubles=[EngineError("no")] * 10_000)
    async with house(tmp_path, engine=engine) as home:
        await home.told(await home.service.accept(order("b")))
        with pytest.raises(Refused, match="The part of me that separates songs does not start"):
            await home.service.accept(order("b", chat="2"))
        again = await home.told(await home.service.accept(order("a", chat="2", source_key="k")))
        assert again.state is State.DONE
        assert home.courier.answers() == [("2", "a")]


async def test_an_engine_that_is_lost_for_a_moment_costs_no_job(tmp_path: Path) -> None:
    class Shaky(FakeEngine):
        async def separate(self, *call: Any) -> SeparationResult:
            if self.starts == 1:
                raise EngineError("no engine just now")
            return await super().separate(*call)

    async with house(tmp_path, engine=Shaky()) as home:
        job = await home.told(await home.service.accept(order("a")))
        assert job.state is State.DONE
        assert home.engine.starts == 2


class OnceLost(FakeEngine):
    """Ends with the next song."""

    is_to_be_lost = True

    async def separate(self, *call: Any) -> SeparationResult:
        if self.is_to_be_lost:
            self.is_to_be_lost = False
            raise EngineError("it died")
        return await super().separate(*call)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_engine_that_was_lost_over_a_song_long_ago_does_not_count(tmp_path: Path, is_cancelled: bool) -> None:
    engine = OnceLost()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine) as home:
        first = await home.service.accept(order("a"))
        await eventually(lambda: engine.begun == ["a"])  # the second time
        if is_cancelled:
            await home.service.cancel(first.id, first.place)
        engine.may_go.set()
        await home.told(first)
        await home.service.forget(first.place)
        engine.is_to_be_lost = True
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE


async def test_outages_of_a_job_that_is_over_are_not_remembered(tmp_path: Path) -> None:
    courier = FakeCourier(trouble={("fetch", "a"): ConnectionError("no network")})
    async with house(tmp_path, courier=courier, patience=replace(QUICK, outages_s=(0.01,) * 1000)) as home:
        outages = home.service._preparing._outages
        job = await home.service.accept(order("a"))
        await eventually(lambda: job.id in outages)
        await home.service.cancel(job.id, job.place)
        await home.told(job)
        await eventually(lambda: not outages)


async def test_songs_wait_for_the_first_engine(tmp_path: Path) -> None:
    async with house(tmp_path, engines=0) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.QUEUED)
        home.service.add_engine(home.engine)
        assert (await home.told(job)).state is State.DONE
    assert home.engine.is_closed

"""The service with an engine in this process and a chat that records: what becomes of jobs."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.jobs import DeliveryError, Place, Refused, Standing, State, Wish
from bot.queue import LEAST_S
from spectacles_engine.audio_files import Inspected
from spectacles_engine.errors import MISTAKE_OF_OURS, EngineError, PoisonousError, SpecTaclesError
from spectacles_engine.messages import SeparationResult
from tests.service_fakes import QUICK, FakeCourier, FakeEngine, audio_of, eventually, held_engine, house, inspect, order


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
        warnings = ("it is clipped", "it is mono")
        return replace(found, title="Two\nlines\u202e and  tabs\t", performer=performer, channels=1, warnings=warnings)

    monkeypatch.setattr("tests.service_fakes.inspect", listen)
    async with house(tmp_path, engine=Warning()) as home:
        named = [order("a"), order("b", performer="Bob"), order("c")]
        jobs = [await home.told(await home.service.accept(wanted)) for wanted in named]
        # tags have a say only where the platform has none, and tell the whole name
        called = [(job.order.title, job.order.performer) for job in jobs]
        assert called == [("Two lines and tabs", "Ann"), ("b", "Bob"), ("c", None)]
        result = home.service.result(jobs[0])
        assert result is not None
        assert (result.channels, result.warnings) == (1, ("it is clipped", "it is mono", "it is short"))
        assert "the GPU is full" in caplog.text  # for who runs the bot, not for who sent the song


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
        assert _standing(home.service.standing(first.id)).eta_s is None
        assert _standing(home.service.standing(second.id)).eta_s is None
        engine.may_go.set()
        await home.told(second)
        engine.may_go.clear()
        # the fake engine takes half of a song's time, and stops at the half of it
        third = await home.service.accept(order("c", chat="c", seconds=80))
        await eventually(lambda: _standing(home.service.standing(third.id)).share == 0.5)
        fourth = await home.service.accept(order("d", chat="d", seconds=10))
        await home.until(fourth, State.QUEUED)
        assert _standing(home.service.standing(third.id)).eta_s == pytest.approx(20)
        assert _standing(home.service.standing(fourth.id)).eta_s == pytest.approx(25)
    async with house(tmp_path) as home:
        # the speed is known after a restart, and the two that were not done are ahead
        fifth = await home.service.accept(replace(order("e", chat="e"), seconds=8))
        assert _standing(home.service.standing(fifth.id)).eta_s == pytest.approx((80 + 10 + LEAST_S) / 2)


async def test_what_a_voice_note_took_says_little_of_a_song(tmp_path: Path) -> None:
    engine = held_engine()
    async with house(tmp_path, engine=engine) as home:
        engine.may_go.set()
        await home.told(await home.service.accept(order("a", seconds=1)))
        engine.may_go.clear()
        song = await home.service.accept(order("b", seconds=200))
        await eventually(lambda: _standing(home.service.standing(song.id)).share == 0.5)
        assert _standing(home.service.standing(song.id)).eta_s == pytest.approx(0.5 * 200 * 0.5 / LEAST_S)


def _standing(found: Standing | None) -> Standing:
    assert found is not None
    return found


# What goes wrong.


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
        # and a failed song is not kept
        assert not list((tmp_path / "songs").iterdir())


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
        assert courier.sending.count("b") == {"fetch": 0, "deliver": 1 + isinstance(error, ConnectionError) * 2}[call]


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


async def test_an_end_that_could_not_be_told_is_tried_again(tmp_path: Path) -> None:
    class Stubborn(FakeCourier):
        refusals = 2

        async def tell(self, standing: Standing) -> None:
            if standing.job.state.is_final and self.refusals:
                self.refusals -= 1
                raise ConnectionError("reset")
            await super().tell(standing)

    async with house(tmp_path, courier=Stubborn()) as home:
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
        await eventually(
            lambda: all(_standing(home.service.standing(j.id)).job.state is State.DELIVERING for j in jobs)
        )
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


async def test_an_engine_that_starts_at_the_second_try_costs_no_song(tmp_path: Path) -> None:
    engine = FakeEngine(start_troubles=[EngineError("no")])
    async with house(tmp_path, engine=engine, patience=replace(QUICK, restart_s=(0.3,))) as home:
        await eventually(lambda: engine.starts == 1)
        assert (await home.told(await home.service.accept(order("a")))).state is State.DONE
        assert engine.starts == 2


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


async def test_songs_wait_for_the_first_engine(tmp_path: Path) -> None:
    async with house(tmp_path, engines=0) as home:
        job = await home.service.accept(order("a"))
        await home.until(job, State.QUEUED)
        home.service.add_engine(home.engine)
        assert (await home.told(job)).state is State.DONE
    assert home.engine.is_closed


# Cancelling.


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


async def test_a_song_that_comes_again_while_its_run_is_being_cancelled_is_separated(tmp_path: Path) -> None:
    class Deaf(FakeEngine):
        def cancel(self, job_id: str) -> None:
            """Hears it late."""
            asyncio.get_running_loop().call_later(0.2, super().cancel, job_id)

    engine = Deaf()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine) as home:
        first = await home.service.accept(order("a"))
        await home.until(first, State.RUNNING)
        await home.service.cancel(first.id, first.place)
        second = await home.service.accept(order("a", chat="2"))
        await eventually(lambda: len(engine.begun) == 2)
        engine.may_go.set()
        assert (await home.told(second)).state is State.DONE
        assert home.courier.answers() == [("2", "a")]


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


# Asking.


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
        assert titles(home.service.jobs(ann, everyone=True)) == ["a", "b", "d"]
        assert titles(home.service.history(bob)) == ["b"]
        home.engine.may_go.set()
        await eventually(lambda: not home.service.jobs(ann))
        assert titles(home.service.history(ann)) == ["d", "a"]


async def test_a_job_is_found_by_its_messages(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.service.accept(order("a"))
        home.service.note_status(job.id, {"message": 7})
        assert home.service.find("fake", "1", {"message": 7}) == home.service.job(job.id)
        assert home.service.find("fake", "2", {"message": 7}) is None
        assert home.service.find("fake", "1", {"message": 8}) is None
        assert home.service.find("fake", "1", {}) is None
        await home.told(job)
        home.service.note_status(job.id, {"message": [7, 8, 9], "more": 1})
        found = home.service.find("fake", "1", {"message": 8})
        assert found is not None
        assert (found.id, found.state) == (job.id, State.DONE)
        # of several, the newest
        newer = await home.service.accept(order("a", wish=Wish(("bass",))))
        home.service.note_status(newer.id, {"message": 10, "more": 1})
        found = home.service.find("fake", "1", {"more": 1})
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

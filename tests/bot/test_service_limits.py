"""What is refused, and to whom it is said."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot.config import LimitSettings, TelegramSettings
from bot.jobs import Place, State, TooLarge, Unavailable
from tests.service_fakes import (
    held_engine,
    house,
    order,
)


async def test_songs_in_progress_are_limited_for_a_person_and_for_a_chat(tmp_path: Path) -> None:
    limits = LimitSettings(songs_in_progress_per_person=2, songs_in_progress_per_chat=3)
    async with house(tmp_path, engine=held_engine(), limits=limits) as home:
        sentence = await home.refused(order("a"), order("b", chat="2"), order("c", chat="3"))
        assert sentence.startswith("You have 2 songs in progress already.")
        bob = [order(name, person="bob") for name in "de"]
        sentence = await home.refused(*bob, order("f", person="cleo"))
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
        sentence = await home.refused(replace(order("c", chat="2"), seconds=101.0))
        assert sentence.endswith("The first of them are free again in 24 hours.")
        sentence = await home.refused(replace(order("c", person="cleo"), seconds=30.0))
        assert sentence.startswith("That would be more than this chat's 7 minutes")
        sentence = await home.refused(replace(order("c", chat="2", person="cleo"), seconds=301.0))
        assert sentence == "That song alone is more than your 5 minutes of audio within 24 hours."
        assert (await home.told(await home.service.accept(order("c", seconds=10)))).state is State.DONE
        # to be forgotten gives no new minutes
        await home.service.forget(Place("fake", "1", "ann"))
        await home.refused(replace(order("d", chat="2"), seconds=120.0))
    async with house(tmp_path, limits=limits) as home:
        await home.refused(replace(order("e", chat="2", person="bob"), seconds=101.0))


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
        sentence = await home.refused(replace(order("c"), seconds=200.0))
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
        sentence = await home.refused(order("a", platform="telegram", chat="5"))
        assert sentence == "This chat is not on the list of chats that I work for."
        for platform, chat in (("telegram", "-5"), ("telegram", "7"), ("fake", "1")):
            await home.service.accept(order("a", platform=platform, chat=chat))


async def test_nothing_is_accepted_once_the_bot_ends(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        pass
    with pytest.raises(Unavailable, match="being shut down"):
        await home.service.accept(order("a"))

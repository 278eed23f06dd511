"""Discord on a bad day: limits, lost answers, dead addresses, missing permissions, deleted messages."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import discord
import numpy as np
import pytest
import soundfile

from bot import pace
from bot.discord.app import DiscordBot
from bot.discord.http import download
from bot.jobs import Job, Order, Place, Refused, State, Wish
from bot.refusals import store_in_trouble
from bot.store import StoreError
from tests.bot.discord.test_discord import SLOW, VOCALS, names, said
from tests.bot.discord.world import World, discord_world
from tests.fake_engine import Behaviour, wav
from tests.service_fakes import outages_are_short


@pytest.mark.parametrize(("minutes", "takes_mib", "refusals"), [(18, 20, 0), (9, 10, 1)])
async def test_long_songs_go_down_the_ladder_until_they_fit(
    world: World, tmp_path: Path, minutes: int, takes_mib: int, refusals: int
) -> None:
    world.wire.most_bytes = takes_mib << 20
    alice = world.env.create_user("alice")
    for song in range(1, 3):
        tone = 0.1 * np.sin(np.arange(16_000 * 60 * minutes) / (6 + song))
        soundfile.write(tmp_path / "long.flac", tone, 16_000)
        await alice.slash("separate", attachment=("long.flac", (tmp_path / "long.flac").read_bytes()), stems="vocals")
        await world.quiet()
        result = world.messages(alice.dm_channel)[-1]
        assert names(result) == ["long – vocals.mp3"]
        assert [attachment.size for attachment in result.attachments] == [pytest.approx(minutes * 960_000, rel=0.01)]
        assert "Sent as MP3 at 128 kbit/s, because files may have at most" in result.content
    # the second time, Discord's limit is known
    assert world.wire.refused == refusals


async def test_flac_that_does_not_fit_becomes_mp3(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.discord.courier._DEFAULT_BYTES", 1_000_000)
    alice = world.env.create_user("alice")
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (44_100 * 6, 2))
    soundfile.write(tmp_path / "noise.flac", noise, 44_100)
    song = ("noise.flac", (tmp_path / "noise.flac").read_bytes())
    await alice.slash("separate", attachment=song, stems="vocals", format="flac")
    assert names(await world.result(alice.dm_channel)) == ["noise – vocals.mp3"]


async def test_a_limit_lower_than_promised_is_believed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    world.wire.most_bytes = 20_000
    monkeypatch.setattr(discord.utils, "DEFAULT_FILE_SIZE_LIMIT_BYTES", world.wire.most_bytes)
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    result = await world.result(channel)
    assert "Sent as MP3 at 128 kbit/s" in result.content
    # 320 kbit/s are refused; 192 would be as well, and are not tried
    assert world.wire.refused == 1


async def test_files_that_fit_one_by_one_but_not_together(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.discord.courier._MESSAGE_BYTES", 199 << 10)
    world.wire.most_bytes_in_all = 200 << 10
    alice = world.env.create_user("alice")
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, (44_100, 2))
    soundfile.write(tmp_path / "noise.wav", noise, 44_100)
    song = ("noise.wav", (tmp_path / "noise.wav").read_bytes())
    await alice.slash("separate", attachment=song, format="wav")
    assert "Sent as MP3 at 320 kbit/s" in (await world.result(alice.dm_channel)).content
    assert world.wire.refused == 0


async def test_what_fits_nowhere_is_told(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    world.wire.most_bytes = 1000
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    await world.quiet()
    (text,) = world.texts(alice.dm_channel)
    assert "too large for this chat" in text
    assert "Cancel" not in text


async def test_lost_answers_and_errors_of_discord_send_nothing_twice(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    world.wire.lost_answers = 2
    world.env.inject_error("POST", "/channels/*/messages", status=503, times=2)
    world.env.inject_error("PATCH", "/channels/*/messages/*", status=503, times=1)
    world.env.inject_error("DELETE", "/channels/*/messages/*", status=503, times=1)
    await world.post(alice, alice.dm_channel, ("a.wav", wav(tmp_path)), text="vocals")
    result = await world.result(alice.dm_channel)
    assert world.wire.lost_answers == 0
    assert world.messages(alice.dm_channel) == [result]


@pytest.mark.parametrize("status", [429, 503, None])
async def test_an_outage_is_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    outages_are_short(world.service, monkeypatch)
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path, Behaviour(steps=20, step_s=0.05))), **VOCALS)
    await world.until(lambda: world.messages(alice.dm_channel))
    if status:
        world.env.inject_error("POST", "/channels/*/messages", status=status, times=6)
    else:
        world.wire.drops = 6
    assert names(await world.result(alice.dm_channel)) == ["a – vocals.mp3"]
    assert world.wire.drops == 0


async def test_a_song_is_fetched_once_discord_is_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages_are_short(world.service, monkeypatch)
    drops = [aiohttp.ClientConnectionError("no route")] * 9

    async def download_later(*what: Any) -> None:
        if drops:
            raise drops.pop()
        await download(*what)

    monkeypatch.setattr("bot.discord.courier.download", download_later)
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    assert names(await world.result(alice.dm_channel)) == ["a – vocals.mp3"]
    assert not drops


@pytest.mark.parametrize("has_arrived", [False, True])
async def test_an_acknowledgement_that_was_lost_holds_up_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_arrived: bool
) -> None:
    defer, tries = discord.InteractionResponse.defer, []

    async def lose_first(self: discord.InteractionResponse[Any], **how: Any) -> None:
        tries.append(how)
        if len(tries) > 1 or has_arrived:
            await defer(self, **how)
        if len(tries) == 1:
            self._response_type = None
            raise aiohttp.ServerDisconnectedError

    monkeypatch.setattr(discord.InteractionResponse, "defer", lose_first)
    alice = world.env.create_user("alice")
    assert "I have it" in said(await alice.slash("separate", attachment=("a.wav", wav(tmp_path)), **VOCALS))
    assert names(await world.result(alice.dm_channel)) == ["a – vocals.mp3"]


async def test_help_whose_answer_was_lost_comes_once(world: World) -> None:
    alice = world.env.create_user("alice")
    world.wire.lost_answers = 1
    await world.post(alice, alice.dm_channel, text="hello?")
    assert world.wire.lost_answers == 0
    assert len(world.messages(alice.dm_channel)) == 1


async def test_what_cannot_be_deleted_there_any_more_is_deleted_here(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    result = await world.result(channel)
    world.env.inject_error("DELETE", "/channels/*/messages/*", status=403, code=50001, times=None)
    assert said(await alice.click(result, label="Delete")) == "Deleted."
    assert not list(world.settings.data_folder.rglob("*.flac"))


async def test_edits_keep_the_pace_and_change_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pace_s = 0.3
    async with discord_world(tmp_path, monkeypatch, pace_s=pace_s) as world:
        alice = world.env.create_user("alice")
        for seed in (0, 1):
            song = wav(tmp_path, Behaviour(steps=100, step_s=0.02), seed=seed)
            await world.post(alice, alice.dm_channel, (f"{seed}.wav", song), text="vocals")
        await world.result(alice.dm_channel, 2)
        times = [at for at, _, _ in world.wire.edits]
        assert len(times) >= 4
        assert min(np.diff(times)) >= pace_s - 0.01
        for message in {message for _, message, _ in world.wire.edits}:
            texts = [text for _, of, text in world.wire.edits if of == message]
            assert all(before != after for before, after in pairwise(texts))


async def test_who_waits_too_long_for_an_edit_waits_for_the_next_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "MOST_WAIT_S", 0.2)
    async with discord_world(tmp_path, monkeypatch, pace_s=600.0) as world:
        alice = world.env.create_user("alice")
        for seed in range(3):
            song = wav(tmp_path, Behaviour(steps=10, step_s=0.1), seed=seed)
            await world.post(alice, alice.dm_channel, (f"{seed}.wav", song), text="vocals")
        await world.result(alice.dm_channel, 3)
        assert len(world.wire.edits) <= 1
    assert "was not told" not in caplog.text


@pytest.mark.parametrize("is_forwarded", [False, True])
async def test_a_dead_address_is_replaced_from_the_message(world: World, tmp_path: Path, is_forwarded: bool) -> None:
    alice = world.env.create_user("alice")
    files = ("other.mp3", b"another"), ("song.mp3", b"a song, let us say")
    message = await world.post(alice, alice.dm_channel, *files)
    _, song = message.attachments
    if is_forwarded:
        world.env.create_guild()
        message = await world.env.guild.add_member(alice).forward(message, alice.dm_channel)
    courier = courier_of(world)
    await courier.fetch(job_with(alice, alice.dm_channel, message.id, song.id), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"a song, let us say"


@pytest.mark.parametrize("message", [None, 7])
async def test_a_song_that_is_gone_is_told_in_a_sentence(world: World, tmp_path: Path, message: int | None) -> None:
    alice = world.env.create_user("alice")
    with pytest.raises(Refused, match="Please send it again"):
        await courier_of(world).fetch(job_with(alice, alice.dm_channel, message, 8), tmp_path / "fetched")
    world.env.inject_error("GET", "/channels/*/messages/*", status=403, code=50001, times=1)
    with pytest.raises(Refused, match="Please send it again"):
        await courier_of(world).fetch(job_with(alice, alice.dm_channel, 7, 8), tmp_path / "fetched")


async def test_a_channel_that_closes_meanwhile_ends_the_job(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path, SLOW)), **VOCALS)
    await world.until(lambda: any("separating," in text for text in world.texts(alice.dm_channel)))
    world.env.inject_error("*", "/channels/*", status=403, code=50001, times=None)
    job = world.service.jobs(Place("discord", str(alice.dm_channel.id), str(alice.id)))[0].job
    await world.service.cancel(job.id, job.place)
    await world.quiet()
    ended = world.service.job(job.id)
    assert ended is not None
    assert ended.state is State.CANCELLED


async def test_stems_that_may_not_be_sent_are_a_sentence(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path, Behaviour(steps=20, step_s=0.05))), **VOCALS)
    await world.until(lambda: world.messages(alice.dm_channel))
    world.env.inject_error("POST", "/channels/*/messages", status=403, code=50013, times=1)
    await world.quiet()
    (text,) = world.texts(alice.dm_channel)
    assert text.startswith("a: I am not allowed to send files here.")


async def test_a_first_word_that_discord_does_not_take_yet_comes_later(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    world.env.inject_error("POST", "/channels/*/messages", status=503, times=5)
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path, SLOW)), **VOCALS)
    await world.until(lambda: world.messages(alice.dm_channel))
    assert world.texts(alice.dm_channel)[0].startswith("a: ")


async def test_where_nothing_can_be_shown_it_is_not_tried_all_the_time(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bot.announcer")
    world.env.inject_error("POST", "/channels/*/messages", status=403, code=50001, times=None)
    alice = world.env.create_user("alice")
    song = wav(tmp_path, Behaviour(steps=20, step_s=0.1))
    await alice.slash("separate", attachment=("a.wav", song), **VOCALS)
    await world.until(lambda: world.separations)
    await world.quiet()
    # its first word, and its last one
    assert caplog.text.count("its chat shows nothing") == 2


async def test_why_it_failed_is_said_though_the_status_was_deleted(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    song = wav(tmp_path, Behaviour(steps=20, step_s=0.05))
    world.wire.most_bytes = 1000
    await world.post(alice, alice.dm_channel, ("a.wav", song), text="vocals")
    await world.until(lambda: world.messages(alice.dm_channel))
    status = world.messages(alice.dm_channel)[0]
    world.env.backend.delete_message(status.channel.id, status.id)
    await world.quiet()
    (text,) = world.texts(alice.dm_channel)
    assert "too large for this chat" in text


async def test_why_it_failed_is_said_in_a_thread_that_was_archived_meanwhile(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    world.wire.most_bytes = 1000
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path, Behaviour(steps=20, step_s=0.05))), **VOCALS)
    await world.until(lambda: world.messages(alice.dm_channel))
    world.env.inject_error("PATCH", "/channels/*/messages/*", status=400, code=50083, times=None)
    await world.quiet()
    assert "too large for this chat" in world.texts(alice.dm_channel)[-1]


async def test_without_the_history_answers_are_no_replies(world: World, tmp_path: Path) -> None:
    guild = world.env.create_guild()
    no_history = discord.PermissionOverwrite(read_message_history=False)
    channel = guild.create_text_channel("class", overwrites={guild.default_role: no_history})
    alice = guild.add_member(world.env.create_user("alice"))
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    first = await world.result(channel)
    world.wire.shows_history = False
    await alice.click(first, label="Drums")
    assert names(await world.result(channel, 2)) == ["a – drums.mp3"]


async def test_a_mistake_of_ours_is_a_sentence(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world.env.create_user("alice")

    def mistake(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(world.service), "jobs", mistake)
    assert "went wrong in SpecTacles itself" in said(await alice.slash("queue"))
    (error,) = world.env.errors
    assert "on purpose" in str(error)
    monkeypatch.setattr(type(world.service), "accept", mistake)
    world.wire.drops = 1
    await world.post(alice, alice.dm_channel, ("a.wav", wav(tmp_path)))
    assert "went wrong in SpecTacles itself" in world.texts(alice.dm_channel)[-1]


async def test_a_store_in_trouble_is_a_sentence_and_no_mistake(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise StoreError(store_in_trouble())

    monkeypatch.setattr(type(world.service), "jobs", refuse)
    assert said(await world.env.create_user("alice").slash("queue")) == store_in_trouble()
    assert "an interaction failed" not in caplog.text


async def test_a_word_that_means_nothing_is_told(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    answer = await alice.slash("separate", attachment=("a.wav", wav(tmp_path)), stems="trumpets")
    assert "trumpets" in said(answer)
    await world.quiet()
    assert world.messages(alice.dm_channel) == []


async def test_stems_are_suggested_while_they_are_typed(world: World) -> None:
    alice = world.env.create_user("alice")
    choices = await alice.autocomplete("separate", "stems", "vocals, d")
    assert [choice["value"] for choice in choices] == ["vocals, drums"]
    assert await alice.autocomplete("separate", "stems", "drums, d") == []  # each of them once
    choices = await alice.autocomplete("separate", "stems", "x" * 91 + " no-")  # Discord takes up to 100 characters
    assert [choice["value"][93:] for choice in choices] == ["no-bass"]


def courier_of(world: World) -> Any:
    assert isinstance(world.env.bot, DiscordBot)
    return world.env.bot.courier


def job_with(who: Any, channel: Any, message: int | None, attachment: int) -> Job:
    source = {"guild": None, "message": message, "attachment": attachment, "url": "https://cdn.simcord.invalid/dead"}
    order = Order(Place("discord", str(channel.id), str(who.id)), Wish(), source, "a")
    return Job("0" * 24, order, State.PREPARING, 0.0)

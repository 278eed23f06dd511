"""What people do on Discord, and what they see."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import discord
import numpy as np
import pytest
import soundfile
from simcord.enums import MessageType

from bot.config import DiscordSettings, LimitSettings
from bot.discord.commands import MENU
from spectacles_engine import demo, worker
from spectacles_engine.audio_files import encode
from spectacles_engine.messages import STEMS, EngineOptions
from tests.bot.discord.world import World, discord_world
from tests.fake_engine import Behaviour, wav, write_song

VOCALS = {"stems": "vocals"}
SLOW = Behaviour(steps=10_000, step_s=0.05)


def names(message: discord.Message) -> list[str]:
    return [attachment.filename for attachment in message.attachments]


async def test_a_song_in_a_private_message(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    song = await world.post(alice, alice.dm_channel, ("my_song.wav", wav(tmp_path)))
    result = await world.result(alice.dm_channel)
    assert names(result) == [f"my song – {stem}.mp3" for stem in STEMS]
    assert "my song (0:01)" in result.content
    assert "Estimated quality (dB SDR, 80 % range): vocals 6.0 (4.5–7.5) good" in result.content
    assert result.reference is not None
    assert result.reference.message_id == song.id
    assert result.mentions == []
    # the message that counted up has gone: the stems are the answer
    assert world.messages(alice.dm_channel) == [result]
    assert "my song: " in world.env.transcript()
    for attachment in result.attachments:
        sound, rate = soundfile.read(io.BytesIO(world.file(attachment)))
        assert rate == 44_100
        assert abs(sound).max() > 0.01


async def test_words_beside_a_song_are_a_wish_and_words_alone_are_answered_with_help(
    world: World, tmp_path: Path
) -> None:
    alice = world.env.create_user("alice")
    await world.post(alice, alice.dm_channel, ("a.wav", wav(tmp_path)), text="karaoke, as FLAC")
    assert names(await world.result(alice.dm_channel)) == ["a – karaoke.flac"]
    await world.post(alice, alice.dm_channel, text="hello?")
    assert "/separate" in world.messages(alice.dm_channel)[-1].content
    await world.post(alice, alice.dm_channel, ("cat.png", b"meow"))
    assert "no audio" in world.messages(alice.dm_channel)[-1].content


async def test_of_a_link_it_is_said_that_files_are_taken(world: World) -> None:
    channel, alice = world.env.create_guild().create_text_channel("class"), world.env.create_user("alice")
    member = world.env.guild.add_member(alice)
    link = "Listen: https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC"
    await world.post(alice, alice.dm_channel, text=link)
    assert "files, not links" in world.messages(alice.dm_channel)[-1].content
    posted = await world.post(member, channel, text=link)
    assert "files, not links" in said(await member.context_menu(channel, MENU, posted))


async def test_what_discord_says_in_a_private_message_is_not_answered(world: World) -> None:
    alice = world.env.create_user("alice")
    backend = world.env.backend
    backend.create_message(alice.dm_channel.id, alice.id, "alice pinned a message", message_type=MessageType.PINS_ADD)
    await world.env.settle()
    assert world.messages(alice.dm_channel) == []


async def test_a_voice_message_by_the_menu_and_nothing_unasked(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    bob = world.env.guild.add_member(world.env.create_user("bob"))
    write_song(tmp_path / "a.wav")
    await encode([tmp_path / "a.wav"], tmp_path / "voice-message.ogg", "opus", bitrate_kbps=32)
    note = ("voice-message.ogg", (tmp_path / "voice-message.ogg").read_bytes())
    voice = await world.post(alice, channel, note, voice_s=1.0)
    await world.quiet()
    assert world.messages(channel) == []
    answer = await bob.context_menu(channel, MENU, voice)
    assert answer.ephemeral
    result = await world.result(channel)
    assert names(result) == [f"voice message – {stem}.mp3" for stem in STEMS]
    assert result.content.startswith("voice message (0:01)")
    assert result.reference is not None
    assert result.reference.message_id == voice.id
    text = await world.post(alice, channel, text="no song in here")
    answer = await bob.context_menu(channel, MENU, text)
    assert answer.response is not None
    assert "no audio" in answer.response.content


async def test_a_song_with_the_command_then_a_button_is_answered_from_the_store(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    bob = world.env.guild.add_member(world.env.create_user("bob"))
    song = ("a.wav", wav(tmp_path))
    answer = await alice.slash(channel, "separate", attachment=song, stems="vocals, drums", format="flac")
    assert answer.ephemeral
    result = await world.result(channel)
    assert names(result) == ["a – vocals.flac", "a – drums.flac"]
    await world.restart()
    await bob.click(result, label="Karaoke")
    assert names(await world.result(channel, 2)) == ["a – karaoke.mp3"]
    await bob.click(result, label="FLAC")
    again = await world.result(channel, 3)
    assert names(again) == names(result)
    assert again.reference is not None
    assert again.reference.message_id == result.id
    assert world.separations == 1


async def test_stems_that_answer_no_message_say_who_asked(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    people = [world.env.create_user(name) for name in ("alice", "bob")]
    for number, person in enumerate(people, 1):
        await world.env.guild.add_member(person).slash(channel, "separate", attachment=("a.wav", wav(tmp_path)))
        result = await world.result(channel, number)
        assert result.content.startswith(f"<@{person.id}> a (0:01)")
        assert not world.env.backend.get_message(channel.id, result.id).ping_user_ids
    await people[0].slash("separate", attachment=("a.wav", wav(tmp_path)))
    assert (await world.result(people[0].dm_channel)).content.startswith("a (0:01)")


async def test_who_has_discord_in_german_is_answered_in_german(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    bob = world.env.guild.add_member(world.env.create_user("bob"))
    world.wire.locales[alice.id] = "de"
    (command,) = (each for each in world.env.backend.commands[None].values() if each["name"] == "separate")
    assert command["description_localizations"]["de"].startswith("Zerlegt ein Lied")
    assert command["options"][0]["description_localizations"] == {"de": "Das Lied: Audio oder Video"}
    answer = await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), stems="nur Gesang bitte")
    assert said(answer).startswith("Ich habe es.")
    result = await world.result(channel)
    assert "Geschätzte Qualität (dB SDR, 80-%-Bereich): Gesang 6,0 (4,5–7,5) gut" in result.content
    assert "(Gesang · Schlagzeug · Bass · Sonstiges · Karaoke · FLAC · Löschen)" in world.texts(channel)[-1]
    assert said(await bob.click(result, label="Schlagzeug")).startswith("I have it.")
    assert "Estimated quality" in (await world.result(channel, 2)).content
    await alice.slash(channel, "bass")
    assert "Geschätzte Qualität" in (await world.result(channel, 3)).content
    assert said(await bob.click(result, label="Löschen")).startswith("Only the person who asked")
    assert said(await alice.click(result, label="Löschen")) == "Gelöscht."
    assert "„xyzzy“ kenne ich nicht." in said(await alice.slash(channel, "stems", stems="xyzzy"))
    assert said(await alice.slash(channel, "queue")) == "Du hast hier kein Lied in Arbeit."
    assert said(await alice.slash(channel, "forget", chat=True)).startswith("Das kann nur, wer hier Nachrichten")
    assert "/queue zeigt, wie weit" in said(await alice.slash(channel, "start"))


async def test_other_stems_of_the_last_song_come_from_the_store(world: World, tmp_path: Path) -> None:
    guild = world.env.create_guild()
    channel, other_channel = guild.create_text_channel("class"), guild.create_text_channel("other")
    alice, bob = (guild.add_member(world.env.create_user(name)) for name in ("alice", "bob"))
    assert "Which song?" in said(await alice.slash(channel, "vocals"))
    await alice.slash(channel, "vocals", attachment=("a.wav", wav(tmp_path)))
    await world.result(channel)
    wishes: list[tuple[str, dict[str, str], list[str]]] = [
        ("karaoke", {"format": "flac"}, ["a – karaoke.flac"]),
        ("stems", {"stems": "drums and bass", "format": "wav"}, ["a – drums.wav", "a – bass.wav"]),
        ("stems", {}, [f"a – {stem}.mp3" for stem in STEMS]),
        ("other", {}, ["a – other.mp3"]),
    ]
    for number, (command, options, files) in enumerate(wishes, 2):
        await alice.slash(channel, command, **options)
        assert names(await world.result(channel, number)) == files
    # a file that held no song is none
    await alice.slash(channel, "vocals", attachment=("list.mp3", b"#EXTM3U\n"))
    await world.until(lambda: f"<@{alice.id}> list: Not an audio file." in world.texts(channel))
    await alice.slash(channel, "bass")
    assert names(await world.result(channel, 6)) == ["a – bass.mp3"]
    # somebody else's song, or one of elsewhere, is not guessed at
    assert "Which song?" in said(await bob.slash(channel, "drums"))
    assert "Which song?" in said(await alice.slash(other_channel, "drums"))
    assert world.separations == 1


async def test_stems_are_not_separated_once_more(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    user = world.env.create_user("alice")
    alice = world.env.guild.add_member(user)
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    result = await world.result(channel)
    for message in (result, await alice.forward(result, channel)):
        assert "stems already" in said(await alice.context_menu(channel, MENU, message))
    await alice.forward(result, user.dm_channel)
    await world.until(lambda: "stems already" in "".join(world.texts(user.dm_channel)))
    await world.quiet()
    assert world.separations == 1


async def test_only_who_asked_may_delete(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    bob = world.env.guild.add_member(world.env.create_user("bob"))
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    result = await world.result(channel)
    await world.restart()
    answer = await bob.click(result, label="Delete")
    assert said(answer) == "Only the person who asked for this can do that."
    assert world.results(channel) == [result]
    answer = await alice.click(result, label="Delete")
    assert "eleted" in said(answer)
    assert world.messages(channel) == []
    assert not list(world.settings.data_folder.rglob("*.flac"))


async def test_cancel_and_queue(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    bob = world.env.guild.add_member(world.env.create_user("bob"))
    assert "no song in progress" in said(await alice.slash(channel, "queue"))
    await alice.slash(channel, "separate", attachment=("running.wav", wav(tmp_path, SLOW)))
    await world.until(lambda: any("separating," in text for text in world.texts(channel)))
    await bob.slash(channel, "separate", attachment=("waiting.wav", wav(tmp_path, SLOW, seed=1)))
    await world.until(lambda: any("waiting: place 1" in text for text in world.texts(channel)))
    assert said(await bob.slash(channel, "queue")).startswith("waiting: place 1 in the queue")
    assert world.texts(channel)[1].endswith("(Cancel)")
    running, _ = world.messages(channel)
    # somebody else's taps and commands end nothing
    assert "Only the person who asked" in said(await bob.click(running, label="Cancel"))
    assert "waiting" in said(await bob.slash(channel, "cancel"))
    await world.until(lambda: "cancelled" in world.texts(channel)[1])
    assert "separating," in world.texts(channel)[0]
    await alice.click(running, label="Cancel")
    await world.quiet()
    assert world.texts(channel) == [f"<@{alice.id}> running: cancelled.", f"<@{bob.id}> waiting: cancelled."]
    assert "no song in progress" in said(await alice.slash(channel, "cancel"))


async def test_forget_deletes_all_of_a_person(world: World, tmp_path: Path) -> None:
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    await world.result(alice.dm_channel)
    await alice.slash("separate", attachment=("b.wav", wav(tmp_path, SLOW, seed=1)))
    await world.until(lambda: any("separating," in text for text in world.texts(alice.dm_channel)))
    assert "2 songs" in said(await alice.slash("forget"))
    await world.until(lambda: world.texts(alice.dm_channel)[-1] == "b: cancelled.")
    assert not list(world.settings.data_folder.rglob("*.flac"))
    result = world.results(alice.dm_channel)[0]
    assert "no longer stored" in said(await alice.click(result, label="Drums"))
    # what is left of it is a message that she cannot delete herself
    assert said(await alice.click(result, label="Delete")) == "Deleted."
    assert not world.results(alice.dm_channel)


async def test_an_admin_may_have_a_channel_forgotten(world: World, tmp_path: Path) -> None:
    guild = world.env.create_guild()
    channel = guild.create_text_channel("class")
    alice = guild.add_member(world.env.create_user("alice"))
    boss = guild.add_member(
        world.env.create_user("boss"), roles=[guild.create_role("admin", permissions=discord.Permissions.all())]
    )
    await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
    await world.result(channel)
    assert "Only somebody who may manage messages" in said(await alice.slash(channel, "forget", chat=True))
    assert "Deleted: 1 song" in said(await boss.slash(channel, "forget", chat=True))
    assert not list(world.settings.data_folder.rglob("*.flac"))


async def test_help_and_privacy_are_for_one_pair_of_eyes(world: World) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    for command, word in (("start", "Hello!"), ("help", "/separate"), ("privacy", "everything of this channel")):
        answer = await alice.slash(channel, command)
        assert answer.ephemeral
        assert word in said(answer)
    assert world.messages(channel) == []


async def test_what_is_no_song_gets_a_sentence(world: World) -> None:
    alice = world.env.create_user("alice")
    await alice.slash("separate", attachment=("a.mp3", b"#EXTM3U\nhttp://127.0.0.1/secret\n"))
    await world.quiet()
    assert world.texts(alice.dm_channel) == ["a: Not an audio file."]


async def test_too_large_is_refused_before_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = LimitSettings(largest_file_mb=0.1)
    async with discord_world(tmp_path, monkeypatch, limits=limits) as world:
        alice = world.env.create_user("alice")
        answer = await alice.slash("separate", attachment=("a.wav", wav(tmp_path)))
        assert "up to 0.1 MB" in said(answer)
        await world.post(alice, alice.dm_channel, ("a.wav", wav(tmp_path)))
        assert world.texts(alice.dm_channel)[-1].startswith("That file is too large: I take files up to 0.1 MB")
        await world.post(
            alice, alice.dm_channel, ("a.wav", wav(tmp_path)), ("b.wav", bytes(10)), ("c.wav", bytes(10**6))
        )
        assert "a, c: That file is too large: I take files up to 0.1 MB" in "\n".join(world.texts(alice.dm_channel))


async def test_a_song_that_is_too_long_is_refused_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with discord_world(tmp_path, monkeypatch, limits=LimitSettings(longest_song_minutes=1)) as world:
        alice = world.env.create_user("alice")
        await world.post(alice, alice.dm_channel, ("a.ogg", wav(tmp_path)), voice_s=61)
        assert "too long" in world.texts(alice.dm_channel)[-1]
        assert world.service._store.unfinished() == []


async def test_a_channel_where_the_bot_may_not_write(world: World, tmp_path: Path) -> None:
    guild = world.env.create_guild()
    silent = discord.PermissionOverwrite(attach_files=False)
    channel = guild.create_text_channel("class", overwrites={guild.default_role: silent})
    alice = guild.add_member(world.env.create_user("alice"))
    answer = await alice.slash(channel, "separate", attachment=("a.wav", wav(tmp_path)))
    assert answer.ephemeral
    assert "not allowed to" in said(answer)
    await world.quiet()
    assert world.messages(channel) == []


async def test_a_private_thread_that_the_bot_is_no_member_of(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    world.env.backend.create_thread(channel.id, "secret", alice.id, type=discord.ChannelType.private_thread.value)
    (thread,) = channel.threads
    # simcord lets it in; Discord's answer is this one
    world.env.inject_error("POST", f"/channels/{thread.id}/*", status=403, code=50001, times=None)
    assert "not allowed to send" in said(await alice.slash(thread, "separate", attachment=("a.wav", wav(tmp_path))))
    assert world.service._store.unfinished() == []


async def test_a_locked_thread(world: World, tmp_path: Path) -> None:
    guild = world.env.create_guild()
    no_moderator = discord.PermissionOverwrite(manage_threads=False)
    channel = guild.create_text_channel("class", overwrites={guild.default_role: no_moderator})
    alice = guild.add_member(world.env.create_user("alice"))
    world.env.backend.create_thread(channel.id, "last week", alice.id)
    (thread,) = channel.threads
    song = await world.post(alice, thread, ("a.wav", wav(tmp_path)))
    world.env.backend.edit_channel(thread.id, {}, thread_metadata={"locked": True, "archived": True})
    await world.env.settle()
    # the menu of a message works all the same, and simcord would take the stems, which Discord does not
    assert "not allowed to send" in said(await alice.context_menu(thread, MENU, song))
    assert world.service._store.unfinished() == []


async def test_only_listed_servers_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DiscordSettings(allowed_guilds=(7,), allowed_channels=(99,))
    async with discord_world(tmp_path, monkeypatch, discord=settings) as world:
        here = world.env.create_guild(id=7).create_text_channel("here")
        there = world.env.create_guild("other", id=8).create_text_channel("there")
        user = world.env.create_user("alice")
        assert here.guild is not None
        assert there.guild is not None
        answer = await there.guild.add_member(user).slash(there, "separate", attachment=("a.wav", wav(tmp_path)))
        assert "not on the list" in said(answer)
        await world.post(user, user.dm_channel, ("a.wav", wav(tmp_path)))
        assert "not on the list" in world.texts(user.dm_channel)[-1]
        await here.guild.add_member(user).slash(here, "separate", attachment=("a.wav", wav(tmp_path)), **VOCALS)
        assert names(await world.result(here)) == ["a – vocals.mp3"]


async def test_a_thread_is_served_where_its_channel_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guild = world.env.create_guild()
    alice = guild.add_member(world.env.create_user("alice"))
    silent: Any = {guild.default_role: discord.PermissionOverwrite(send_messages_in_threads=False)}
    listed, other = guild.create_text_channel("class"), guild.create_text_channel("other")
    mute = guild.create_text_channel("mute", overwrites=silent)
    allowed = {"discord": DiscordSettings(allowed_channels=(listed.id, mute.id))}
    monkeypatch.setattr(cast(Any, world.env.bot)._desk, "_settings", world.settings.model_copy(update=allowed))
    song = ("a.wav", wav(tmp_path))
    for channel, word in ((other, "not on the list"), (mute, "not allowed to send"), (listed, "I have it")):
        world.env.backend.create_thread(channel.id, "songs", alice.id)
        (thread,) = channel.threads
        assert word in said(await alice.slash(thread, "separate", attachment=song, **VOCALS))
    assert names(await world.result(thread)) == ["a – vocals.mp3"]


async def test_a_forwarded_song_is_one(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    song = await world.post(alice, channel, ("a.wav", wav(tmp_path)))
    forwarded = await alice.forward(song, channel)
    await alice.context_menu(channel, MENU, forwarded)
    assert names(await world.result(channel)) == [f"a – {stem}.mp3" for stem in STEMS]


async def test_a_title_that_discord_knows_is_taken_before_the_name_of_the_file(world: World, tmp_path: Path) -> None:
    alice, backend = world.env.create_user("alice"), world.env.backend
    attachments = backend.store_attachments(alice.dm_channel.id, [("Fur_Elise.wav", wav(tmp_path))])
    attachments[0]["title"] = "Für Elise"
    backend.create_message(alice.dm_channel.id, alice.id, "vocals", attachments=attachments)
    assert names(await world.result(alice.dm_channel)) == ["Für Elise – vocals.mp3"]


async def test_a_title_pings_nobody_and_has_no_markup(world: World, tmp_path: Path) -> None:
    channel = world.env.create_guild().create_text_channel("class")
    alice = world.env.guild.add_member(world.env.create_user("alice"))
    await alice.slash(
        channel,
        "separate",
        attachment=("SPOILER_@everyone **x** <@1> <t:0:R> [a](b) *c* [d](e).wav", wav(tmp_path)),
        **VOCALS,
    )
    result = await world.result(channel)
    assert result.content.startswith(f"<@{alice.id}> @everyone")
    assert not result.mention_everyone
    assert [who.id for who in result.mentions] == [alice.id]
    assert r"\*\*x\*\* \<@1> \<t:0:R> \[a](b) \*c\* \[d](e)" in result.content
    assert result.flags.suppress_embeds  # a title that is a link brings no picture of its page


async def test_a_song_from_a_phone_and_the_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.write_mixture(demo.references(), tmp_path / "mixture.wav")
    await encode([tmp_path / "mixture.wav"], tmp_path / "phone.m4a", "m4a", bitrate_kbps=192)
    options = EngineOptions(tmp_path / "models")
    async with discord_world(tmp_path, monkeypatch, options=options, target=worker.main) as world:
        channel = world.env.create_guild().create_text_channel("class")
        alice = world.env.guild.add_member(world.env.create_user("alice"))
        phone = ("Sunday_jam.m4a", (tmp_path / "phone.m4a").read_bytes())
        message = await world.post(alice, channel, phone)
        await alice.context_menu(channel, MENU, message)
        result = await world.result(channel)
        assert names(result) == [f"Sunday jam – {stem}.mp3" for stem in STEMS]
        assert "Estimated quality (dB SDR, 80 % range): vocals " in result.content
        stems = [soundfile.read(io.BytesIO(world.file(attachment)))[0] for attachment in result.attachments]
        mixture = soundfile.read(tmp_path / "mixture.wav")[0]
        samples = min(len(mixture), len(stems[0]))
        together = np.sum([stem[:samples] for stem in stems], axis=0)
        assert np.corrcoef(together.ravel(), mixture[:samples].ravel())[0, 1] > 0.9


def said(answer: Any) -> str:
    assert answer.response is not None
    assert answer.response.ephemeral
    return str(answer.response.content)

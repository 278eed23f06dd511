"""What people do on Telegram, and what they see."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
import soundfile
from telegram import Audio, Chat, Document, Message

from bot.config import LimitSettings, Settings, TelegramSettings
from bot.jobs import Place, StartError, UnreachableError, Wish
from bot.telegram.app import TelegramApp
from bot.telegram.orders import order, song_in
from spectacles_engine.audio_files import encode
from spectacles_engine.messages import STEMS
from tests.bot.telegram.server import Json, Trouble, bad, content, labels
from tests.bot.telegram.world import ANN, BOB, GROUP, World, telegram_world
from tests.fake_engine import Behaviour, wav, write_song

SLOW = Behaviour(steps=10_000, step_s=0.05)


def sound_of(world: World, message: Json) -> float:
    """How loud an uploaded file is at most; it must be audio at the song's rate."""
    samples, rate = soundfile.read(io.BytesIO(world.server.data(message)))
    assert rate == 44_100
    return float(abs(samples).max())


async def test_a_song_in_a_private_chat(world: World, tmp_path: Path) -> None:
    song = world.server.send(
        ANN, ANN, "audio", wav(tmp_path), file_name="x.wav", title="Blue", performer="The Ann", duration=1
    )
    await world.answered(ANN)
    assert world.server.names(ANN) == [f"Blue – {stem}.mp3" for stem in STEMS]
    for message, stem in zip(world.server.files(ANN), STEMS, strict=True):
        assert message["audio"]["title"] == f"Blue – {stem}"
        assert message["audio"]["performer"] == "The Ann"
        assert message["audio"]["duration"] == 1
        assert message["reply_to_message"]["message_id"] == song["message_id"]
        assert sound_of(world, message) > 0.01
    assert len({message["media_group_id"] for message in world.server.files(ANN)}) == 1
    (note,) = world.server.notes(ANN)
    assert "Estimated quality (dB SDR, 80 % range): vocals 6.0 (4.5–7.5) good" in note["text"]
    assert labels(note) == ["Vocals", "Drums", "Bass", "Other", "Karaoke", "FLAC", "Delete"]
    # the message that counted up has gone: the stems are the answer
    assert world.server.texts(ANN) == [note["text"]]
    assert "Blue: " in world.server.said[0][2]
    # a phone makes a sound when the stems are there, and not before
    asked = [parameters for _, method, parameters in world.server.calls if method == "sendMessage"]
    assert [bool(parameters.get("disable_notification")) for parameters in asked] == [True, False]
    assert [command["command"] for command in world.server.menus[""]][:2] == ["stems", "vocals"]


async def test_who_has_telegram_in_german_is_answered_in_german(world: World, tmp_path: Path) -> None:
    server = world.server
    server.languages[ANN] = "de-AT"
    assert server.menus["de"][0]["description"].startswith("Alle vier Spuren")
    assert len(server.menus["de"]) == len(server.menus[""])
    song = server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/stems Gesang")
    await world.answered(GROUP)
    (note,) = server.notes(GROUP)
    assert "Geschätzte Qualität (dB SDR, 80-%-Bereich): Gesang 6,0 (4,5–7,5) gut" in note["text"]
    assert labels(note) == ["Gesang", "Schlagzeug", "Bass", "Sonstiges", "Karaoke", "FLAC", "Löschen"]
    assert any(text.startswith("a: Platz 1 in der Warteschlange") for _, _, text in server.said)
    assert all("queue" not in text for _, _, text in server.said)
    # in a class others read it as well: each is answered in a language of their own
    assert (await server.tapped(note, BOB, "Schlagzeug")).startswith("I have it.")
    await world.answered(GROUP, 2)
    assert "Estimated quality" in server.notes(GROUP)[-1]["text"]
    server.say(GROUP, ANN, "/drums", reply=song)
    await world.answered(GROUP, 3)
    assert "Geschätzte Qualität" in server.notes(GROUP)[-1]["text"]
    assert (await server.tapped(server.notes(GROUP)[-1], ANN, "Löschen")) == "Gelöscht."
    server.send(ANN, ANN, "voice", wav(tmp_path), caption="nur Bass")
    await world.answered(ANN)
    assert server.names(ANN) == ["Sprachnachricht – bass.mp3"]
    for words in ("/stems xyzzy", "/vocals", "/queue", "/cancel", "/forget chat", "/privacy", "/start", "/help"):
        server.say(GROUP, ANN, words)
    answers = [
        *("„xyzzy“ kenne ich nicht.", "Welches Lied?", "Du hast hier kein Lied in Arbeit.", "Das kann nur ein Admin"),
        *("Lieder werden auf dem Rechner", "Ich zerlege Lieder.\nAntworte auf ein Lied mit /stems"),
    ]
    await server.until(lambda: all(any(answer in text for text in server.texts(GROUP)) for answer in answers))


def test_a_title_that_nobody_can_see_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    asked = Message(1, datetime.now(UTC), Chat(ANN, Chat.PRIVATE))
    song = Audio("f", "u", 3, performer="\u200d", title="\u200b", file_name="good name.mp3")
    ordered = order(Place("telegram", str(ANN), str(ANN)), Wish(), song, answers=asked)
    assert (ordered.title, ordered.performer) == ("good name", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("00012.MTS", "model/vnd.mts"),
        ("Sprache 003.3ga", None),
        ("Chor.qta", "application/octet-stream"),
        ("a.ts", "text/x"),
        ("Blaster.VOC", None),
        ("film.ec3", "application/octet-stream"),
        ("tape.aifc", "application/octet-stream"),
        ("old.wmv", "application/octet-stream"),
    ],
)
def test_a_recording_is_a_song_whatever_type_a_phone_gives_it(name: str, kind: str | None) -> None:
    sent = Document("f", "u", file_name=name, mime_type=kind)
    assert song_in(Message(1, datetime.now(UTC), Chat(ANN, Chat.PRIVATE), document=sent)) is sent


async def ogg(folder: Path) -> bytes:
    """A voice note as phones make them: mono is not needed, Opus in Ogg is."""
    await encode([write_song(folder / "voice.wav")], folder / "voice.ogg", "opus", bitrate_kbps=32)
    return (folder / "voice.ogg").read_bytes()


async def test_whatever_can_be_heard_is_taken_in_private(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "voice", await ogg(tmp_path), mime_type="audio/ogg", caption="/bass")
    m4a: Json = {"file_name": "My  tune.m4a", "mime_type": "audio/mp4", "caption": "/bass"}
    world.server.send(ANN, ANN, "document", wav(tmp_path, seed=4), **m4a)
    thing: Json = {"file_name": "b.WAV", "mime_type": "application/x-thing", "caption": "/bass"}
    world.server.send(ANN, ANN, "document", wav(tmp_path, seed=1), **thing)
    world.server.send(ANN, ANN, "video_note", wav(tmp_path, seed=2))  # these have no captions
    world.server.send(ANN, ANN, "video", wav(tmp_path, seed=3), caption="vocals, drums as m4a please?")
    await world.answered(ANN, 5)
    titles = {note["text"].partition(" (0:01)")[0] for note in world.server.notes(ANN)}
    assert titles == {"voice message", "My tune", "b", "video message", "video"}
    assert len(world.server.files(ANN)) == 9
    assert {name for name in world.server.names(ANN) if name.startswith("video –")} == {
        "video – vocals.m4a",
        "video – drums.m4a",
    }


async def test_what_holds_no_song_is_answered_in_private_and_passed_over_in_groups(world: World) -> None:
    for chat in (GROUP, ANN):
        world.server.say(chat, ANN, "hello?")
        world.server.send(chat, ANN, "document", b"%PDF", file_name="a.pdf", mime_type="application/pdf")
        gif = {"file_id": "G", "file_unique_id": "uG", "file_name": "a.mp4", "mime_type": "video/mp4"}
        gone = {"message_id": 1, "date": 0, "chat": {"id": chat, "type": "private"}}
        moving = gif | {"width": 3, "height": 3, "duration": 3}
        world.server._from_person(chat, ANN, {"animation": moving, "document": gif}, None)
        world.server._from_person(chat, ANN, {"pinned_message": gone}, None)
        world.server.say(chat, ANN, "/stems")
        world.server.say(chat, ANN, "/stems@AnotherBot")
    await world.server.until(lambda: len(world.server.texts(ANN)) == 5)
    assert len(world.server.texts(GROUP)) == 1
    assert world.server.texts(GROUP)[0].startswith("Which song?")
    assert sum("no audio or video" in text for text in world.server.texts(ANN)) == 2
    world.server.say(GROUP, ANN, "/start")
    await world.server.until(lambda: len(world.server.texts(GROUP)) == 2)
    assert "Reply with /stems to a song" in world.server.texts(GROUP)[1]


async def test_of_a_link_it_is_said_that_files_are_taken(world: World) -> None:
    link = "Listen: https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC"
    world.server.say(ANN, ANN, link)
    world.server.say(GROUP, ANN, "/stems", reply=world.server.say(GROUP, BOB, link))
    for chat in (ANN, GROUP):
        await world.server.until(lambda: world.server.texts(chat))  # noqa: B023
        assert world.server.texts(chat) == ["I take files, not links. Please send the song itself."]


@pytest.mark.parametrize("caption", ["/bass from https://youtu.be/x", "bass, youtu.be/x", "/bass (www.example.org)"])
async def test_a_link_beside_the_song_itself_is_passed_over(world: World, tmp_path: Path, caption: str) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", caption=caption)
    await world.answered(ANN)
    assert world.server.names(ANN) == ["a – bass.mp3"]


async def test_words_beside_a_forwarded_song_are_of_whoever_wrote_them(world: World, tmp_path: Path) -> None:
    song = world.server.send(GROUP, BOB, "audio", wav(tmp_path), file_name="a.wav", caption="Instrumental")
    world.server.forward(ANN, ANN, song)
    await world.answered(ANN)
    assert len(world.server.names(ANN)) == 4


async def test_what_the_bot_says_is_no_song(world: World) -> None:
    world.server.say(ANN, ANN, "/help")
    await more_than(world, 0)
    world.server.say(ANN, ANN, "/vocals", reply=world.server.seen(ANN)[0])
    await more_than(world, 1)
    assert world.server.texts(ANN)[1].startswith("Which song?")


async def more_than(world: World, number: int) -> None:
    await world.server.until(lambda: len(world.server.texts(ANN)) > number)


async def test_plain_commands(world: World) -> None:
    for command, word in (
        ("/start", "Hello"),
        ("/help", "/stems"),
        ("/privacy", "24 hours"),
        ("/queue", "no song in progress"),
        ("/cancel", "no song in progress"),
        ("/forget", "nothing stored"),
    ):
        number = len(world.server.texts(ANN))
        asked = world.server.say(ANN, ANN, command)
        await more_than(world, number)
        answer = world.server.seen(ANN)[-1]
        assert word in answer["text"]
        assert answer["reply_to_message"]["message_id"] == asked["message_id"]


async def test_in_a_group_only_what_is_asked_for(world: World, tmp_path: Path) -> None:
    song = world.server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="vocals")
    world.server.send(
        GROUP, ANN, "audio", wav(tmp_path, seed=1), file_name="b.wav", caption="/stems@spectaclesbot bass flac"
    )
    await world.answered(GROUP)
    assert world.server.names(GROUP) == ["b – bass.flac"]
    assert world.server.notes(GROUP)[0]["text"].endswith("80 % range): bass 6.0 (4.5–7.5) good.")
    assert "document" in world.server.files(GROUP)[0]
    asked = world.server.say(GROUP, BOB, "/stems vocals drums", reply=song)
    await world.answered(GROUP, 2)
    assert world.server.names(GROUP)[1:] == ["a – vocals.mp3", "a – drums.mp3"]
    assert world.server.files(GROUP)[1]["reply_to_message"]["message_id"] == asked["message_id"]
    assert world.server.count("sendChatAction") == 0  # each would be one of the 20 messages of a minute


async def test_in_a_topic_all_is_said_there(world: World, tmp_path: Path) -> None:
    topic = world.server.open_topic(GROUP, BOB)
    asked = world.server.say(GROUP, ANN, "/stems", topic=topic)
    await world.server.until(lambda: world.server.texts(GROUP))
    (answer,) = world.server.seen(GROUP)
    assert answer["text"].startswith("Which song?")
    assert answer["reply_to_message"]["message_id"] == asked["message_id"]
    song = world.server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/stems bass", topic=topic)
    await world.answered(GROUP)
    assert world.server.names(GROUP) == ["a – bass.mp3"]
    for message in world.server.seen(GROUP)[1:]:
        assert message["reply_to_message"]["message_id"] == song["message_id"]
    assert {message["message_thread_id"] for message in world.server.seen(GROUP)} == {topic["message_id"]}


async def test_what_is_asked_later_needs_no_engine_and_no_second_upload(world: World, tmp_path: Path) -> None:
    song = world.server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/stems")
    await world.answered(GROUP)
    (note,) = world.server.notes(GROUP)
    uploads = len(world.server.uploads)
    # as a reply to the song, to our stems, and to the note; by a button, by somebody else
    world.server.say(GROUP, BOB, "/vocals", reply=song)
    await world.answered(GROUP, 2)
    world.server.say(GROUP, BOB, "/drums", reply=world.server.files(GROUP)[0])
    await world.answered(GROUP, 3)
    world.server.say(GROUP, BOB, "/stems", reply=note)
    await world.answered(GROUP, 4)
    assert world.server.names(GROUP)[4:] == ["a – vocals.mp3", "a – drums.mp3", *(f"a – {stem}.mp3" for stem in STEMS)]
    assert len(world.server.uploads) == uploads
    assert "stems come here" in await world.server.tapped(note, BOB, "Bass")
    await world.answered(GROUP, 5)
    assert len(world.server.uploads) == uploads
    assert "stems come here" in await world.server.tapped(note, BOB, "Karaoke")
    await world.answered(GROUP, 6)
    assert world.server.names(GROUP)[10:] == ["a – bass.mp3", "a – karaoke.mp3"]
    assert world.server.notes(GROUP)[5]["text"].endswith("80 % range): karaoke 6.0 (4.5–7.5) good.")
    assert world.server.files(GROUP)[-1]["reply_to_message"]["message_id"] == note["message_id"]
    karaoke = content(world.server.files(GROUP)[-1])
    assert world.server.uploads[uploads:] == [{"a – karaoke.mp3": karaoke["file_size"]}]
    await world.server.tapped(note, ANN, "FLAC")
    await world.answered(GROUP, 7)
    assert world.server.names(GROUP)[12:] == [f"a – {stem}.flac" for stem in STEMS]
    # the same sound from somebody else, somewhere else
    world.server.send(BOB, BOB, "voice", wav(tmp_path))
    await world.answered(BOB)
    assert world.separations == 1


async def test_stems_are_not_separated_once_more(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/vocals")
    await world.answered(ANN)
    (stem,) = world.server.files(ANN)
    forwarded = world.server.forward(GROUP, ANN, stem)
    world.server.say(GROUP, BOB, "/stems", reply=forwarded)
    await world.server.until(lambda: world.server.texts(GROUP))
    assert "stems already" in world.server.texts(GROUP)[0]
    world.server.forward(BOB, BOB, stem)
    await world.server.until(lambda: world.server.texts(BOB))
    assert "stems already" in world.server.texts(BOB)[0]


async def test_a_song_of_another_chat_is_taken_where_it_is_quoted(world: World, tmp_path: Path) -> None:
    def quote(song: Json) -> None:
        origin = {"type": "user", "date": song["date"], "sender_user": song["from"]}
        body = {"text": "/vocals", "external_reply": {"origin": origin, "audio": content(song)}}
        world.server._from_person(GROUP, ANN, body, None)

    quote(world.server.send(BOB, BOB, "audio", wav(tmp_path), file_name="a.wav", caption="/bass"))
    await world.answered(GROUP)
    assert world.server.names(GROUP) == ["a – vocals.mp3"]
    await world.answered(BOB)
    quote(world.server.files(BOB)[0])
    await world.server.until(lambda: any("stems already" in text for text in world.server.texts(GROUP)))


async def test_another_persons_taps(world: World, tmp_path: Path) -> None:
    world.server.send(GROUP, ANN, "audio", wav(tmp_path, SLOW), file_name="a.wav", caption="/stems")
    await world.server.until(lambda: any("%" in text for text in world.server.texts(GROUP)))
    (status,) = world.server.seen(GROUP)
    assert "Only the person who asked" in await world.server.tapped(status, BOB, "Cancel")
    assert "Cancelled: a" in await world.server.tapped(status, ANN, "Cancel")
    await world.quiet()
    assert world.server.texts(GROUP) == ["a: cancelled."]
    world.server.send(GROUP, ANN, "audio", wav(tmp_path, seed=1), file_name="b.wav", caption="/vocals")
    await world.answered(GROUP)
    (note,) = world.server.notes(GROUP)
    assert "Only the person who asked" in await world.server.tapped(note, BOB, "Delete")
    world.server.say(BOB, BOB, "hello")
    for label in ("Vocals", "Delete"):
        assert "no longer stored" in await world.server.tapped(note, BOB, label, chat=BOB)
    assert world.server.names(GROUP) == ["b – vocals.mp3"]
    assert "Deleted" in await world.server.tapped(note, ANN, "Delete")
    answers = [said for _, method, said in world.server.calls if method == "answerCallbackQuery"]
    # what is not done is not to be overlooked
    assert [bool(said.get("show_alert")) for said in answers] == [True, False, True, True, True, False]
    assert world.server.files(GROUP) == world.server.notes(GROUP) == []
    assert not list(world.settings.data_folder.rglob("*.flac"))
    assert "no longer stored" in await world.server.tapped(note, ANN, "Drums")
    assert "deleted by hand" in await world.server.tapped(note, ANN, "Delete")


@pytest.mark.parametrize("words", ["/stem@SpecTaclesBot", "/separate@spectaclesbot vocals"])
async def test_in_a_group_a_command_that_there_is_not_gets_help_if_it_names_the_bot(world: World, words: str) -> None:
    world.server.say(GROUP, ANN, words.split("@")[0])
    world.server.say(GROUP, ANN, words)
    await world.server.until(lambda: world.server.texts(GROUP))
    (text,) = world.server.texts(GROUP)
    assert "/stems" in text


async def test_cancel_while_waiting_and_while_running(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path, SLOW), file_name="running.wav")
    await world.server.until(lambda: any("%" in text for text in world.server.texts(ANN)))
    world.server.send(BOB, BOB, "audio", wav(tmp_path, SLOW, seed=1), file_name="waiting.wav")
    world.server.send(BOB, BOB, "audio", wav(tmp_path, SLOW, seed=2), file_name="also.wav")
    await world.server.until(lambda: sum("place " in text for text in world.server.texts(BOB)) == 2)
    world.server.say(BOB, BOB, "/queue")
    await world.server.until(lambda: len(world.server.texts(BOB)) == 3)
    assert world.server.texts(BOB)[-1].count("place ") == 2
    # in reply to a status message it ends that one alone
    status = next(message for message in world.server.seen(BOB) if message["text"].startswith("also"))
    world.server.say(BOB, BOB, "/cancel", reply=status)
    await world.server.until(lambda: "also: cancelled." in world.server.texts(BOB))
    assert any(text.startswith("waiting: place 1") for text in world.server.texts(BOB))
    world.server.say(BOB, BOB, "/cancel")
    await world.server.until(lambda: "waiting: cancelled." in world.server.texts(BOB))
    world.server.say(ANN, ANN, "/cancel")
    await world.server.until(lambda: "running: cancelled." in world.server.texts(ANN))
    await world.quiet()
    assert all(not labels(message) for message in world.server.seen(ANN) + world.server.seen(BOB))


async def test_in_reply_to_a_song_ones_own_wishes_of_it_are_cancelled(world: World, tmp_path: Path) -> None:
    server = world.server
    first = server.send(GROUP, BOB, "audio", wav(tmp_path, SLOW), file_name="first.wav", caption="/drums")
    other = server.send(GROUP, BOB, "audio", wav(tmp_path, SLOW, seed=1), file_name="other.wav")
    for song, command in ((first, "/vocals"), (first, "/bass"), (other, "/vocals")):
        server.say(GROUP, ANN, command, reply=song)
    await server.until(lambda: len(world.store.unfinished()) == 4)
    server.say(GROUP, ANN, "/cancel", reply=first)
    await server.until(lambda: "Cancelled: first, first." in server.texts(GROUP))
    left = {(job.order.place.person, job.order.title) for job in world.store.unfinished()}
    assert left == {(str(BOB), "first"), (str(ANN), "other")}
    server.say(GROUP, ANN, "/cancel", reply=first)
    await server.until(lambda: "Only the person who asked for this can do that." in server.texts(GROUP))
    assert len(world.store.unfinished()) == 2


async def test_what_is_done_is_past_cancelling(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/vocals")
    await world.answered(ANN)
    world.server.send(ANN, ANN, "audio", wav(tmp_path, SLOW, seed=1), file_name="b.wav")
    await world.server.until(lambda: any("%" in text for text in world.server.texts(ANN)))
    (note,) = world.server.notes(ANN)
    world.server.say(ANN, ANN, "/cancel", reply=note)
    await world.server.until(lambda: "There is nothing left to cancel. a: done." in world.server.texts(ANN))
    assert len(world.store.unfinished()) == 1


async def test_an_admin_may_have_a_group_forgotten(world: World, tmp_path: Path) -> None:
    world.server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/bass")
    await world.answered(GROUP)
    world.server.say(GROUP, BOB, "/forget chat")
    await world.server.until(lambda: any("Only an admin" in text for text in world.server.texts(GROUP)))
    assert list(world.settings.data_folder.rglob("*.flac"))
    world.server.admins.add(BOB)
    world.server.say(GROUP, BOB, "/forget chat!")
    await world.server.until(lambda: any("Deleted: 1 song" in text for text in world.server.texts(GROUP)))
    assert not list(world.settings.data_folder.rglob("*.flac"))


async def test_where_telegram_tells_no_admins_it_is_said(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.send(GROUP, GROUP, "audio", wav(tmp_path), file_name="a.wav", caption="/bass")
    await world.answered(GROUP)
    world.server.forgiven.append("member list is inaccessible")
    world.server.troubles.append(Trouble("getChatAdministrators", 2, bad("member list is inaccessible")))
    assert "does not tell me who is an admin" in await world.server.tapped(world.server.notes(GROUP)[0], ANN, "Delete")
    world.server.say(GROUP, ANN, "/forget chat")
    await world.server.until(lambda: any("does not tell me" in text for text in world.server.texts(GROUP)))
    assert "an update failed" not in caplog.text


async def test_who_asked_in_the_name_of_a_group_taps_in_their_own(world: World, tmp_path: Path) -> None:
    world.server.admins.add(BOB)
    world.server.send(GROUP, GROUP, "audio", wav(tmp_path, SLOW), file_name="a.wav", caption="/bass")
    await world.server.until(lambda: any("%" in text for text in world.server.texts(GROUP)))
    (shown,) = world.server.seen(GROUP)
    assert "Only the person" in await world.server.tapped(shown, ANN, "Cancel")
    assert await world.server.tapped(shown, BOB, "Cancel") == "Cancelled: a."
    await world.quiet()
    assert world.server.texts(GROUP) == ["a: cancelled."]


async def test_forget(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav")
    await world.answered(ANN)
    world.server.send(ANN, ANN, "audio", wav(tmp_path, SLOW, seed=1), file_name="b.wav")
    await world.server.until(lambda: any("%" in text for text in world.server.texts(ANN)))
    world.server.say(ANN, ANN, "/forget")
    await world.server.until(lambda: any("Deleted: 2 songs" in text for text in world.server.texts(ANN)))
    await world.server.until(lambda: "b: cancelled." in world.server.texts(ANN))
    assert not list(world.settings.data_folder.rglob("*.flac"))
    number = len(world.server.texts(ANN))
    world.server.say(ANN, ANN, "/vocals", reply=world.server.files(ANN)[0])
    await world.server.until(lambda: len(world.server.texts(ANN)) > number)
    assert "no longer stored" in world.server.texts(ANN)[-1]


async def test_too_large_is_refused_before_it_is_fetched(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", size=(20 << 20) + 1)
    await world.server.until(lambda: world.server.texts(ANN))
    assert "up to 20 MB" in world.server.texts(ANN)[0]
    assert "MP3" in world.server.texts(ANN)[0]
    await world.quiet()
    assert world.server.count("getFile") == 0


@pytest.mark.parametrize(
    "captions", [("/vocals", "", ""), ("", "", "/vocals"), ("a song", "", "/vocals"), ("/vocals", "👍", "thanks")]
)
@pytest.mark.parametrize("chat", [ANN, GROUP])
async def test_an_album_of_songs_is_one_job_each(
    world: World, tmp_path: Path, chat: int, captions: tuple[str, ...]
) -> None:
    for seed, caption in enumerate(captions):
        words: Json = {"caption": caption} if caption else {}
        data = wav(tmp_path, seed=seed)
        world.server.send(chat, ANN, "audio", data, file_name=f"{seed}.wav", media_group_id="7", **words)
    await world.answered(chat, 3)
    assert sorted(world.server.names(chat)) == [f"{seed} – vocals.mp3" for seed in range(3)]
    assert [job.order.title for job in world.store.of_chat("telegram", str(chat))] == ["0", "1", "2"]


def picture(world: World, chat: int, album: str, **more: str) -> None:
    photo = [{"file_id": "P", "file_unique_id": "uP", "width": 3, "height": 3}]
    world.server._from_person(chat, ANN, {"photo": photo, "media_group_id": album} | more, None)


@pytest.mark.parametrize("chat", [ANN, GROUP])
async def test_the_words_beside_an_album_may_come_with_a_picture(world: World, tmp_path: Path, chat: int) -> None:
    picture(world, chat, "7", caption="/vocals")
    world.server.send(chat, ANN, "video", wav(tmp_path), media_group_id="7")
    await world.answered(chat)
    assert world.server.names(chat) == ["video – vocals.mp3"]
    assert not any("Which song?" in text for _, _, text in world.server.said)


async def test_a_link_beside_an_album_with_a_song_is_no_wish(world: World, tmp_path: Path) -> None:
    picture(world, ANN, "7", caption="more at https://band.example/x")
    world.server.send(ANN, ANN, "video", wav(tmp_path), media_group_id="7")
    await world.answered(ANN)
    assert len(world.server.names(ANN)) == 4
    assert not any("not links" in text for _, _, text in world.server.said)


async def test_of_an_album_of_pictures_it_is_said_once_that_there_is_no_sound(world: World, tmp_path: Path) -> None:
    for album in ("7", "8"):
        for _ in range(3):
            picture(world, ANN, album)
    world.server.send(ANN, ANN, "video", wav(tmp_path), media_group_id="8", caption="bass")
    await world.answered(ANN)
    assert sum("no audio or video" in text for _, _, text in world.server.said) == 1


@pytest.mark.parametrize("before", ["my song", "/stems trumpets"])
async def test_a_command_that_is_put_right_is_heard_once(world: World, tmp_path: Path, before: str) -> None:
    song = world.server.send(GROUP, ANN, "audio", wav(tmp_path), file_name="a.wav", caption=before)
    await world.server.until(lambda: "trumpets" not in before or world.server.texts(GROUP))
    world.server.edit(song, caption="a better song")
    world.server.edit(song, date=song["date"] - 1800, caption="/vocals")  # half an hour after it was sent
    await world.answered(GROUP)
    world.server.edit(song, caption="/vocals, please")
    world.server.edit(song, caption="/drums")
    world.server.say(GROUP, ANN, "/queue")
    await world.server.until(lambda: any("no song" in text for text in world.server.texts(GROUP)))
    assert world.server.names(GROUP) == ["a – vocals.mp3"]


async def test_of_a_song_that_was_replaced_by_editing_the_new_one_is_meant(world: World, tmp_path: Path) -> None:
    song = world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="old.wav", caption="/vocals")
    await world.answered(ANN)
    world.server.edit(song, audio=world.server._keep(wav(tmp_path, seed=1), "new.wav", "audio", 0) | {"duration": 3})
    world.server.say(ANN, ANN, "/bass", reply=song)
    await world.answered(ANN, 2)
    # who replies to stems, or to the note, means the song that they are of
    world.server.say(ANN, ANN, "/drums", reply=world.server.files(ANN)[0])
    await world.answered(ANN, 3)
    assert world.server.names(ANN) == ["old – vocals.mp3", "new – bass.mp3", "old – drums.mp3"]


async def test_a_message_of_long_ago_is_not_heard_again(world: World, tmp_path: Path) -> None:
    song = world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/vocals")
    await world.answered(ANN)
    world.server.say(ANN, ANN, "/forget")
    await world.server.until(lambda: any("Deleted: 1 song" in text for text in world.server.texts(ANN)))
    world.server.edit(song, date=song["date"] - 7200, caption="/drums")
    world.server.say(ANN, ANN, "/queue")
    await world.server.until(lambda: any("no song in progress" in text for text in world.server.texts(ANN)))
    assert world.separations == 1


async def test_a_title_that_is_a_link_brings_no_picture_of_its_page(world: World, tmp_path: Path) -> None:
    world.server.send(ANN, ANN, "audio", wav(tmp_path), title="example.org", caption="/vocals")
    await world.answered(ANN)
    said = [said for _, method, said in world.server.calls if method in ("sendMessage", "editMessageText")]
    assert any("example.org" in parameters["text"] for parameters in said)
    assert all(parameters.get("link_preview_options") == {"is_disabled": True} for parameters in said)


async def test_what_is_no_audio_gets_a_sentence(world: World) -> None:
    world.server.send(ANN, ANN, "audio", b"#EXTM3U\nhttp://127.0.0.1/secret\n", file_name="list.mp3")
    await world.server.until(lambda: world.server.texts(ANN) == ["list: Not an audio file."])
    await world.quiet()


async def test_only_listed_chats_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telegram = TelegramSettings(allowed_chats=(ANN,))
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world:
        world.server.send(BOB, BOB, "audio", wav(tmp_path), file_name="a.wav")
        await world.server.until(lambda: world.server.texts(BOB))
        assert "not on the list" in world.server.texts(BOB)[0]
        world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/vocals")
        await world.answered(ANN)


async def test_a_listed_group_stays_listed_when_it_becomes_a_supergroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    telegram = TelegramSettings(allowed_chats=(-5,))
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world:
        world.server.say(-5, ANN, "hello")
        world.server.upgrade(-5, ANN, -1005)
        world.server.send(-1005, ANN, "audio", wav(tmp_path), file_name="a.wav", caption="/vocals")
        await world.answered(-1005)
    assert "chat -5 is -1005 now" in caplog.text


async def test_a_local_bot_api_server_has_no_such_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telegram = TelegramSettings(local_mode=True)
    monkeypatch.setattr("bot.telegram.courier._MOST_BYTES", 10_000)
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world:
        world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", size=30_000_000, caption="/stems wav")
        await world.answered(ANN)
        assert world.server.names(ANN) == [f"a – {stem}.wav" for stem in STEMS]
        assert all(sound_of(world, message) > 0.01 for message in world.server.files(ANN))


async def test_files_too_large_go_down_the_ladder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.courier._MOST_BYTES", 60_000)
    world.server.send(ANN, ANN, "audio", wav(tmp_path, seconds=2), file_name="a.wav", caption="/stems vocals bass")
    await world.answered(ANN)
    assert world.server.names(ANN) == ["a – vocals.mp3", "a – bass.mp3"]
    assert all(message["audio"]["file_size"] < 60_000 for message in world.server.files(ANN))
    assert "Sent as MP3 at 192 kbit/s" in world.server.notes(ANN)[0]["text"]


async def test_a_wrong_token_is_one_sentence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "987654321:AAwrongwrongwrongwrongwrongwrongwro")
    app = TelegramApp(Settings(data_dir=world.settings.data_dir), world.service)
    with pytest.raises(StartError, match="does not know the token"):
        await app.start()
    await app.stop()
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", "http://127.0.0.1:9")
    app = TelegramApp(Settings(data_dir=world.settings.data_dir), world.service)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await app.start()
    await app.stop()


async def test_a_song_that_is_too_long_is_refused_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telegram_world(tmp_path, monkeypatch, limits=LimitSettings(longest_song_minutes=1)) as world:
        world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav", duration=61)
        await world.server.until(lambda: world.server.texts(ANN))
        assert "too long" in world.server.texts(ANN)[0]
        assert world.server.count("getFile") == 0


async def test_a_song_above_the_operators_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with telegram_world(tmp_path, monkeypatch, limits=LimitSettings(largest_file_mb=0.1)) as world:
        world.server.send(ANN, ANN, "audio", wav(tmp_path), file_name="a.wav")
        await world.server.until(lambda: world.server.texts(ANN))
        assert "up to 0.1 MB" in world.server.texts(ANN)[0]
        assert world.server.count("getFile") == 0

"""Telegram's bad days, ours, and the real engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from telegram import Bot, Chat, Message, User
from telegram.error import BadRequest, NetworkError, RetryAfter
from telegram.request import HTTPXRequest

from bot.telegram import http as telegram_http
from bot.telegram.chats import Chats
from bot.telegram.http import insist
from spectacles_engine import worker
from spectacles_engine.audio_files import encode
from spectacles_engine.messages import STEMS, EngineOptions
from tests.bot.telegram.server import Json, Refusal, TelegramServer, Trouble, bad, content, telegram_server
from tests.bot.telegram.world import ANN, BOB, GROUP, PAIR, PROBES, World, telegram_world
from tests.fake_engine import Behaviour, write_song
from tests.service_fakes import eventually, outages_are_short

OLD, NEW = -5, -1005
"""A group, and the supergroup that it becomes."""


def send(world: World, folder: Path, behaviour: Behaviour = Behaviour(), *, chat: int = ANN, seed: int = 0) -> None:  # noqa: B008
    song = write_song(folder / f"{seed}.wav", behaviour, seed=seed)
    world.server.send(
        chat, chat, "audio", song.read_bytes(), file_name=f"{'abc'[seed]}.wav", caption="/stems vocals bass"
    )


async def comes_once(world: World, chat: int) -> None:
    """Waits for the stems that ``send`` asked for, and their note."""
    await world.answered(chat)
    assert world.server.names(chat) == PAIR
    assert len(world.server.notes(chat)) == 1


def too_many(seconds: int = 1) -> Refusal:
    return Refusal(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


async def test_rate_limits_are_waited_for(world: World, tmp_path: Path) -> None:
    for method in ("sendMessage", "sendMediaGroup", "getFile", "deleteMessages"):
        world.server.troubles.append(Trouble(method, refusal=too_many()))
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    assert len(world.server.seen(ANN)) == 3


@pytest.mark.parametrize("is_said", [True, False])
@pytest.mark.parametrize("in_its_name", [True, False])
async def test_jobs_follow_a_group_that_becomes_a_supergroup(
    world: World, tmp_path: Path, is_said: bool, in_its_name: bool
) -> None:
    song = write_song(tmp_path / "a.wav", Behaviour(steps=20, step_s=0.1)).read_bytes()
    asks = OLD if in_its_name else ANN
    world.server.send(OLD, asks, "audio", song, file_name="a.wav", caption="/stems vocals bass")
    await world.server.until(lambda: any("separating" in text for text in world.server.texts(OLD)))
    world.server.upgrade(OLD, ANN, NEW, is_said=is_said)
    # it counts up where the group is now
    await world.server.until(lambda: any("separating" in text for text in world.server.texts(NEW)))
    world.server.say(NEW, NEW if in_its_name else ANN, "/queue")
    await world.answered(NEW)
    assert world.server.names(NEW) == PAIR
    queue, note = world.server.texts(NEW)
    assert queue.startswith("a: separating")
    assert note.startswith("a (")
    await world.server.tapped(world.server.notes(NEW)[0], ANN, "Drums")
    await world.answered(NEW, 2)
    assert world.server.names(NEW) == [*PAIR, "a – drums.mp3"]


@pytest.mark.parametrize(("is_said", "restarts"), [(True, False), (False, False), (True, True)])
async def test_buttons_from_before_a_group_moved_work(
    world: World, tmp_path: Path, is_said: bool, restarts: bool
) -> None:
    send(world, tmp_path, chat=OLD)
    await world.answered(OLD)
    world.server.upgrade(OLD, ANN, NEW, is_said=is_said)
    if restarts:
        await eventually(lambda: bool(world.store.of_chat("telegram", str(NEW))))
        await world.restart()
    await world.server.tapped(world.server.notes(OLD)[0], ANN, "Drums")
    await world.answered(NEW)
    await world.server.tapped(world.server.notes(NEW)[0], ANN, "Bass")
    await world.answered(NEW, 2)
    assert world.server.names(NEW) == ["a – drums.mp3", "a – bass.mp3"]
    # the messages that counted up are gone
    assert len(world.server.texts(NEW)) == 2


async def test_what_was_done_before_a_group_moved_is_forgotten_where_it_is_now(world: World, tmp_path: Path) -> None:
    for seed, person in enumerate((BOB, OLD)):
        song = write_song(tmp_path / f"{seed}.wav", seed=seed)
        world.server.send(OLD, person, "audio", song.read_bytes(), file_name="a.wav", caption="/bass")
    await world.answered(OLD, 2)
    world.server.admins.add(ANN)
    world.server.upgrade(OLD, ANN, NEW)
    # in the group's name, and of the whole group
    for person, words in ((NEW, "/forget"), (ANN, "/forget chat")):
        known = len(world.server.texts(NEW))
        world.server.say(NEW, person, words)
        await world.server.until(lambda: len(world.server.texts(NEW)) > known)  # noqa: B023
    assert [text.partition(",")[0] for text in world.server.texts(NEW)] == ["Deleted: 1 song", "Deleted: 1 song"]
    assert not list(world.settings.data_folder.rglob("*.flac"))


async def test_a_song_that_comes_while_its_group_moves(world: World, tmp_path: Path) -> None:
    world.server.troubles.append(Trouble("getFile", refusal=too_many()))
    send(world, tmp_path, chat=OLD)
    await world.server.until(lambda: world.server.count("getFile"))
    world.server.upgrade(OLD, ANN, NEW)
    await world.answered(NEW)
    assert world.server.names(NEW) == PAIR
    assert world.store.of_chat("telegram", str(OLD)) == []


async def test_stems_whose_answer_was_lost_as_their_group_moved_come_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = TelegramServer._editMessageText

    def edit_text(self: TelegramServer, parameters: Json, files: Json) -> Any:
        edited = edit(self, parameters, files)
        if "on their way" in parameters["text"]:
            self.upgrade(OLD, ANN, NEW, is_said=False)
        return edited

    monkeypatch.setattr(TelegramServer, "_editMessageText", edit_text)
    # to the old group, and to the new one
    world.server.troubles.append(Trouble("sendMediaGroup", 2, is_done=True))
    world.server.forgiven += PROBES
    send(world, tmp_path, chat=OLD)
    await comes_once(world, NEW)


async def test_why_it_failed_is_said_where_a_group_has_moved(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.courier._MOST_BYTES", 1000)
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1), chat=OLD)
    await world.server.until(lambda: any("separating" in text for text in world.server.texts(OLD)))
    world.server.upgrade(OLD, ANN, NEW, is_said=False)
    await world.quiet()
    (text,) = world.server.texts(NEW)
    assert "too large for this chat" in text


async def test_a_chat_that_must_wait_holds_back_no_other(world: World, tmp_path: Path) -> None:
    world.server.troubles.append(Trouble("sendMessage", refusal=too_many(600)))
    world.server.say(BOB, BOB, "/help")
    await world.server.until(lambda: world.server.count("sendMessage") == 1)
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.texts(BOB) == []


async def is_known(world: World) -> None:
    """Of a chat that the bot has written to before, it can tell which of its messages came since."""
    world.server.say(ANN, ANN, "/queue")
    await world.server.until(lambda: world.server.texts(ANN))


@pytest.mark.parametrize("is_done", [False, True])
async def test_dropped_connections_lose_nothing_and_say_nothing_twice(
    world: World, tmp_path: Path, is_done: bool
) -> None:
    world.server.forgiven += PROBES
    await is_known(world)
    for method in ("sendMessage", "sendMediaGroup", "getFile", "deleteMessages", "getUpdates"):
        world.server.troubles.append(Trouble(method, is_done=is_done))
    world.server.troubles.append(Trouble("file"))
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    assert len(world.server.seen(ANN)) == 4


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_text_whose_answers_were_lost_again_and_again_is_there_once(
    world: World, tmp_path: Path, times: int
) -> None:
    world.server.forgiven += PROBES
    await is_known(world)
    world.server.troubles.append(Trouble("sendMessage", times, is_done=True))
    send(world, tmp_path)
    await world.answered(ANN)
    # the queue, two files and the note: of those that counted up, none is left
    await world.server.until(lambda: len(world.server.seen(ANN)) == 4)


async def test_a_note_whose_answer_was_lost_comes_once(world: World, tmp_path: Path) -> None:
    world.server.forgiven += PROBES
    send(world, tmp_path)
    await world.server.until(lambda: world.server.count("sendMediaGroup") == 0 and world.server.said)
    world.server.troubles.append(Trouble("sendMessage", is_done=True))
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    assert len(world.server.notes(ANN)) == 1


async def test_a_note_comes_once_although_its_stems_cannot_be_looked_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages_are_short(world.service, monkeypatch)
    world.server.forgiven += PROBES
    world.server.troubles.append(Trouble("sendMediaGroup", is_done=True))
    # more often than it is tried at once
    world.server.troubles.append(Trouble("editMessageCaption", 6, Refusal(502, "Bad Gateway")))
    send(world, tmp_path)
    await comes_once(world, ANN)
    assert world.server.count("editMessageCaption") > 6


async def test_a_message_is_known_although_its_double_cannot_be_looked_for(world: World, tmp_path: Path) -> None:
    world.server.forgiven.append("not just now")
    await is_known(world)
    world.server.troubles.append(Trouble("sendMessage", is_done=True))
    world.server.troubles.append(Trouble("editMessageCaption", 99, Refusal(403, "Forbidden: not just now")))
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    # of both messages that counted up, the known one is gone
    assert len(world.server.seen(ANN)) == 5


async def test_an_outage_is_waited_for(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outages_are_short(world.service, monkeypatch)
    world.server.forgiven += PROBES
    for method, times in (("getFile", 9), ("file", 5), ("sendMediaGroup", 5)):
        world.server.troubles.append(Trouble(method, times, Refusal(502, "Bad Gateway")))
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    assert len(world.server.seen(ANN)) == 3


FLOODS = [
    'failed to send message #1 with the error message "Too Many Requests: retry after 1"',
    "group send failed",
    "Too Many Requests: retry after 1",
]
"""What Telegram says where it takes no more files just now."""


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("times", [1, 6])
async def test_a_flood_that_telegram_calls_a_bad_request_is_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flood: str, times: int
) -> None:
    outages_are_short(world.service, monkeypatch)
    world.server.forgiven += [flood, *PROBES]
    world.server.troubles.append(Trouble("sendMediaGroup", times, bad(flood)))
    send(world, tmp_path)
    await comes_once(world, ANN)


async def test_a_page_in_place_of_an_answer_is_an_outage(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request, methods = HTTPXRequest.do_request, ["sendMessage", "getFile", "sendMediaGroup"]

    async def do_request(self: HTTPXRequest, url: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        answer = await request(self, url, *args, **kwargs)
        if (method := url.rpartition("/")[2]) in methods:
            methods.remove(method)
            return 200, b"<html>back soon</html>"
        return answer

    monkeypatch.setattr(HTTPXRequest, "do_request", do_request)
    world.server.forgiven += PROBES
    send(world, tmp_path)
    await comes_once(world, ANN)
    assert not methods
    assert "Traceback" not in caplog.text


async def test_a_flood_is_waited_for_as_long_as_telegram_says_and_no_shorter_than_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    answers: list[Exception | str] = [BadRequest(f"Too Many Requests: retry after {wait}") for wait in (2, 40)]
    answers.append("sent")

    async def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr(telegram_http, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(telegram_http, "PAUSES_S", (10.0, 10.0))
    assert await insist(call) == "sent"
    assert waits == [10.0, 40.0]


async def test_of_an_album_that_came_in_part_nothing_stays_twice(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album, floods = TelegramServer._sendMediaGroup, [FLOODS[0]]

    def send_album(self: TelegramServer, parameters: Json, files: Any) -> list[Json]:
        if floods:
            self._post_files(parameters, parameters["media"][1:], files)
            raise bad(floods.pop())
        return album(self, parameters, files)

    monkeypatch.setattr(TelegramServer, "_sendMediaGroup", send_album)
    world.server.forgiven += [FLOODS[0], *PROBES]
    send(world, tmp_path)
    await comes_once(world, ANN)


@pytest.mark.parametrize(("chat", "sentence"), [(ANN, "could not send them"), (GROUP, "Ask an admin")])
async def test_files_that_a_chat_does_not_take(world: World, tmp_path: Path, chat: int, sentence: str) -> None:
    world.server.forgiven.append("not just so")
    world.server.troubles.append(Trouble("sendMediaGroup", refusal=bad("not just so")))
    send(world, tmp_path, chat=chat)
    await world.server.until(lambda: any(sentence in text for text in world.server.texts(chat)))


@pytest.mark.parametrize("waits", [False, True])
async def test_what_has_not_come_to_telegram_is_sent_later_and_not_looked_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    outages_are_short(world.service, monkeypatch)
    request, drops = HTTPXRequest.do_request, [] if waits else [httpx.ConnectError("no route")] * 6

    async def do_request(self: HTTPXRequest, url: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        if drops and url.endswith("sendMediaGroup"):
            raise NetworkError("no route") from drops.pop()
        return await request(self, url, *args, **kwargs)

    monkeypatch.setattr(HTTPXRequest, "do_request", do_request)
    if waits:
        world.server.troubles.append(Trouble("sendMediaGroup", refusal=too_many(1000)))
    send(world, tmp_path)
    await world.answered(ANN)
    assert not drops
    assert world.server.names(ANN) == PAIR
    assert world.server.count("sendMessage") == 2  # the status and the note


async def test_stems_that_came_without_their_note_are_no_failure(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    album = TelegramServer._sendMediaGroup

    def send_album(self: TelegramServer, *args: Any) -> list[Json]:
        self.troubles.append(Trouble("sendMessage", times=5, refusal=Refusal(502, "Bad Gateway")))
        return album(self, *args)

    monkeypatch.setattr(TelegramServer, "_sendMediaGroup", send_album)
    send(world, tmp_path)
    await world.server.until(lambda: world.server.files(ANN))
    await world.quiet()
    assert world.server.names(ANN) == PAIR
    assert world.server.texts(ANN) == []


async def test_who_blocks_the_bot_is_left_alone(world: World, tmp_path: Path) -> None:
    world.server.forgiven += ["bot was blocked"]
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1))
    await world.server.until(lambda: world.server.texts(ANN))
    world.server.blocked.add(ANN)
    await world.quiet()
    assert world.server.files(ANN) == []
    send(world, tmp_path, chat=BOB, seed=1)
    await world.answered(BOB)


async def test_where_nothing_can_be_shown_it_is_not_tried_all_the_time(world: World, tmp_path: Path) -> None:
    world.server.forgiven += ["bot was blocked"]
    world.server.blocked.add(ANN)
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1))
    await world.server.until(lambda: world.separations)
    await world.quiet()
    # its first word, and its last one
    assert world.server.count("sendMessage") == 2


async def test_a_status_message_that_somebody_deleted(world: World, tmp_path: Path) -> None:
    world.server.forgiven += ["message to edit not found"]
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1))
    await world.server.until(lambda: world.server.texts(ANN))
    del world.server.messages[ANN, world.server.seen(ANN)[0]["message_id"]]
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR


async def test_why_it_failed_is_said_though_the_status_was_deleted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.courier._MOST_BYTES", 1000)
    world.server.forgiven += ["message to edit not found"]
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1))
    await world.server.until(lambda: world.server.texts(ANN))
    del world.server.messages[ANN, world.server.seen(ANN)[0]["message_id"]]
    await world.quiet()
    (answer,) = world.server.seen(ANN)
    assert "too large for this chat" in answer["text"]
    assert (ANN, answer["reply_to_message"]["message_id"]) == min(world.server.messages)  # the song


async def test_stems_come_though_the_song_was_deleted(world: World, tmp_path: Path) -> None:
    send(world, tmp_path, Behaviour(steps=20, step_s=0.1))
    await world.server.until(lambda: world.server.texts(ANN))
    del world.server.messages[min(world.server.messages)]
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR


async def test_files_that_telegram_forgot_are_sent_anew(world: World, tmp_path: Path) -> None:
    send(world, tmp_path)
    await world.answered(ANN)
    for message in world.server.files(ANN):
        del world.server._files[content(message)["file_id"]]
    world.server.forgiven += ["wrong remote file identifier"]
    world.server.say(ANN, ANN, "/stems vocals bass", reply=world.server.notes(ANN)[0])
    await world.answered(ANN, 2)
    assert world.server.names(ANN) == [*PAIR, *PAIR]
    assert len(world.server.uploads) == 2


@pytest.mark.parametrize("refusal", [bad("message can't be deleted for everyone"), Refusal(502, "Bad Gateway")])
async def test_what_cannot_be_deleted_any_more_is_deleted_here(world: World, tmp_path: Path, refusal: Refusal) -> None:
    send(world, tmp_path)
    await world.answered(ANN)
    world.server.troubles.append(Trouble("deleteMessages", times=9, refusal=refusal))
    assert await world.server.tapped(world.server.notes(ANN)[0], ANN, "Delete") == "Deleted."
    assert not list(world.settings.data_folder.rglob("*.flac"))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (bad("wrong file_id or the file is temporarily unavailable"), "That file can no longer be downloaded."),
        (bad("file is too big"), "Telegram lets bots download files up to 20 MB, and this one is larger."),
        ("music/nothing", "That file can no longer be downloaded."),
    ],
)
async def test_a_song_that_cannot_be_fetched_is_a_sentence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Refusal | str, sentence: str
) -> None:
    def get_file(self: TelegramServer, *_: Any) -> Json:
        if isinstance(path, Refusal):
            raise path
        return {"file_id": "F", "file_unique_id": "u", "file_path": path}

    monkeypatch.setattr(TelegramServer, "_getFile", get_file)
    world.server.forgiven += ["wrong file_id", "file is too big"]
    send(world, tmp_path)
    await world.server.until(lambda: any(text.startswith(f"a: {sentence}") for text in world.server.texts(ANN)))
    await world.quiet()


async def test_a_menu_that_telegram_does_not_take_and_another_program_are_told_and_keep_nobody_waiting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.troubles.append(Trouble("setMyCommands", refusal=bad("not this one")))
    await world.restart()
    other = "Conflict: terminated by other getUpdates request"
    world.server.troubles.append(Trouble("getUpdates", refusal=Refusal(409, other)))
    world.server.say(ANN, ANN, "/help")
    await world.server.until(lambda: world.server.texts(ANN))
    assert "Telegram did not take the menu" in caplog.text
    assert "another program asks for the messages of this bot" in caplog.text


async def test_a_mistake_of_ours_is_a_sentence(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(world, tmp_path)
    await world.answered(ANN)

    def mistake(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(world.service), "accept", mistake)
    assert "went wrong in SpecTacles itself" in await world.server.tapped(world.server.notes(ANN)[0], ANN, "Drums")
    send(world, tmp_path, seed=1)
    await world.server.until(lambda: "went wrong in SpecTacles itself" in world.server.texts(ANN)[-1])


async def test_nobody_waits_for_hours_where_telegram_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")

    async def call() -> None:
        raise RetryAfter(3600)

    with pytest.raises(RetryAfter):
        async with asyncio.timeout(5):
            await insist(call)


@pytest.mark.parametrize(("writes_as", "is_admin"), [(GROUP, True), (-1002, False)])
async def test_who_writes_in_the_name_of_a_channel_is_no_admin(writes_as: int, is_admin: bool) -> None:
    chats, group = Chats(cast(Bot, None), lambda chat, to: None), Chat(GROUP, Chat.SUPERGROUP)
    sender = Chat(writes_as, Chat.SUPERGROUP)
    message = Message(1, datetime.now(UTC), group, from_user=User(136817688, "Channel", True), sender_chat=sender)
    assert await chats.is_from_admin(message) is is_admin


async def test_edits_keep_to_their_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with telegram_world(tmp_path, monkeypatch, pace_s=1.0) as world:
        send(world, tmp_path, Behaviour(steps=40, step_s=0.1))
        await world.answered(ANN)
        times = [at for at, method, _ in world.server.calls if method == "editMessageText"]
        assert len(times) >= 2
        assert all(later - earlier > 0.9 for earlier, later in pairwise(times))


async def test_a_bot_that_is_restarted_goes_on(world: World, tmp_path: Path) -> None:
    send(world, tmp_path, Behaviour(steps=60, step_s=0.1))
    send(world, tmp_path, seed=1)
    await world.server.until(lambda: any("%" in text for text in world.server.texts(ANN)))
    await world.stop()
    send(world, tmp_path, seed=2)  # while nobody is there
    await world.start()
    await world.answered(ANN, 3)
    assert sorted(world.server.names(ANN)) == sorted(
        f"{song} – {stem}.mp3" for song in "abc" for stem in ("vocals", "bass")
    )
    note = world.server.notes(ANN)[0]
    await world.restart()
    await world.server.tapped(note, ANN, "Vocals")
    await world.answered(ANN, 4)


async def test_a_bot_that_died_while_it_sent_looks_before_it_sends_again(world: World, tmp_path: Path) -> None:
    world.server.forgiven += PROBES
    # the answer never comes, and the bot is gone meanwhile
    world.server.troubles.append(Trouble("sendMediaGroup", is_done=True))
    send(world, tmp_path)
    await world.server.until(lambda: world.server.files(ANN))
    await world.restart()
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR


async def test_an_update_that_comes_twice_is_one_job(world: World, tmp_path: Path) -> None:
    send(world, tmp_path)
    update = dict(world.server._updates[-1])
    await world.answered(ANN)
    world.server._push({"message": update["message"]})
    world.server.say(ANN, ANN, "/queue")
    await world.server.until(lambda: any("no song" in text for text in world.server.texts(ANN)))
    await world.quiet()
    assert world.server.names(ANN) == PAIR


async def test_an_update_that_the_library_cannot_read_is_passed_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server._from_person(BOB, BOB, {"text": "secret words", "poll": {"id": "1"}}, None)
    world.server.say(ANN, ANN, "/help")
    await world.server.until(lambda: world.server.texts(ANN))
    assert world.server.count("getUpdates") < 5
    assert "cannot be read" in caplog.text
    assert "secret words" not in caplog.text


async def test_an_m4a_and_the_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await encode([write_song(tmp_path / "a.wav", seconds=3)], tmp_path / "a.m4a", "m4a", bitrate_kbps=128)
    options = EngineOptions(tmp_path / "models")
    async with telegram_world(tmp_path, monkeypatch, options=options, target=worker.main) as world:
        world.server.send(ANN, ANN, "audio", (tmp_path / "a.m4a").read_bytes(), file_name="a.m4a")
        await world.answered(ANN)
        assert world.server.names(ANN) == [f"a – {stem}.mp3" for stem in STEMS]
        assert "Estimated quality" in world.server.notes(ANN)[0]["text"]


async def test_the_server_itself_is_strict(tmp_path: Path) -> None:
    import aiohttp

    with pytest.raises(AssertionError, match="too long"):
        async with telegram_server(tmp_path) as server, aiohttp.ClientSession() as session:
            server.say(ANN, ANN, "hello")
            url = f"{server.base}/bot123456789:AAaBbCcDdEeFfGgHhIiJjKkLlMmNnOoPpQq/sendMessage"
            async with session.post(url, data={"chat_id": ANN, "text": "x" * 4097}) as response:
                assert response.status == 400

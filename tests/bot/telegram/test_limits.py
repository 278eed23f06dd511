"""Telegram where it is slow, busy, or takes less than it says; a server of one's own; a webhook."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot import pace
from bot.config import Settings, TelegramSettings
from bot.jobs import StartError, UnreachableError
from bot.service import SeparationService
from bot.store import JobStore
from bot.telegram import app as telegram_app
from bot.telegram import courier as telegram_courier
from bot.telegram.app import TelegramApp, build_application
from spectacles_engine.messages import STEMS
from tests.bot.telegram.server import BOT, TOKEN, Json, Refusal, TelegramServer, Trouble, bad, telegram_server
from tests.bot.telegram.world import ANN, BOB, GROUP, PAIR, PROBES, World, telegram_world
from tests.fake_engine import Behaviour, write_song
from tests.ports import free_port

SLOW = Behaviour(steps=10_000, step_s=0.05)
LOCAL = TelegramSettings(local_mode=True)


def send(
    world: World,
    folder: Path,
    behaviour: Behaviour = Behaviour(),  # noqa: B008
    *,
    chat: int = ANN,
    seconds: float = 1.0,
    **more: Any,
) -> Json:
    """``PAIR`` is asked for, unless a caption says otherwise: four take longer to encode."""
    more.setdefault("caption", "/stems vocals bass")
    song = write_song(folder / "a.wav", behaviour, seconds=seconds)
    return world.server.send(chat, abs(chat), "audio", song.read_bytes(), file_name="a.wav", **more)


async def test_after_a_restart_nothing_is_edited_that_says_the_same(world: World, tmp_path: Path) -> None:
    send(world, tmp_path, SLOW)
    send(world, tmp_path, SLOW, chat=BOB, caption="/vocals")
    await world.server.until(lambda: world.server.texts(ANN) and world.server.texts(BOB))
    await world.restart()
    await world.server.until(lambda: any("%" in text for text in world.server.texts(ANN)))
    for chat in (ANN, BOB):
        world.server.say(chat, chat, "/cancel")
    # an edit that changes nothing would be one of the server's wrongs
    await world.server.until(lambda: "a: cancelled." in world.server.texts(ANN))
    await world.quiet()


def busy(world: World, monkeypatch: pytest.MonkeyPatch, before: int, after: int) -> None:
    """While an album is on its way, and after it, other private chats get messages."""
    server, album = world.server, TelegramServer._sendMediaGroup

    def post_elsewhere(numbers: int) -> None:
        for _ in range(numbers):
            server._store(999, BOT, {"text": "busy"})

    def send_album(self: TelegramServer, *args: Any) -> list[Json]:
        post_elsewhere(before)
        sent = album(self, *args)
        post_elsewhere(after)
        return sent

    monkeypatch.setattr(TelegramServer, "_sendMediaGroup", send_album)
    server.forgiven += PROBES
    server.troubles.append(Trouble("sendMediaGroup", is_done=True))


@pytest.mark.parametrize(("before", "after"), [(5, 45), (45, 5)])
async def test_stems_whose_answer_was_lost_are_found_near_either_end_of_what_other_chats_got(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    monkeypatch.setattr("bot.telegram.chats._MOST_ASKED", 20)
    busy(world, monkeypatch, before, after)
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    assert "arrived" not in world.server.notes(ANN)[0]["text"]


async def test_stems_that_cannot_be_found_again_are_not_sent_again_unasked(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.chats._MOST_ASKED", 20)
    busy(world, monkeypatch, 45, 45)
    send(world, tmp_path)
    await world.answered(ANN)
    assert world.server.names(ANN) == PAIR
    (note,) = world.server.notes(ANN)
    assert "could not see whether the stems arrived" in note["text"]
    world.server.say(ANN, ANN, "/vocals", reply=note)
    await world.answered(ANN, 2)
    assert world.server.names(ANN) == [*PAIR, PAIR[0]]


async def test_an_album_that_is_too_large_as_a_whole_goes_down_the_ladder_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    post = TelegramServer._post_files

    def post_files(self: TelegramServer, parameters: Json, media: list[Json], files: Any) -> list[Json]:
        sizes.append(sum(file.file.seek(0, 2) for file in files.values()))
        for file in files.values():
            file.file.seek(0)
        if sizes[-1] > 200_000:
            raise Refusal(413, "Request Entity Too Large")
        return post(self, parameters, media, files)

    monkeypatch.setattr(TelegramServer, "_post_files", post_files)
    monkeypatch.setattr(telegram_courier, "_MOST_BYTES", 200_000)
    world.server.forgiven.append("Request Entity Too Large")
    send(world, tmp_path, seconds=3, caption="/stems")
    await world.answered(ANN)
    assert world.server.names(ANN) == [f"a – {stem}.mp3" for stem in STEMS]
    # 320 kbit/s are refused; 192 would be as well, and are not tried
    assert len(sizes) == 2
    assert "Sent as MP3 at 128 kbit/s" in world.server.notes(ANN)[0]["text"]
    send(world, tmp_path, seconds=3, chat=BOB, title="b", caption="/stems vocals drums bass other")
    await world.answered(BOB)
    assert len(sizes) == 3


async def test_a_local_server_under_another_account_gets_the_files_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telegram_world(tmp_path, monkeypatch, telegram=LOCAL) as world:
        send(world, tmp_path)
        await world.answered(ANN)
        assert [list(upload) for upload in world.server.uploads] == [PAIR]
        assert not [call for call in world.server.calls if "file://" in str(call)]


@pytest.mark.parametrize("telegram", [LOCAL, TelegramSettings()])
async def test_of_a_local_server_whose_files_cannot_be_read_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, telegram: TelegramSettings
) -> None:
    def of_another_machine(self: TelegramServer, *args: Any) -> Json:
        return {"file_id": "F", "file_unique_id": "uF", "file_path": f"/nowhere/{TOKEN}/music/file_0.mp3"}

    monkeypatch.setattr(TelegramServer, "_getFile", of_another_machine)
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world:
        send(world, tmp_path)
        await world.server.until(lambda: any("tell whoever runs me" in text for text in world.server.texts(ANN)))
        await world.quiet()
    assert "/nowhere/" in caplog.text
    assert "the bot must see the server's folder under the same path" in caplog.text
    assert TOKEN not in caplog.text


async def test_a_local_server_is_served_although_local_mode_was_forgotten(world: World, tmp_path: Path) -> None:
    world.server.is_local = True
    send(world, tmp_path)
    await world.answered(ANN)


async def test_a_local_server_may_take_its_time_to_fetch_a_song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_app, "_READ_TIMEOUT_S", 0.5)
    get_file = TelegramServer._getFile

    async def slowly(self: TelegramServer, *args: Any) -> Json:
        await asyncio.sleep(1.5)
        return get_file(self, *args)

    monkeypatch.setattr(TelegramServer, "_getFile", slowly)
    async with telegram_world(tmp_path, monkeypatch, telegram=LOCAL) as world:
        send(world, tmp_path, caption="/vocals")
        await world.answered(ANN)
        assert world.server.count("getFile") == 1


async def test_telegrams_own_server_is_asked_for_a_song_once_more_if_it_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_app, "_READ_TIMEOUT_S", 0.5)
    get_file, is_asked_again = TelegramServer._getFile, asyncio.Event()

    async def at_second(self: TelegramServer, *args: Any) -> Json:
        if self.count("getFile") == 1:
            await is_asked_again.wait()
        is_asked_again.set()
        return get_file(self, *args)

    monkeypatch.setattr(TelegramServer, "_getFile", at_second)
    async with telegram_world(tmp_path, monkeypatch) as world:
        send(world, tmp_path, caption="/vocals")
        await world.answered(ANN)


async def test_while_stems_are_sent_a_private_chat_shows_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.chats._SHOWS_S", 0.01)
    world.server.say(GROUP, ANN, "hello")
    send(world, tmp_path)
    send(world, tmp_path, chat=GROUP, caption="/vocals")
    await world.answered(ANN)
    await world.answered(GROUP)
    shown = [parameters for _, method, parameters in world.server.calls if method == "sendChatAction"]
    assert {parameters["chat_id"] for parameters in shown} == {ANN}
    assert len(shown) > 1  # each time it is seen for a few seconds


async def test_who_waits_too_long_for_an_edit_waits_for_the_next_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace, "MOST_WAIT_S", 0.2)
    async with telegram_world(tmp_path, monkeypatch, pace_s=600.0) as world:
        for seed in range(3):
            song = write_song(tmp_path / f"{seed}.wav", Behaviour(steps=10, step_s=0.1), seed=seed)
            world.server.send(GROUP, ANN, "audio", song.read_bytes(), file_name=f"{seed}.wav", caption="/vocals")
        await world.answered(GROUP, 3)
        assert world.server.count("editMessageText") <= 1
    assert "was not told" not in caplog.text


async def test_an_empty_address_is_the_public_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", "")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    app = build_application(Settings(data_dir=tmp_path))
    assert app.bot.base_url == f"https://api.telegram.org/bot{TOKEN}"


@pytest.mark.parametrize("address", ["localhost:8081", "127.0.0.1", "ftp://127.0.0.1"])
async def test_an_address_that_is_none_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", address)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    with pytest.raises(StartError, match="TELEGRAM_API_BASE_URL must begin with http:// or https://"):
        build_application(Settings(data_dir=tmp_path))


async def test_a_telegram_that_is_away_at_the_end_leaves_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with telegram_world(tmp_path, monkeypatch) as world:
        world.server.troubles.append(Trouble("getUpdates", times=100))
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tornado leaves its socket open
async def test_a_webhook_whose_port_is_taken_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        telegram = TelegramSettings(webhook_url="https://songs.example/hook", webhook_port=taken.getsockname()[1])
        with pytest.raises(
            StartError, match=r"address already in use.*telegram\.webhook_port \(SPECTACLES_TELEGRAM__W"
        ):
            async with telegram_world(tmp_path, monkeypatch, telegram=telegram):
                pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_webhook_host_that_is_no_name_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telegram = TelegramSettings(webhook_url="https://songs.example/hook", webhook_host="192.168..5")
    with pytest.raises(StartError, match=r"no such name.*set telegram\.webhook_host \(SPECTACLES_TELEGRAM__WEBHOOK_HO"):
        async with telegram_world(tmp_path, monkeypatch, telegram=telegram):
            pass


async def test_a_webhook_that_telegram_does_not_take_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    telegram = TelegramSettings(webhook_url="https://songs.example/hook", webhook_port=free_port())
    async with telegram_server(tmp_path / "telegram") as server:
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_API_BASE_URL", server.base)
        settings = Settings(data_dir=tmp_path / "data", telegram=telegram)
        store = JobStore(settings.data_folder)
        app = TelegramApp(settings, SeparationService(settings, store))
        why = bad(f"bad webhook: failed to resolve host of {TOKEN}")
        server.troubles.append(Trouble("setWebhook", times=100, refusal=why))
        with pytest.raises(StartError) as caught:
            await app.start()
        await app.stop()
        store.close()
    assert str(caught.value) == (
        "Telegram does not take telegram.webhook_url (SPECTACLES_TELEGRAM__WEBHOOK_URL): "
        "Bad webhook: failed to resolve host of …"
    )
    assert not isinstance(caught.value, UnreachableError)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_webhook_takes_what_telegram_sends_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    telegram = TelegramSettings(webhook_url=f"https://songs.example/hook/{ANN}", webhook_port=port)
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world, aiohttp.ClientSession() as session:
        hook = world.server.webhook
        assert (hook["url"], world.server.count("getUpdates")) == (telegram.webhook_url, 0)
        send(world, tmp_path, caption="/vocals")
        update = world.server._updates.pop()
        for secret, status in (("a guess", 403), (hook["secret_token"], 200)):
            headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
            async with session.post(f"http://127.0.0.1:{port}/hook/{ANN}", json=update, headers=headers) as response:
                assert response.status == status
            assert len(world.store.of_chat("telegram", str(ANN))) <= (status == 200)
        await world.answered(ANN)
        assert world.server.names(ANN) == PAIR[:1]
        # what is larger than an update is not even waited for
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /hook/{ANN} HTTP/1.1\r\nHost: songs.example\r\nContent-Length: 2000000\r\n\r\n".encode())
        assert b"200" not in await reader.read()
        writer.close()


async def test_what_a_webhook_cannot_read_is_not_quoted_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    telegram = TelegramSettings(webhook_url="https://songs.example/hook", webhook_port=free_port())
    async with telegram_world(tmp_path, monkeypatch, telegram=telegram) as world, aiohttp.ClientSession() as session:
        world.server._from_person(BOB, BOB, {"text": "secret words", "poll": {"id": "1"}}, None)
        headers = {"X-Telegram-Bot-Api-Secret-Token": world.server.webhook["secret_token"]}
        url, update = f"http://127.0.0.1:{telegram.webhook_port}/hook", world.server._updates.pop()
        async with session.post(url, json=update, headers=headers) as response:
            assert response.status == 400
    assert "cannot be read; it is passed over" in caplog.text
    assert "secret words" not in caplog.text
    assert "Traceback" not in caplog.text  # its last line may hold some of it

"""A bot from its start to its end, where one of its platforms is not there yet."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bot import serving
from bot.config import Settings, WebSettings
from bot.jobs import Job, Order, Place, StartError, State, UnreachableError, Wish
from bot.service import SeparationService
from bot.serving import ChatApp, serve
from bot.store import JobStore
from bot.telegram.app import TelegramApp
from bot.web.app import WebApp
from spectacles_engine.process import Engine, start_engines
from tests import fake_engine
from tests.bot.telegram.server import TOKEN, telegram_server
from tests.fake_engine import FakeOptions, write_song
from tests.ports import free_port
from tests.service_fakes import eventually

ANN = 11


@pytest.fixture(autouse=True)
def _again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "AGAIN_S", (0.02, 0.05))


async def no_engines() -> Sequence[Engine]:
    return ()


@asynccontextmanager
async def served(service: SeparationService, apps: Sequence[ChatApp], folder: Path) -> AsyncIterator[list[str]]:
    """The lines that the bot says."""
    lines: list[str] = []
    engines = partial(start_engines, FakeOptions(folder / "engine"), target=fake_engine.main)
    bot = asyncio.create_task(serve(service, apps, engines, lines.append))
    try:
        yield lines
    finally:
        bot.cancel()
        await asyncio.gather(bot, return_exceptions=True)


async def test_a_telegram_that_is_away_at_the_start_is_served_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", f"http://127.0.0.1:{port}")
    settings = Settings(data_dir=tmp_path / "data", web=WebSettings(port=free_port()))
    store = JobStore(settings.data_folder)
    earlier = Order(Place("telegram", str(ANN), str(ANN)), Wish(), {"file": "gone"}, "a", answers={"message": 1})
    store.save([Job("j", earlier, State.QUEUED, 5.0)])
    service = SeparationService(settings, store)
    apps = TelegramApp(settings, service), WebApp(settings, service)
    async with AsyncExitStack() as stack, served(service, apps, tmp_path) as lines:
        await eventually(lambda: lines == [f"web chat: http://127.0.0.1:{settings.web.port}"])
        await eventually(lambda: "Telegram cannot be reached (NetworkError), still" in caplog.text)
        assert [job.id for job in store.unfinished()] == ["j"]
        server = await stack.enter_async_context(telegram_server(tmp_path / "telegram", port=port))
        server.forgiven.append("wrong file_id")
        song = write_song(tmp_path / "a.wav").read_bytes()
        server.send(ANN, ANN, "audio", song, file_name="a.wav", caption="/vocals")
        await server.until(lambda: server.names(ANN) == ["a – vocals.mp3"])
        assert lines[1:] == ["Telegram: https://t.me/SpecTaclesBot, polling"]
        # what was accepted before is not lost: it ends with a sentence
        await eventually(lambda: not store.unfinished() and not store.untold())
        assert any("can no longer be downloaded" in text for text in server.texts(ANN)), server.texts(ANN)
    store.close()
    assert TOKEN not in caplog.text


class Platform:
    """Answers as it is told to, from one start to the next."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers, self.starts, self.stops = list(answers), 0, 0

    def __str__(self) -> str:
        return "a chat"

    async def start(self) -> None:
        self.starts += 1
        if answer := self._answers.pop(0):
            raise answer

    async def stop(self) -> None:
        self.stops += 1


async def test_what_a_platform_says_when_it_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That it does not know us ends the tries, of this one alone; a mistake of ours does not."""
    settings = Settings(data_dir=tmp_path / "data")
    store = JobStore(settings.data_folder)
    away = UnreachableError("X cannot be reached")
    stranger = Platform(away, away, StartError("X does not know the token"))
    clumsy = Platform(away, ValueError("shapes"), None)
    async with served(SeparationService(settings, store), [stranger, clumsy, Platform(None)], tmp_path) as lines:
        await eventually(lambda: lines == ["a chat", "a chat"])
        await eventually(lambda: "X does not know the token; it is not served" in caplog.text)
    store.close()
    assert (stranger.starts, stranger.stops, clumsy.starts, clumsy.stops) == (3, 1, 3, 1)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
async def test_a_platform_that_accepts_and_never_answers_holds_up_nobody_and_not_the_end_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    settings = Settings(data_dir=tmp_path / "data", web=WebSettings(port=free_port()))
    store, lines = JobStore(settings.data_folder), list[str]()
    service = SeparationService(settings, store)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TELEGRAM_API_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        apps = TelegramApp(settings, service), WebApp(settings, service)
        bot = asyncio.create_task(serve(service, apps, no_engines, lines.append))
        async with asyncio.timeout(5):
            await eventually(lambda: lines == [f"web chat: http://127.0.0.1:{settings.web.port}"])
            signal.raise_signal(kind)
            await bot
    store.close()
    assert lines[1:] == ["ending; songs in progress go on at the next start"]


async def test_a_chat_that_can_never_start_ends_the_bot_also_while_others_are_served(tmp_path: Path) -> None:
    store, lines = JobStore(tmp_path), list[str]()
    may_answer = asyncio.Event()

    class Slow(Platform):
        async def start(self) -> None:
            await may_answer.wait()
            await super().start()

    apps = [Slow(StartError("X does not know the token")), Platform(None)]
    bot = asyncio.create_task(
        serve(SeparationService(Settings(data_dir=tmp_path), store), apps, no_engines, lines.append)
    )
    await eventually(lambda: lines == ["a chat"])
    may_answer.set()
    with pytest.raises(StartError, match="X does not know the token"):
        await bot
    store.close()
    assert [app.stops for app in apps] == [1, 1]


async def test_a_chat_that_can_never_start_ends_the_bot(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    apps = [Platform(UnreachableError("X cannot be reached")), Platform(StartError("the port is taken"))]
    with pytest.raises(StartError, match="the port is taken"):
        await serve(SeparationService(Settings(data_dir=tmp_path), store), apps, no_engines, print)
    store.close()
    assert [app.stops for app in apps] == [1, 1]

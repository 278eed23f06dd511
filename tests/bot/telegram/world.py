"""The unmodified Telegram application, the real service, an engine in a real child process, and our Bot API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from telegram.ext import AIORateLimiter

from bot.config import Settings
from bot.service import SeparationService
from bot.store import JobStore
from bot.telegram import app as telegram_app
from bot.telegram import chats as telegram_chats
from bot.telegram import http as telegram_http
from bot.telegram.app import TelegramApp
from spectacles_engine.messages import EngineOptions
from tests import fake_engine
from tests.bot.telegram.server import TOKEN, TelegramServer, telegram_server
from tests.counted_engine import CountedEngine
from tests.fake_engine import FakeOptions

ANN, BOB, GROUP = 11, 12, -1001
PAIR = ["a – vocals.mp3", "a – bass.mp3"]
PROBES = ["message is not modified", "message to edit not found", "message can't be edited", "there is no caption"]
"""Questions of a bot that lost an answer; Telegram refuses the edits that they are."""


@dataclass
class World:
    """``restart`` gives a new bot on the same folder; Telegram stays."""

    server: TelegramServer
    settings: Settings
    options: EngineOptions
    target: Any
    separations: int = 0
    """How often an engine was asked to separate."""

    async def start(self) -> None:
        self.store = JobStore(self.settings.data_folder)
        engine = CountedEngine(self.options, self.target, self._count)
        self.service = SeparationService(self.settings, self.store)
        self.app = TelegramApp(self.settings, self.service)
        await self.app.start()
        await self.service.start()
        self.service.add_engine(engine)

    async def stop(self) -> None:
        """In the order of bot.serving."""
        await self.service.stop()
        await self.app.stop()
        self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def quiet(self) -> None:
        """Waits until no job is left, and everybody was told."""
        await self.server.until(lambda: not self.store.unfinished() and not self.store.untold(), 90)

    async def answered(self, chat: int, notes: int = 1) -> None:
        """Waits until so many results have come to a chat, and all is over."""
        await self.server.until(lambda: len(self.server.notes(chat)) >= notes, 90)
        await self.quiet()

    def _count(self) -> None:
        self.separations += 1


@asynccontextmanager
async def telegram_world(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    options: EngineOptions | None = None,
    target: Any = fake_engine.main,
    pace_s: float = 0.0,
    **sections: Any,
) -> AsyncIterator[World]:
    """``pace_s``: between two edits in a chat (3 s for real people)."""
    monkeypatch.setattr(telegram_app, "STOP_S", 2.0)
    monkeypatch.setattr(telegram_chats, "BETWEEN_EDITS_S", pace_s)
    monkeypatch.setattr(telegram_chats, "BETWEEN_EDITS_IN_GROUPS_S", pace_s)
    monkeypatch.setattr(telegram_chats, "STILL_AT_WORK_S", 0.05)
    monkeypatch.setattr(telegram_http, "PAUSES_S", (0.01, 0.02, 0.03))
    # 20 a minute in a group, the library's own waiting, would take most of the time of the tests
    monkeypatch.setattr(telegram_app, "AIORateLimiter", partial(AIORateLimiter, group_max_rate=0))
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    settings = Settings(data_dir=tmp_path / "data", **sections)
    async with telegram_server(tmp_path / "telegram", is_local=settings.telegram.local_mode) as server:
        monkeypatch.setenv("TELEGRAM_API_BASE_URL", server.base)
        world = World(server, settings, options or FakeOptions(tmp_path / "engine"), target)
        try:
            await world.start()
            yield world
        finally:
            await world.stop()

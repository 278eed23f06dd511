"""A simulated Discord with the real client, the real service, and an engine in a real child process.

simcord knows no size limits; ``Wire`` adds what Discord refuses: files above the limit of the place (413, 40005),
more than ten files, texts above 2000 characters, and edits that change nothing are counted.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import discord
from discord.http import Route
from simcord import interactions
from simcord.env import Env
from simcord.http.client import FakeHTTPClient
from simcord.interactions import base_payload

from bot.config import Settings
from bot.discord import courier as discord_courier
from bot.discord import http as discord_http
from bot.discord.app import DiscordBot
from bot.incoming import Gone
from bot.service import SeparationService
from bot.store import JobStore
from spectacles_engine.messages import EngineOptions
from tests import fake_engine
from tests.counted_engine import CountedEngine
from tests.fake_engine import FakeOptions

PATIENCE_S = 110.0
"""Long enough for a busy machine; nothing is measured by it."""
MIB = 1 << 20


class Outside:
    """The service, called as if from outside the bot: simcord waits for all that a bot begins, and jobs take long."""

    def __init__(self, service: SeparationService) -> None:
        self._service = service
        self._context = contextvars.copy_context()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._service, name)
        if inspect.iscoroutinefunction(found):

            async def call(*args: Any, **kwargs: Any) -> Any:
                loop = asyncio.get_running_loop()
                return await self._context.copy().run(loop.create_task, found(*args, **kwargs))

            return call
        if callable(found):
            return lambda *args, **kwargs: self._context.copy().run(found, *args, **kwargs)
        return found


@dataclass
class Wire:
    """What crosses the wire to Discord, and what Discord takes: ``most_bytes`` for each file.

    ``most_bytes_in_all``: a message has less.
    """

    most_bytes: int = 20 * MIB
    most_bytes_in_all: int = 200 * MIB
    uploads: list[dict[str, int]] = field(default_factory=list)
    refused: int = 0
    shows_history: bool = True
    """Whether the bot may read it: else it may not reply."""
    edits: list[tuple[float, str, str]] = field(default_factory=list)
    """When (loop time), of which message, and its new text."""
    lost_answers: int = 0
    """So many of the next messages arrive, but the connection drops before the bot hears of it."""
    locales: dict[int, str] = field(default_factory=dict)
    """Of people whose Discord is not in English."""
    drops: int = 0
    """So many of the next messages do not arrive, as the connection drops."""
    _sent: dict[tuple[str, str], Any] = field(default_factory=dict)

    async def send(self, route: Route, body: dict[str, Any], send: Callable[[], Awaitable[Any]]) -> Any:
        """A message with a nonce that was sent before is the message that was sent before."""
        key = (route.url, str(body.get("nonce")))
        if route.method != "POST" or "nonce" not in body:
            return await send()
        assert body["enforce_nonce"]
        assert len(key[1]) <= 25, "a nonce of more than 25 characters"
        if self.drops:
            self.drops -= 1
            raise aiohttp.ServerDisconnectedError
        if key not in self._sent:
            self._sent[key] = await send()
            if self.lost_answers:
                self.lost_answers -= 1
                raise aiohttp.ServerDisconnectedError
        return self._sent[key]

    def check(self, route: Route, files: list[discord.File], body: dict[str, Any], now_s: float) -> None:
        """Raises HTTPException for what Discord would refuse."""
        sizes = {file.filename: _size(file) for file in files}
        assert len(files) <= 10, "more than ten files in a message"
        assert len(body.get("content") or "") <= 2000, "a text of more than 2000 characters"
        if max(sizes.values(), default=0) > self.most_bytes or sum(sizes.values()) >= self.most_bytes_in_all:
            self.refused += 1
            raise _refusal(413, 40005, "Request entity too large")
        if "message_reference" in body and not self.shows_history:
            raise _refusal(400, 160002, "Cannot reply without permission to read message history")
        if sizes:
            self.uploads.append(sizes)
        if route.method == "PATCH" and "/messages/" in route.url and "/webhooks/" not in route.url:
            self.edits.append((now_s, route.url.rsplit("/", 1)[1], body.get("content") or ""))


def _refusal(status: int, code: int, message: str) -> discord.HTTPException:
    return discord.HTTPException(cast(Any, _Answer(status, message)), {"code": code, "message": message})


@dataclass
class _Answer:
    status: int
    reason: str


@dataclass
class World:
    """``bot`` and ``service`` change with ``restart``; people and channels stay."""

    env: Env
    service: SeparationService
    wire: Wire
    settings: Settings
    make_service: Callable[[], SeparationService]
    separations: int = 0
    """How often an engine was asked to separate."""

    def count(self) -> None:
        self.separations += 1

    async def until(self, is_so: Callable[[], Any]) -> None:
        """Waits until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.02)

    async def post(
        self, who: Any, channel: Any, *files: tuple[str, bytes], text: str = "", voice_s: float | None = None
    ) -> discord.Message:
        """A person sends a message with files; ``voice_s``: as a voice message of that length."""
        backend = self.env.backend
        attachments = backend.store_attachments(channel.id, files)
        for attachment in attachments if voice_s else ():
            attachment.update(duration_secs=voice_s, waveform="AAAA", content_type="audio/ogg")
        flags = discord.MessageFlags(voice=True).value if voice_s else 0
        message = backend.create_message(channel.id, who.id, text, attachments=attachments, flags=flags)
        await self.env.settle()
        return cast(discord.Message, next(seen for seen in channel.history() if seen.id == message.id))

    def texts(self, channel: Any) -> list[str]:
        """The bot's messages in a channel, each with the names of its files; nobody's private answers."""
        return [_seen(message) for message in self.messages(channel)]

    def messages(self, channel: Any) -> list[discord.Message]:
        own = self.env.backend.bot_user.id
        return [m for m in channel.history() if m.author.id == own and not m.flags.ephemeral]

    def results(self, channel: Any) -> list[discord.Message]:
        """Messages with stems."""
        return [message for message in self.messages(channel) if message.attachments]

    async def result(self, channel: Any, number: int = 1) -> discord.Message:
        """Waits for the message with the ``number``-th stems, and until its job is over."""
        await self.until(lambda: len(self.results(channel)) >= number)
        await self.quiet()
        return self.results(channel)[number - 1]

    async def quiet(self) -> None:
        """Waits until no job is left, and everybody was told."""
        store = self.service._store
        await self.until(lambda: not store.unfinished() and not store.untold())

    def file(self, attachment: discord.Attachment) -> bytes:
        return cast(bytes, self.env.backend.cdn.get(attachment.url))

    async def restart(self) -> None:
        """The bot ends and comes back: a new client, a new service on the same store, the same Discord."""
        await self.service.stop()
        self.service._store.close()
        self.service = self.make_service()
        client = DiscordBot(self.settings, cast(SeparationService, Outside(self.service)))
        await self.env.restart_bot(client)
        await self.service.start()


@asynccontextmanager
async def discord_world(
    tmp_path: Path,
    monkeypatch: Any,
    *,
    options: EngineOptions | None = None,
    target: Any = fake_engine.main,
    pace_s: float = 0.0,
    **sections: Any,
) -> AsyncIterator[World]:
    """``pace_s``: between two edits in a channel (3 s for real people)."""
    settings = Settings(data_dir=tmp_path / "data", **sections)
    wire = Wire()
    original = FakeHTTPClient.request

    async def request(self: FakeHTTPClient, route: Route, *, files: Any = None, form: Any = None, **kwargs: Any) -> Any:
        wire.check(route, list(files or []), _body(form, kwargs), asyncio.get_running_loop().time())
        send = partial(original, self, route, files=files, form=form, **kwargs)
        return await wire.send(route, _body(form, kwargs), send)

    def interaction(*args: Any, user_id: int, **kwargs: Any) -> Any:
        record, payload = base_payload(*args, user_id=user_id, **kwargs)
        return record, payload | {"locale": wire.locales.get(user_id, payload["locale"])}

    monkeypatch.setattr(interactions, "base_payload", interaction)
    monkeypatch.setattr(FakeHTTPClient, "request", request)
    monkeypatch.setattr(discord_courier, "BETWEEN_EDITS_S", pace_s)
    monkeypatch.setattr(discord_http, "PAUSES_S", (0.01, 0.02, 0.03))
    monkeypatch.setattr(discord_http, "_blocks", _blocks)
    engine_options = options or FakeOptions(tmp_path / "engine")

    world: World

    def make_service() -> SeparationService:
        engine = CountedEngine(engine_options, target, lambda: world.count())
        service = SeparationService(settings, JobStore(settings.data_folder))
        service.add_engine(engine)
        return service

    service = make_service()
    client = DiscordBot(settings, cast(SeparationService, Outside(service)))
    approved = discord.Intents.all()
    approved.members = approved.presences = approved.message_content = False
    # Not simcord.run: that gives the test simcord's own clock as well, and jobs take real time.
    env = Env(client, approved_intents=approved, settle_timeout=30.0)
    await env.start()
    world = World(env, service, wire, settings, make_service)
    await service.start()
    try:
        yield world
    finally:
        await world.service.stop()
        world.service._store.close()
        await env.shutdown()
    if unseen := env.errors_since(env._errors_acknowledged):
        raise BaseExceptionGroup("errors that the bot swallowed", unseen)


async def _blocks(client: discord.Client, url: str) -> AsyncGenerator[bytes, None]:
    """simcord has no network: it hands files out in one piece."""
    try:
        yield await client.http.get_from_cdn(url)
    except (discord.Forbidden, discord.NotFound) as error:
        raise Gone from error


def _body(form: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    for part in form or []:
        if part.get("name") == "payload_json":
            return cast(dict[str, Any], json.loads(part["value"]))
    sent = kwargs.get("json")
    return sent if isinstance(sent, dict) else {}


def _size(file: discord.File) -> int:
    position = file.fp.tell()
    size = file.fp.seek(0, 2)
    file.fp.seek(position)
    return size


def _seen(message: discord.Message) -> str:
    files = "".join(f"\n  [{file.filename}]" for file in message.attachments)
    buttons = [child.label for row in message.components for child in getattr(row, "children", [])]
    return f"{message.content}{files}" + (f"\n  ({' · '.join(map(str, buttons))})" if buttons else "")

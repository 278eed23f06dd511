"""The client over real connections: logging in, staying connected, downloading; and what its log may say."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import discord
import numpy as np
import pytest
import pytest_asyncio
import soundfile
from discord.gateway import DiscordWebSocket
from yarl import URL

from bot.config import Settings
from bot.delivery import Parcel
from bot.discord import app as discord_app
from bot.discord import courier as discord_courier
from bot.discord import http as discord_http
from bot.discord.app import DiscordApp
from bot.discord.commands import MENU
from bot.discord.courier import DiscordCourier
from bot.discord.http import download, insist
from bot.incoming import Gone
from bot.jobs import Job, Order, Place, StartError, State, StoredResult, TooLarge, UnreachableError, Wish
from bot.requests import COMMANDS
from bot.service import SeparationService
from bot.store import JobStore
from spectacles_engine.messages import QualityNote
from tests.bot.discord.server import TOKEN, DiscordServer, discord_server
from tests.service_fakes import eventually

PRIVILEGED = discord.Intents(members=True, presences=True, message_content=True).value


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordServer]:
    monkeypatch.setattr(discord_http, "PAUSES_S", (0.01, 0.01))
    async with discord_server(monkeypatch) as server:
        yield server


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SeparationService]:
    store = JobStore(tmp_path / "data")
    yield SeparationService(Settings(data_dir=tmp_path / "data"), store)
    store.close()


async def test_it_logs_in_and_says_where_it_is(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    app = DiscordApp(Settings(), service)
    with logged() as lines:
        try:
            await app.start()
            assert str(app).startswith(
                "Discord: SpecTacles, in no server yet; invite it with https://discord.com/oauth2/"
            )
            assert app.client._teaching
            await app.client._teaching
        finally:
            await app.stop()
    assert TOKEN not in "".join(lines)
    assert "a-secret" not in repr(app) + repr(app.client)
    assert server.identified["intents"] & PRIVILEGED == 0
    names = [command["name"] for command in server.commands]
    assert sorted(names) == sorted([MENU, "separate", "start", *COMMANDS])
    # in servers and in private messages, brought by a server or by a person
    assert all(command["contexts"] == [0, 1] for command in server.commands)
    assert all(command["integration_types"] == [0, 1] for command in server.commands)


async def test_a_wrong_token_is_told_in_a_sentence(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", "MTIz.wrong.token")
    app = DiscordApp(Settings(), service)
    with pytest.raises(StartError, match="DISCORD_BOT_TOKEN") as refused:
        await app.start()
    assert "wrong.token" not in str(refused.value)
    await app.stop()


async def test_no_discord_is_told_in_a_sentence_and_may_come_later(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    app = DiscordApp(Settings(), service)
    with monkeypatch.context() as away:
        away.setattr(discord.http.Route, "BASE", "http://127.0.0.1:1")
        for _ in range(2):
            with pytest.raises(UnreachableError, match="cannot be reached"):
                await app.start()
    try:
        await app.start()
        assert str(app).startswith("Discord: SpecTacles")
    finally:
        await app.stop()
    assert server.identified


async def test_a_silent_discord_is_not_waited_for(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(discord_app, "_START_S", 0.2)
    server.silent_s = 60.0
    async with asyncio.timeout(10):
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await DiscordApp(Settings(), service).start()


async def test_it_goes_through_a_proxy_where_there_is_one(
    server: DiscordServer, service: SeparationService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("https_proxy", server.base.removeprefix("http://"))
    assert DiscordApp(Settings(), service).client.http.proxy is None  # as no_proxy says
    monkeypatch.setenv("no_proxy", "localhost")
    with monkeypatch.context() as patch:
        patch.setenv("https_proxy", "socks5://127.0.0.1:9")
        assert DiscordApp(Settings(), service).client.http.proxy is None
    # the server stands for the proxy as well: there is no other way to these
    monkeypatch.setattr(discord.http.Route, "BASE", "http://discord.invalid/api")
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", URL("http://discord.invalid/gateway"))
    server.files["song"] = b"a song"
    app = DiscordApp(Settings(), service)
    try:
        await app.start()
        await download(app.client, "http://discord.invalid/files/song", tmp_path / "song", 1e9)
    finally:
        await app.stop()
    assert server.greeted
    assert (tmp_path / "song").read_bytes() == b"a song"


async def test_it_connects_again_after_an_event_that_the_library_cannot_read(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(discord_app, "AGAIN_S", (0.01,))
    server.then = [{"t": "MESSAGE_CREATE", "d": {}}] * 2
    app = DiscordApp(Settings(), service)
    try:
        await app.start()
        await eventually(lambda: server.greeted >= 3)
        assert not app.client.is_closed()
    finally:
        await app.stop()


async def test_after_a_long_outage_it_is_back_at_once(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(discord_app, "AGAIN_S", (0.01,))
    app = DiscordApp(Settings(), service)
    try:
        await app.start()
        server.away = 12  # the library alone has waited for half an hour by its twelfth try
        await app.client.ws.close()
        await eventually(lambda: not server.away)
    finally:
        await app.stop()


async def test_where_discord_wants_it_no_more_it_does_not_come_back(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(discord_app, "AGAIN_S", (0.01,))
    server.then = [4004]
    app = DiscordApp(Settings(), service)
    with logged() as lines:
        await app.start()
        await eventually(app.client.is_closed)
        await app.stop()
    assert server.greeted == 1
    assert any("for good" in line and "DISCORD_BOT_TOKEN" in line for line in lines)
    assert TOKEN not in "".join(lines)


async def test_an_upload_may_take_longer_than_aiohttp_lets_a_call(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp.client, "DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.2))  # five minutes, in fact
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    app = DiscordApp(Settings(), service)
    try:
        await app.start()
        server.silent_s = 0.5
        with pytest.raises(discord.NotFound):
            await app.client.get_partial_messageable(1).send(file=discord.File(io.BytesIO(b"a stem"), "a.mp3"))
    finally:
        await app.stop()
    assert b"a stem" in server.uploaded


async def test_nobody_waits_until_discord_takes_the_commands(
    server: DiscordServer, service: SeparationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    server.wait_s = 600.0
    app = DiscordApp(Settings(), service)
    try:
        async with asyncio.timeout(10):
            await app.start()
            await app.client.wait_until_ready()
    finally:
        await app.stop()


async def test_songs_come_and_stems_go_while_discord_sends_no_events(
    server: DiscordServer, service: SeparationService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def takes(courier: DiscordCourier, job: Job, text: str, parcels: Sequence[Parcel]) -> bool:
        sent.extend(parcel.name for parcel in parcels)
        return True

    monkeypatch.setenv("DISCORD_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(DiscordCourier, "_takes", takes)
    monkeypatch.setattr(discord_app, "_READY_S", 0.1)
    monkeypatch.setattr(discord_courier, "_READY_S", 0.1)
    server.away = 1000
    server.files["song"] = b"a song"
    source = {"url": f"{server.base}/files/song", "guild": 7, "message": None, "attachment": 1}
    job = Job("j", Order(Place("discord", "1", "2"), Wish(("bass",)), source, "a"), State.PREPARING, 0.0)
    soundfile.write(tmp_path / "bass.flac", np.zeros((4_410, 2)), 44_100)
    result = StoredResult("x", tmp_path, 0.1, 44_100, 2, QualityNote({}, None), (), 0.0)
    app = DiscordApp(Settings(), service)
    try:
        await app.start()
        assert str(app) == "Discord: SpecTacles, connected once its gateway answers"
        async with asyncio.timeout(10):
            await app.client.courier.fetch(job, tmp_path / "song")
            await app.client.courier.deliver(job, result)
    finally:
        await app.stop()
    assert (tmp_path / "song").read_bytes() == b"a song"
    assert sent == ["bass"]


async def test_a_song_is_downloaded_again_when_the_connection_drops(server: DiscordServer, tmp_path: Path) -> None:
    server.files["song"] = bytes(range(256)) * 10_000
    server.broken = 2
    async with connected() as client:
        await insist(lambda: download(client, f"{server.base}/files/song", tmp_path / "song", 1e9))
        assert (tmp_path / "song").read_bytes() == server.files["song"]
        assert server.asked == 3
        server.busy = 1
        await insist(lambda: download(client, f"{server.base}/files/song", tmp_path / "song", 1e9))
        assert (tmp_path / "song").read_bytes() == server.files["song"]
        server.broken = 9
        with pytest.raises(aiohttp.ClientError):
            await insist(lambda: download(client, f"{server.base}/files/song", tmp_path / "song", 1e9))


async def test_an_expired_address_and_a_file_larger_than_told(server: DiscordServer, tmp_path: Path) -> None:
    server.files["song"] = bytes(2_000_000)
    async with connected() as client:
        with pytest.raises(Gone):
            await insist(lambda: download(client, f"{server.base}/files/expired", tmp_path / "song", 1e9))
        with pytest.raises(TooLarge, match="up to 1 MB"):
            await insist(lambda: download(client, f"{server.base}/files/song", tmp_path / "song", 1e6))
    assert server.asked == 2


@asynccontextmanager
async def connected() -> AsyncIterator[discord.Client]:
    """A client that is logged in."""
    client = discord.Client(intents=discord.Intents.none())
    await client.login(TOKEN)
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def logged() -> Iterator[list[str]]:
    """All that is logged, down to the last detail."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)

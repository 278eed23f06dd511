"""A small Discord on loopback, for the client as it is: logging in, the gateway (a WebSocket), and files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcdE.a-secret-that-nobody-may-ever-read-00"
USER = {"id": "5", "username": "SpecTacles", "discriminator": "0", "avatar": None, "bot": True}


@dataclass
class DiscordServer:
    """``files`` by path; ``busy``: so many are refused just now; ``broken``: so many answers end in the middle of one.

    ``silent_s``: so long a log-in, or a message, is not answered.
    ``away``: so often the gateway does not answer; ``wait_s``: so long who brings commands is told to wait.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    busy: int = 0
    broken: int = 0
    silent_s: float = 0.0
    away: int = 0
    wait_s: float = 0.0
    asked: int = 0
    identified: dict[str, Any] = field(default_factory=dict)
    greeted: int = 0
    """How often a client has identified itself."""
    then: list[dict[str, Any] | int] = field(default_factory=list)
    """What follows on each greeting, one after the other: an event, or the code that the connection ends with."""
    commands: list[Any] = field(default_factory=list)
    uploaded: bytes = b""
    base: str = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/users/@me", self.me),
                web.get("/api/oauth2/applications/@me", self.application),
                web.put("/api/applications/5/commands", self.take_commands),
                web.post("/api/channels/1/messages", self.take_message),
                web.get("/gateway", self.gateway),
                web.get("/files/{name}", self.file),
            ]
        )
        return app

    async def me(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.silent_s)
        if request.headers["Authorization"] != f"Bot {TOKEN}":
            return _json({"message": "401: Unauthorized", "code": 0}, status=401)
        return _json(USER)

    async def application(self, request: web.Request) -> web.Response:
        about = {"id": "5", "name": "SpecTacles", "icon": None, "description": "", "flags": 0, "verify_key": ""}
        return _json({**about, "bot_public": True, "bot_require_code_grant": False, "owner": USER})

    async def take_commands(self, request: web.Request) -> web.Response:
        if self.wait_s:
            answer = _json({"message": "You are being rate limited.", "retry_after": self.wait_s}, status=429)
            answer.headers["Via"] = "1.1 google"  # without it the library takes this for a ban
            return answer
        self.commands = await request.json()
        ids = {"description": "", "application_id": "5", "version": "1", "default_member_permissions": None}
        return _json([{**ids, **command, "id": str(n)} for n, command in enumerate(self.commands, 10)])

    async def take_message(self, request: web.Request) -> web.Response:
        """All of it, and then there is no such channel."""
        self.uploaded = await request.read()
        await asyncio.sleep(self.silent_s)
        return _json({"message": "Unknown Channel", "code": 10003}, status=404)

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        if self.away:
            self.away -= 1
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 45_000}, "s": None, "t": None})
        async for message in socket:
            if message.type is WSMsgType.TEXT and (said := message.json())["op"] == 2:
                self.identified = said["d"]
                ready = {"v": 10, "user": USER, "guilds": [], "session_id": "s"}
                ready |= {"application": {"id": "5", "flags": 0}, "resume_gateway_url": f"{self.base}/gateway"}
                await socket.send_json({"op": 0, "s": 1, "t": "READY", "d": ready})
                self.greeted += 1
                next_one = self.then.pop(0) if self.then else {}
                if isinstance(next_one, int):
                    await socket.close(code=next_one)
                elif next_one:
                    await socket.send_json({"op": 0, "s": 2, **next_one})
        return socket

    async def file(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        data = self.files.get(request.match_info["name"])
        if data is None:
            return web.Response(status=403)
        if self.busy:
            self.busy -= 1
            return web.Response(status=503, text="upstream connect error")
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        if self.broken:
            self.broken -= 1
            await response.write(data[: len(data) // 2])
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(data)
        return response


def _json(data: Any, status: int = 200) -> web.Response:
    # the library reads JSON only under this very type, without a charset
    return web.Response(body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"})


@asynccontextmanager
async def discord_server(monkeypatch: Any) -> AsyncIterator[DiscordServer]:
    """Runs one; discord.py takes it for the real one, whatever proxy there may be."""
    monkeypatch.setenv("no_proxy", "*")
    server = DiscordServer()
    runner = web.AppRunner(server.app(), shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.base = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(Route, "BASE", f"{server.base}/api")
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", URL(f"{server.base}/gateway"))
    try:
        yield server
    finally:
        await runner.cleanup()

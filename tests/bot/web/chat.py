"""A web chat with its service and a fast fake engine in a real child process, and browsers to talk to it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, ClientSession, CookieJar, DummyCookieJar, FormData
from yarl import URL

from bot.config import LimitSettings, Settings, WebSettings
from bot.service import SeparationService
from bot.stations import Inspect
from bot.store import JobStore
from bot.web.app import WebApp
from spectacles_engine import audio_files
from spectacles_engine.audio_files import Inspected
from spectacles_engine.process import EngineProcess
from tests import fake_engine
from tests.fake_engine import FakeOptions

PATIENCE_S = 60.0
"""Long enough for a busy machine; nothing is measured by it."""


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    kind: str
    id: str
    data: dict[str, Any]


class Client:
    """Somebody who asks; ``cookies`` are kept as a browser keeps them."""

    def __init__(self, session: ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    def request(self, method: str, path: str, **options: Any) -> AbstractAsyncContextManager[ClientResponse]:
        return self._session.request(method, URL(f"{self._base}{path}", encoded=True), **options)

    def get(self, path: str, **options: Any) -> AbstractAsyncContextManager[ClientResponse]:
        return self.request("GET", path, **options)

    async def json(self, path: str, **options: Any) -> Any:
        async with self.get(path, **options) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def read(self, path: str) -> bytes:
        async with self.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def refused(self, method: str, path: str, **options: Any) -> int:
        """The status of a refusal, which has a sentence."""
        async with self.request(method, path, **options) as answer:
            assert (await answer.json())["error"]
            return answer.status

    async def send(self, song: Path, **fields: str) -> dict[str, Any]:
        """Sends a song; what the server says of the accepted job."""
        form = FormData(quote_fields=False)  # as browsers do
        for name, value in fields.items():
            form.add_field(name, value)
        form.add_field("file", song.read_bytes(), filename=song.name, content_type="audio/mpeg")
        async with self.request("POST", "/api/jobs", data=form) as answer:
            assert answer.status == 202, await answer.text()
            accepted: dict[str, Any] = await answer.json()
        return accepted

    async def events(self, path: str, last: str | None = None) -> AsyncIterator[Event]:
        """Server-sent events until the server ends them."""
        headers = {"Last-Event-ID": last} if last else {}
        async with self.get(path, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            said: dict[str, str] = {}
            async for raw in answer.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name:
                    said[name] = value
                elif "data" in said:
                    yield Event(said["event"], said.get("id", ""), json.loads(said["data"]))
                    said = {}

    async def finished(self, job_id: str) -> dict[str, Any]:
        """The job when it is final."""
        async with asyncio.timeout(PATIENCE_S):
            async for _ in self.events(f"/api/jobs/{job_id}/events"):
                pass
        view: dict[str, Any] = await self.json(f"/api/jobs/{job_id}")
        return view

    async def done(self, song: Path, **fields: str) -> dict[str, Any]:
        """Sends a song and waits for its stems."""
        view = await self.finished((await self.send(song, **fields))["id"])
        assert view["state"] == "done", view
        return view

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._session.cookie_jar}


@dataclass
class Chat:
    """A web chat that runs."""

    app: WebApp
    service: SeparationService
    settings: Settings

    @property
    def port(self) -> int:
        port = URL(self.app.address).port
        assert port
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        return self.settings.data_folder / "web"

    def uploads(self) -> list[Path]:
        """Songs that the web chat still holds."""
        return list((self.folder / "uploads").iterdir())

    async def lets_go(self) -> None:
        """Returns when the web chat holds no song any more."""
        async with asyncio.timeout(PATIENCE_S):
            while self.uploads():
                await asyncio.sleep(0.02)

    def result_folder(self, job_id: str) -> Path:
        job = self.service.job(job_id)
        assert job
        result = self.service.result(job)
        assert result
        return result.folder

    @asynccontextmanager
    async def client(
        self, cookies: Mapping[str, str] | None = None, *, keeps_cookies: bool = True
    ) -> AsyncIterator[Client]:
        """A program; ``cookies`` are those it has from before."""
        jar = CookieJar(unsafe=True) if keeps_cookies else DummyCookieJar()
        jar.update_cookies(cookies or {}, URL(self.url))
        async with ClientSession(cookie_jar=jar) as session:
            yield Client(session, self.url)

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Client]:
        """A browser that has the page open."""
        async with self.client() as client:
            await client.json("/api/page")
            yield client


def settings_for(
    folder: Path, *, port: int = 0, largest_file_mb: float = 2000, most_songs: int = 20, **web: Any
) -> Settings:
    """Settings of a web chat that keeps everything in ``folder``; port 0 is any that is free."""
    limits = LimitSettings(largest_file_mb=largest_file_mb, songs_in_progress_per_person=most_songs)
    # A copy is not checked: to the file a port of 0 is no port.
    return Settings(data_dir=folder, limits=limits, web=WebSettings(**web).model_copy(update={"port": port}))


@asynccontextmanager
async def serving(
    folder: Path, *, inspect: Inspect = audio_files.inspect, engine: EngineProcess | None = None, **options: Any
) -> AsyncIterator[Chat]:
    """A web chat with its service and engine, the fake one if no other is given."""
    settings = settings_for(folder / "data", **options)
    store = JobStore(settings.data_folder)
    engine = engine or EngineProcess(FakeOptions(settings.data_folder / "models"), target=fake_engine.main)
    service = SeparationService(settings, store, inspect=inspect)
    app = WebApp(settings, service)
    try:
        await app.start()
        await service.start()
        service.add_engine(engine)
        yield Chat(app, service, settings)
    finally:
        await app.stop()
        await service.stop()
        store.close()


def form_of(**fields: str) -> FormData:
    form = FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    return form


def with_file(form: FormData, content: bytes = b"RIFF", type: str = "audio/wav", name: str = "a.wav") -> FormData:
    form.add_field("file", io.BytesIO(content), filename=name, content_type=type)
    return form


async def never(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """Songs stay where they are until the bot ends."""
    await asyncio.Event().wait()
    raise AssertionError

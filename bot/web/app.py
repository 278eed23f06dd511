"""The web chat: a page for this machine's browsers, or for a class that has the access code."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from bot.config import Settings
from bot.jobs import Refused, StartError, TooLarge, Unavailable
from bot.service import SeparationService
from bot.serving import no_port
from bot.translation import translated
from bot.web.access import HEADERS, PLATFORM, Access, browser, language, new_browser, place, remember
from bot.web.courier import WebCourier
from bot.web.downloads import Downloads
from bot.web.errors import WebError
from bot.web.jobs import JobRoutes
from bot.web.playback import Playbacks
from bot.web.stems import OFFERED, StemRoutes
from bot.web.uploads import Uploads
from bot.words import page_sentences, sentence
from spectacles_engine.messages import STEMS

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_STATUS_OF: dict[type[Refused], int] = {TooLarge: 413, Unavailable: 503}
_SENTENCE_OF = {404: "web.nothing_here", 405: "web.not_here"}
_BEGUN = web.RequestKey("begun", bool)
"""Of a request: its answer is on its way."""
_MOST_CONNECTIONS = 400
"""Far below the 1024 files that a process may usually open: other chats need some; where none is left, asyncio tries
again and again to accept the next connection. Where half of them are open, each is closed after its answer: browsers
keep six each, whether they need them or not."""

_IDLE_S = 300.0
"""Longer than reverse proxies keep a connection."""

_GOODBYE_S = 1.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebApp:
    """The web chat of a service; ``str()`` after ``start`` is the line for the console."""

    def __init__(self, settings: Settings, service: SeparationService) -> None:
        self._settings = settings
        self._folder = settings.data_folder / "web"
        self._uploads = Uploads(self._folder / "uploads", settings.limits.largest_file_bytes, service)
        self._service = service
        self._downloads, self._playbacks = Downloads(service), Playbacks()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._is_full = False
        self.address = ""
        """Where the page is once it is served, e.g. ``http://127.0.0.1:8080``."""

    async def start(self) -> None:
        """Listens; raises StartError with a sentence if the port or the folder can't be had."""
        host, port = self._settings.web.host, self._settings.web.port
        try:
            self._uploads.open(self._unfinished_uploads)
            self._access = Access(self._settings.web, self._folder)
        except OSError as error:
            raise StartError(f"the web chat cannot write to {self._folder} ({error.strerror})") from error
        self._service.attach(PLATFORM, WebCourier(self._uploads))
        self._runner = web.AppRunner(
            self._app(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_GOODBYE_S,
            keepalive_timeout=_IDLE_S,
            auto_decompress=False,  # no browser compresses what it sends; a bomb halts all chats
        )
        await self._runner.setup()
        server = self._runner.server
        assert server
        logging.getLogger("aiohttp.server").addFilter(_is_worth_a_line)

        def connection() -> asyncio.Protocol:
            was_full, self._is_full = self._is_full, len(server.connections) >= _MOST_CONNECTIONS
            if self._is_full and not was_full:
                log.warning("the web chat has %d connections, and turns more of them away", len(server.connections))
            return _TurnedAway() if self._is_full else server()

        try:
            self._listener = await asyncio.get_running_loop().create_server(connection, host, port)
        except (OSError, ValueError) as error:
            await self.stop()
            raise no_port("the web chat", host, port, ("web", "port"), error) from error
        self.address = _address(self._listener.sockets[0].getsockname(), host)

    async def stop(self) -> None:
        """Ends all connections; jobs go on in the service."""
        await self._playbacks.close()
        await self._downloads.close()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def code(self) -> str | None:
        """What must be shown to get in; None where nothing need be."""
        return self._access.code

    def __str__(self) -> str:
        if not self.address:
            return "web chat"
        code = self.code
        link = f"{self.address}/#code={quote(code or '', safe='')}"
        return f"web chat: {self.address}" + (f", access code {code} ({link})" if code else "")

    def _unfinished_uploads(self, owner: str) -> set[str]:
        jobs = [standing.job for standing in self._service.history(place(owner))]
        return {job.order.source["upload"] for job in jobs if not job.state.is_final}

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._prepare)
        jobs = JobRoutes(self._service, self._uploads)
        app.add_routes(jobs.routes())
        app.add_routes(StemRoutes(self._service, self._downloads, self._playbacks, jobs.job).routes())
        app.add_routes(
            [web.get("/healthz", _health), web.get("/api/page", self._page), web.post("/api/access", self._admit)]
        )
        for path, file in _page_files(PAGE).items():
            app.router.add_get(path, file.answer)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets in who may come in, and turns what is refused into JSON with a sentence."""
        try:
            self._access.check(request)
            return await handler(request)
        except WebError as error:
            return _refusal(request, error)
        except Refused as error:
            status = next((status for kind, status in _STATUS_OF.items() if isinstance(error, kind)), 429)
            return _json_error(status, translated(str(error), language(request.headers)))
        except web.HTTPException as error:
            allow = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
            return _refusal(request, WebError(error.status, _SENTENCE_OF.get(error.status, "web.broken_form"), allow))
        except (web.RequestPayloadError, HttpProcessingError):
            return _refusal(request, WebError(400, "web.broken_form"))
        except ConnectionError:
            return web.Response(status=400)  # nobody is there any more to read it
        except Exception as error:
            if request.get(_BEGUN) and request.transport:
                # another answer in the midst of this one would be taken for part of it
                log.warning("%s %s broke off (%s)", request.method, request.path, type(error).__name__)
                request.transport.abort()
                return web.Response(status=500)
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            return _refusal(request, WebError(500, "web.our_mistake"))

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Before the headers of any answer are sent."""
        response.headers.update(HEADERS)
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        response.headers.pop(hdrs.SERVER, None)
        request[_BEGUN] = True
        server = self._runner and self._runner.server
        if server and len(server.connections) > _MOST_CONNECTIONS // 2:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    async def _page(self, request: web.Request) -> web.Response:
        """What the page has to know before it shows anything."""
        known, limits = language(request.headers), self._settings.limits
        response = web.json_response(
            {
                "language": known,
                "sentences": page_sentences(known),
                "stems": STEMS,
                "formats": list(OFFERED),
                "limits": {
                    "upload_bytes": limits.largest_file_bytes,
                    "songs_in_progress": min(limits.songs_in_progress_per_person, limits.songs_in_progress_per_chat),
                    "kept_hours": self._settings.storage.keep_hours,
                },
                "admitted": self._access.is_admitted(request),
            }
        )
        remember(request, response, browser(request) or new_browser(request, is_page=True))
        return response

    async def _admit(self, request: web.Request) -> web.Response:
        """Takes the access code."""
        try:
            async with asyncio.timeout(_IDLE_S):
                # not request.json(): it decodes as the sender says, and a megabyte of Punycode halts all for minutes
                code = str(json.loads(await request.read())["code"])
        except (ValueError, LookupError, TypeError, RecursionError, TimeoutError):
            raise WebError(400, "web.broken_form") from None
        response = web.json_response({"admitted": True})
        self._access.admit(request, code, response)
        return response


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not so a request that is none, as scanners and https:// send: aiohttp shows a traceback of each."""
    return not (record.exc_info and isinstance(record.exc_info[1], web.RequestPayloadError | HttpProcessingError))


class _TurnedAway(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@dataclass(frozen=True)
class _PageFile:
    """A file of the page, held in memory; its tag is its content's."""

    body: bytes
    type: str
    tag: str

    async def answer(self, request: web.Request) -> web.Response:
        headers = {"ETag": f'"{self.tag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if any(tag.value == self.tag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers={**headers, "Content-Type": self.type})


def _page_files(folder: Path) -> dict[str, _PageFile]:
    """Path in a URL → file: what is not in this list is not served."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            file = _PageFile(body, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:16])
            files["/" if path.name == "index.html" else f"/{path.name}"] = file
    return files


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _refusal(request: web.Request, error: WebError) -> web.Response:
    said = sentence(error.key, language(request.headers), **error.values)
    return _json_error(error.status, said, error.headers)


def _json_error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)


def _address(bound: tuple[str, int], host: str) -> str:
    """The URL that works in a browser: an address that means all of them becomes this machine's own."""
    name = _own_address(bound[0]) if bound[0] in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{bound[1]}"


def _own_address(all_of_them: str) -> str:
    """The address under which the local network knows this machine; nothing is sent to find it out."""
    family, far, near = {
        "0.0.0.0": (socket.AF_INET, "192.0.2.1", "127.0.0.1"),
        "::": (socket.AF_INET6, "2001:db8::1", "::1"),  # where IPv4 is not answered
    }[all_of_them]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return near

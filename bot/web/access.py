"""Who may ask the web chat what: cookies, the access code, and other people's web pages."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDictProxy

from bot.config import WebSettings, plain_code
from bot.jobs import Job, Place
from bot.web.errors import WebError
from bot.words import known_language

PLATFORM = "web"
BROWSER, ADMITTED = "spectacles_browser", "spectacles_admitted"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer. The policy allows nothing inline and nothing from elsewhere."""

_YEAR_S = 365 * 24 * 3600
# Letters and digits that nobody mistakes for one another.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_WRONG_CODES, _WRONG_CODES_OF_ALL, _WRONG_CODES_WITHIN_S = 5, 50, 60.0
_OWN, _OPEN = "own-", "open-"
"""How ids begin: of a browser that has the page; of a program that came without a cookie (see ``may_see``)."""

_ADDRESS_LENGTH, _SALT = 8, secrets.token_bytes(16)
"""After ``_OPEN``, an id has so many characters of a hash of the program's address: programs with the same ones are one
chat (see ``place``). The salt, another one at each start, keeps others from trying out which address it is."""

_BROWSER_ID = re.compile(rf"(?:{_OWN}|{_OPEN})[A-Za-z0-9_-]{{32}}")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Access:
    """The guard of all routes. ``code`` is None where everyone who gets here is at this machine anyway."""

    def __init__(self, settings: WebSettings, folder: Path) -> None:
        self._secret = _kept(folder / "secret", secrets.token_hex(32))
        self.code: str | None = None
        if settings.access_code:
            self.code = settings.access_code.get_secret_value()
        elif not is_loopback(settings.host):
            self.code = _kept(folder / "access_code", _new_code())
        self._wrong: dict[str, deque[float]] = {}

    def check(self, request: web.Request) -> None:
        """Raises WebError for what another web page or a stranger asks."""
        _refuse_other_pages(request)
        if self.code is None and not is_loopback(_name(request.host)):
            # DNS rebinding: a name that a stranger's DNS points at this machine.
            raise WebError(403, "web.wrong_host")
        is_api = request.path.startswith("/api/") and request.path not in ("/api/page", "/api/access")
        if is_api and not self.is_admitted(request):
            raise WebError(401, "web.code_needed")

    def is_admitted(self, request: web.Request) -> bool:
        """Whether this browser has shown the code, or need not."""
        return self.code is None or _equal(request.cookies.get(ADMITTED, ""), self._mark())

    def admit(self, request: web.Request, code: str, response: web.StreamResponse) -> None:
        """Gives the browser its mark; raises WebError for a wrong code, and after too many of them."""
        if self.code is None:
            return
        wrong = self._wrong_lately(asker(request))
        if len(wrong) >= _WRONG_CODES or sum(map(len, self._wrong.values())) >= _WRONG_CODES_OF_ALL:
            raise WebError(429, "web.too_many_codes")
        if not _equal(plain_code(code), plain_code(self.code)):
            wrong.append(time.monotonic())
            raise WebError(403, "web.wrong_code")
        _set_cookie(request, response, ADMITTED, self._mark())

    def _mark(self) -> str:
        return hmac.digest(self._secret.encode(), (self.code or "").encode(), hashlib.sha256).hex()

    def _wrong_lately(self, remote: str) -> deque[float]:
        since = time.monotonic() - _WRONG_CODES_WITHIN_S
        for times in self._wrong.values():
            while times and times[0] < since:
                times.popleft()
        self._wrong = {address: times for address, times in self._wrong.items() if times}
        return self._wrong.setdefault(remote, deque())


def browser(request: web.Request) -> str | None:
    """The id that this browser shows; None if it shows none."""
    shown = request.cookies.get(BROWSER, "")
    return shown if _BROWSER_ID.fullmatch(shown) else None


def new_browser(request: web.Request, *, is_page: bool) -> str:
    """An id that nobody guesses. ``is_page``: the page asks for it, and will show it from now on."""
    if is_page:
        return _OWN + secrets.token_urlsafe(24)
    address = hashlib.sha256(_SALT + asker(request).encode()).hexdigest()
    return _OPEN + address[:_ADDRESS_LENGTH] + secrets.token_urlsafe(18)


def remember(request: web.Request, response: web.StreamResponse, browser_id: str) -> None:
    """Has the browser show its id from now on."""
    _set_cookie(request, response, BROWSER, browser_id)


def place(browser_id: str) -> Place:
    """A browser is a chat of its own, with one person in it; programs without a cookie share that of their address.

    Were each song of theirs a chat of its own, it would come before all who were served, and meet no limit.
    """
    chat = browser_id[: len(_OPEN) + _ADDRESS_LENGTH] if browser_id.startswith(_OPEN) else browser_id
    return Place(PLATFORM, chat=chat, person=browser_id)


def may_see(request: web.Request, job: Job) -> bool:
    """Whether a job is this browser's own.

    A program that came without a cookie got a job that whoever has its unguessable id may see.
    """
    owner = job.place.person
    return job.place.platform == PLATFORM and (owner.startswith(_OPEN) or _equal(browser(request) or "", owner))


def _name(host: str) -> str:
    """What ``Host`` says, without its port; empty where that cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def asker(request: web.Request) -> str:
    """The address that asks; behind a proxy on this machine the one that the proxy has added, at the end."""
    remote = request.remote or ""
    lines = request.headers.getall("X-Forwarded-For", [""])  # HAProxy adds one of its own
    forwarded = lines[-1].rpartition(",")[2].strip()
    return forwarded if forwarded and is_loopback(remote) else remote


def _refuse_other_pages(request: web.Request) -> None:
    # A link may lead here, but not to the page's own question: the browser's cookie would not come along with it, and a
    # new one take its place.
    if request.method in ("GET", "HEAD") and request.path != "/api/page":
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    else:  # an old browser, or http:// in a local network: a proxy in between has to pass the host on
        is_ours = origin is None or origin.partition("://")[2] == request.host
    if not is_ours:
        raise WebError(403, "web.other_page")


def _set_cookie(request: web.Request, response: web.StreamResponse, name: str, value: str) -> None:
    is_https = request.headers.get("X-Forwarded-Proto") == "https"  # as far as the proxy says so
    response.set_cookie(name, value, max_age=_YEAR_S, secure=is_https, httponly=True, samesite="Strict", path="/")


def _new_code() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _equal(one: str, other: str) -> bool:
    """In constant time; False for two empty ones. Half a character, as only a stranger sends it, is no error."""
    return bool(one) and hmac.compare_digest(*(text.encode(errors="surrogatepass") for text in (one, other)))


def _kept(file: Path, fresh: str) -> str:
    """The text of a file that only we may read; ``fresh`` if there is none yet."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(fresh)
    except FileExistsError:
        return file.read_text().strip() or fresh
    return fresh


def language(headers: CIMultiDictProxy[str]) -> str:
    """The first language of ``Accept-Language`` that is known here, else English."""
    wishes = []
    for entry in headers.get("Accept-Language", "").split(","):
        tag, _, quality = entry.replace(" ", "").partition(";q=")
        try:
            wishes.append((-float(quality or 1), tag))
        except ValueError:
            continue
    # Sorting is stable: of equal wishes the first one counts.
    return known_language(*(tag for _, tag in sorted(wishes, key=lambda wish: wish[0])))

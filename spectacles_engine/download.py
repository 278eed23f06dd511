"""One file from one address: resumed, checked, and never half there under its final name.

The bytes go to ``<name>.part``. The server's ETag is kept beside it, so that a later attempt asks for the rest with
``Range`` and ``If-Range`` (RFC 9110, 13.1.5 and 14.2) and a source that changed in between is fetched from its start.
Standard library only: the engine is synchronous, and a hand-made resume is all there is to it.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from spectacles_engine.errors import ChecksumError, ModelError, NoNetworkError, OutputError
from spectacles_engine.manifest import describe

WAITS_S = (0.5, 1.0, 2.0)
"""Pause before each further attempt of a source that gives nothing new."""
TIMEOUT_S = 30.0
"""Longest silence of a server, when connecting and between two reads."""
BLOCK_BYTES = 1 << 18

_LOOPBACK = ("127.0.0.1", "localhost")
_TRANSIENT = (408, 416, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Download:
    """What is wanted. ``size_bytes`` and ``sha256`` are None where nobody states them."""

    url: str
    target: Path
    size_bytes: int | None
    sha256: str | None

    @property
    def host(self) -> str:
        """The name that a person sees when the source is at fault."""
        return urlsplit(self.url).hostname or self.url

    @property
    def part(self) -> Path:
        """Where the bytes lie until they are complete and checked."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def have(self) -> int:
        """Bytes in ``part``."""
        return self.part.stat().st_size if self.part.is_file() else 0

    @property
    def is_whole(self) -> bool:
        """Whether ``part`` has as many bytes as are wanted."""
        return self.have == self.size_bytes

    @property
    def etag(self) -> Path:
        """Remembers which version of the source ``part`` was begun from."""
        return self.target.with_name(self.target.name + ".part.etag")

    def discard(self) -> None:
        """Forgets what was fetched so far."""
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)


class _TryAgain(Exception):
    """A failure that another attempt may cure; its text is the reason."""


def download(wanted: Download, on_progress: Callable[[int, int], None]) -> None:
    """Fetches the file to ``wanted.target`` (in an existing folder), its SHA-256 checked if it is known.

    ``on_progress`` gets bytes done and bytes in all (0: unknown). Not for two processes at once on one target: the
    caller holds a lock.

    Raises :class:`NoNetworkError` (unreachable, or three retries brought nothing new), :class:`ModelError` (refused
    by the server, a web page, or an address that is not https), :class:`ChecksumError`, :class:`OutputError`.
    """
    if not _allowed(wanted.url, wanted.url):
        raise ModelError(f"{wanted.target.name} is not fetched from {wanted.url}: only https is")
    with _disk(wanted.part), suppress(ChecksumError):  # it was of another version, which an earlier manifest had
        if wanted.is_whole:
            _accept(wanted)
            return
    waits, most = iter(WAITS_S), wanted.have
    while True:
        try:
            _receive(wanted, on_progress)
            break
        except _TryAgain as error:
            if wanted.have > most:  # a connection that breaks again and again brings it all in the end
                waits, most = iter(WAITS_S), wanted.have
            if (wait_s := next(waits, None)) is None:
                raise NoNetworkError(
                    f"{wanted.target.name} could not be fetched from {wanted.host}: {error}"
                ) from error
            time.sleep(wait_s)
    with _disk(wanted.part):
        _accept(wanted)


def _accept(wanted: Download) -> None:
    """The last step: check the sum, then give the file its name."""
    if wanted.sha256 and (digest := describe(wanted.part)[1]) != wanted.sha256:
        wanted.discard()
        raise ChecksumError(
            f"{wanted.host} sent something else as {wanted.target.name}: its SHA-256 begins with {digest[:12]}, "
            f"not with {wanted.sha256[:12]}"
        )
    os.replace(wanted.part, wanted.target)
    wanted.etag.unlink(missing_ok=True)


def _receive(wanted: Download, on_progress: Callable[[int, int], None]) -> None:
    """One attempt to complete ``wanted.part``."""
    if wanted.is_whole:
        return
    have = wanted.have
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "SpecTacles"})
    etag = wanted.etag.read_text(encoding="utf-8", errors="replace") if wanted.etag.is_file() else ""
    if have and _is_strong(etag):
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", etag)
    with _open(wanted, request) as response:
        if response.headers.get_content_type() == "text/html":
            raise ModelError(f"{wanted.host} sent a web page in place of {wanted.target.name}")
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        done = have if resumed else 0
        total = _total_bytes(wanted, response, done)
        with _disk(wanted.part), wanted.part.open("ab" if resumed else "wb") as part:
            _remember(wanted, response)
            _copy(wanted, response, part, done, total, on_progress)


def _copy(
    wanted: Download,
    response: http.client.HTTPResponse,
    part: IO[bytes],
    done: int,
    total: int | None,
    on_progress: Callable[[int, int], None],
) -> None:
    for block in _blocks(response):
        done += len(block)
        if total is not None and done > total:
            wanted.discard()
            raise ChecksumError(f"{wanted.host} sends more than the {total:,} bytes of {wanted.target.name}")
        part.write(block)
        on_progress(done, total or 0)
    part.flush()
    os.fsync(part.fileno())
    if total is not None and done < total:
        raise _TryAgain(f"the connection broke off after {done:,} of {total:,} bytes")


def _total_bytes(wanted: Download, response: http.client.HTTPResponse, done: int) -> int | None:
    """Size of the whole file; a server that announces another size than the manifest is not read at all."""
    length = response.headers.get("Content-Length", "")
    announced = done + int(length) if length.isdecimal() else None
    if None not in (announced, wanted.size_bytes) and announced != wanted.size_bytes:
        if done:  # else what is there is of another answer: this one may be a login page's
            wanted.discard()
        raise ChecksumError(
            f"{wanted.host} sent something else as {wanted.target.name}: {announced:,} bytes, not {wanted.size_bytes:,}"
        )
    return wanted.size_bytes if announced is None else announced


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain(_reason(error)) from error
        if not block:
            return
        yield block


def _remember(wanted: Download, response: http.client.HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    if _is_strong(etag):
        wanted.etag.write_text(etag, encoding="ascii")
    else:
        wanted.etag.unlink(missing_ok=True)


def _is_strong(etag: str) -> bool:
    """Whether it is a validator that If-Range takes; without one an attempt starts anew."""
    return etag.startswith('"') and etag.isascii() and etag.isprintable()


def _open(wanted: Download, request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            wanted.discard()
        if error.code in _TRANSIENT:
            raise _TryAgain(f"it answered {error.code} {error.msg}") from error
        raise ModelError(
            f"{wanted.target.name} could not be fetched: {wanted.host} answered {error.code} {error.msg}"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last: of a redirect to no address at all
        raise _TryAgain(_reason(error)) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https only."""

    inf_msg = "again and again: "  # before the server's own word, where a redirect goes in a circle

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Called by urllib for every redirect."""
        if not _allowed(newurl, req.full_url):
            fp.close()
            raise ModelError(f"{req.host} redirects to {newurl}, which is refused: only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allowed(url: str, asked_from: str) -> bool:
    """https anywhere; plain http only on this machine, and only if the way there began on it."""
    scheme, on_loopback = urlsplit(url).scheme, urlsplit(url).hostname in _LOOPBACK
    return scheme == "https" or (scheme == "http" and on_loopback and urlsplit(asked_from).hostname in _LOOPBACK)


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turns the operating system's complaints about ``path`` into a sentence."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}") from error

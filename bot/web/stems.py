"""What the web chat gives out of a finished job: stems, mixes, a zip of all, and what the player plays."""

from __future__ import annotations

import asyncio
import re
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

from bot.jobs import Job, State, StoredResult
from bot.names import file_name, safe_name
from bot.service import SeparationService
from bot.web.downloads import Downloads
from bot.web.errors import WebError
from bot.web.files import sent
from bot.web.jobs import ID
from bot.web.playback import Playbacks
from spectacles_engine.messages import FORMATS, MIXES, STEMS
from spectacles_engine.playback import PEAKS_FILE, segment_file

OFFERED = {
    "flac": "audio/flac",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
}
"""Format of a download → its content type, in the order in which the page has them."""
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}
"""A separation never changes; only its own browser may keep it."""

_BLOCK_BYTES = 1 << 18


class StemRoutes:
    """Handlers below a finished job. ``job_of``: the job that a path names, if it is the asking browser's."""

    def __init__(
        self,
        service: SeparationService,
        downloads: Downloads,
        playbacks: Playbacks,
        job_of: Callable[[web.Request], Job],
    ) -> None:
        self._service = service
        self._downloads = downloads
        self._playbacks = playbacks
        self._job_of = job_of

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(rf"/api/jobs/{ID}/stems/{{name:[a-z-]+}}", self.stem),
            web.get(rf"/api/jobs/{ID}/zip", self.zip, allow_head=False),
            web.get(rf"/api/jobs/{ID}/peaks", self.peaks),
            web.get(rf"/api/jobs/{ID}/playback/{{number:\d{{1,6}}}}", self.segment),
        ]

    async def stem(self, request: web.Request) -> web.StreamResponse:
        """One stem or mix; range requests work."""
        job, result = self._finished(request)
        name, format = request.match_info["name"], _format(request, job)
        if name not in (*STEMS, *MIXES):
            raise WebError(404, "web.no_stem", stems=", ".join((*STEMS, *MIXES)))
        self._service.note_use(result)
        file = await self._downloads.file(job, result, name, format)
        return await sent(request, file, {**_KEPT, **_named(OFFERED[format], file_name(job.order.title, name, format))})

    async def zip(self, request: web.Request) -> web.StreamResponse:
        """Four stems and the karaoke mix in one file, which is never written to disk."""
        job, result = self._finished(request)
        format = _format(request, job)
        folder = safe_name(job.order.title)
        names = (*STEMS, "karaoke")
        self._service.note_use(result)
        made = await asyncio.gather(*(self._downloads.file(job, result, name, format) for name in names))
        inside = [f"{folder}/{file_name(job.order.title, name, format)}" for name in names]
        response = web.StreamResponse(headers=_named("application/zip", f"{folder}.zip"))
        with ExitStack() as opened:  # all of them at once: what is deleted meanwhile still arrives whole
            try:
                files = [opened.enter_context(file.open("rb")) for file in made]
            except FileNotFoundError:
                raise WebError(404, "web.gone") from None
            await response.prepare(request)
            async for block in _zipped(dict(zip(inside, files, strict=True))):
                await response.write(block)
            await response.write_eof()
        return response

    async def peaks(self, request: web.Request) -> web.StreamResponse:
        """Loudest samples along the song, to draw waveforms from."""
        _, result = self._finished(request)
        self._service.note_use(result)  # once for each time that somebody listens
        file = await self._playbacks.file(result, PEAKS_FILE)
        return await sent(request, file, {**_KEPT, "Content-Type": "application/json"})

    async def segment(self, request: web.Request) -> web.StreamResponse:
        """All stems of two seconds of the song."""
        _, result = self._finished(request)
        file = await self._playbacks.file(result, segment_file(int(request.match_info["number"])))
        return await sent(request, file, {**_KEPT, "Content-Type": "application/octet-stream"})

    def _finished(self, request: web.Request) -> tuple[Job, StoredResult]:
        job = self._job_of(request)
        result = self._service.result(job)
        if result is None:
            never = "web.never_done" if job.state.is_final else "web.not_done"
            raise WebError(404, "web.gone" if job.state is State.DONE else never)
        return job, result


def _format(request: web.Request, job: Job) -> str:
    format = request.query.get("format") or job.order.wish.format or "flac"
    if format not in FORMATS:
        raise WebError(400, "web.formats_are", formats=", ".join(FORMATS))
    return format


def _named(type: str, name: str) -> dict[str, str]:
    """Headers of a download: its name as RFC 6266 has it, in UTF-8, and a plain one for who does not know that."""
    plain = re.sub(r'[^ -~]|["%\\]', "_", name.replace("–", "-"))
    known = f"filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Type": type, "Content-Disposition": f"attachment; {known}"}


async def _zipped(files: Mapping[str, BinaryIO]) -> AsyncIterator[bytes]:
    blocks = _zip_blocks(files)
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block


def _zip_blocks(files: Mapping[str, BinaryIO]) -> Iterator[bytes]:
    """A zip file as it grows. Sound does not get smaller, so nothing is compressed."""
    out = _Growing()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, source in files.items():
            # a board without a clock of its own may be in 1970, and a zip knows no time before 1980
            about = zipfile.ZipInfo(name, max(time.localtime()[:6], (1980, 1, 1, 0, 0, 0)))
            with archive.open(about, "w", force_zip64=True) as entry:
                while block := source.read(_BLOCK_BYTES):
                    entry.write(block)
                    yield out.taken()
    yield out.taken()


class _Growing:
    """What ZipFile writes to: it cannot seek, and gives up what it has."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data

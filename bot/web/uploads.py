"""Songs on their way in: streamed to disk, and counted while they arrive."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from aiohttp import BodyPartReader, MultipartReader, web

from bot import refusals
from bot.disk import is_disk_full, is_disk_trouble
from bot.jobs import Job, TooLarge, Unavailable
from bot.service import SeparationService
from bot.web.access import asker
from bot.web.errors import WebError

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 16
_MOST_AT_ONCE, _MOST_OF_ONE = 128, 64
"""Uploads at once: of all, and of one address, behind which there may be a class."""
_SILENCE_S, _LONGEST_S = 60.0, 3600.0
_MOST_FIELD_BYTES = 1000
_MOST_PARTS = 8
_OURS = re.compile(r"[\w-]+\.[0-9a-f]{16}(\.part)?")
# Types under which browsers and curl send what is no sound; anything else is looked at by a decoder. Not all of text/
# and model/: camcorders' .ts and .mts are text/vnd.trolltech.linguist and model/vnd.mts to some systems.
_TEXTS = ("text/plain", "text/html", "text/css", "text/csv")
_NOT_AUDIO = (*_TEXTS, "image/", "font/", "application/pdf", "application/json", "application/zip")


@dataclass
class Upload:
    """A song that arrived whole: where it lies, what it was called, and the form's other fields."""

    path: Path
    name: str = ""
    fields: dict[str, str] = field(default_factory=dict)


class Uploads:
    """The folder of songs that nobody fetched yet. Their names are ours: none comes from a person.

    Room is asked of the ``service``: for what was announced whether there is some, and it is made for what comes.
    """

    def __init__(self, folder: Path, most_bytes: int, service: SeparationService) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._arriving: Counter[str] = Counter()
        self._service = service

    def open(self, unfinished_of: Callable[[str], Collection[str]]) -> None:
        """Makes the folder, and deletes what a killed bot left there; ``unfinished_of``: an owner's uploads in use."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self._folder.iterdir():
            if _OURS.fullmatch(file.name) and file.name not in unfinished_of(file.name.partition(".")[0]):
                file.unlink()

    def path(self, job: Job) -> Path:
        """The file of a job's upload."""
        return self._folder / str(job.order.source["upload"])

    def drop(self, job: Job) -> None:
        """Deletes a job's upload, if it is still there."""
        self.path(job).unlink(missing_ok=True)

    async def receive(self, request: web.Request, owner: str) -> Upload:
        """Takes the song of a multipart form; raises WebError or Refused, and then keeps nothing of it."""
        # not request.content_type: Python's parser of mail takes a third of a second, or all its stack, for 8 KB of it
        if not request.headers.get("Content-Type", "").lower().startswith("multipart/"):
            raise WebError(415, "web.not_a_form")
        announced_bytes = request.content_length or 0
        if announced_bytes > self._most_bytes + _MOST_PARTS * _MOST_FIELD_BYTES:
            raise self._too_large()
        address = asker(request)
        if self._arriving.total() >= _MOST_AT_ONCE or self._arriving[address] >= _MOST_OF_ONE:
            raise WebError(503, "web.busy")
        self._service.check_room(announced_bytes)
        self._arriving[address] += 1
        part = self._folder / f"{owner}.{secrets.token_hex(8)}.part"
        try:
            upload = await self._read(request, part)
            upload.path = part.with_suffix("")
            part.rename(upload.path)
            return upload
        except OSError as error:
            if is_disk_full(error):
                raise Unavailable(refusals.disk_full()) from error
            if is_disk_trouble(error):
                log.error("uploads cannot be written: %s", error)
                raise Unavailable(refusals.disk_in_trouble()) from error
            raise
        finally:
            self._arriving[address] -= 1
            self._arriving += Counter()  # keeps those alone that are above zero
            part.unlink(missing_ok=True)

    async def _read(self, request: web.Request, part: Path) -> Upload:
        upload = Upload(part)
        try:
            async with asyncio.timeout(_LONGEST_S):
                reader = await request.multipart()
                # Browsers and curl write nothing before the first boundary, and aiohttp would skip it line by line:
                # empty lines of some megabytes halt all chats for seconds.
                reader._at_bof = False
                await self._read_parts(reader, upload)
        except TimeoutError:
            raise WebError(503, "web.stopped_arriving") from None  # so that the page offers to send it again
        except (ValueError, AssertionError, RuntimeError, web.HTTPException) as error:  # aiohttp's, of a form
            raise WebError(400, "web.broken_form") from error
        if not part.exists():
            raise WebError(400, "web.no_file")
        if not part.stat().st_size:
            raise WebError(400, "web.empty_file")
        return upload

    async def _read_parts(self, reader: MultipartReader, upload: Upload) -> None:
        for _ in range(_MOST_PARTS):
            async with asyncio.timeout(_SILENCE_S):
                entry = await reader.next()
            if entry is None:
                return
            if isinstance(entry, MultipartReader) or entry.name is None:
                raise WebError(400, "web.broken_form")
            if entry.name == "file":
                if upload.path.exists():
                    raise WebError(400, "web.one_song")
                upload.name = (entry.filename or "").replace("%22", '"')  # so is it written in a form
                await self._save(entry, upload.path)
            elif entry.filename is not None:
                raise WebError(400, "web.no_file")
            else:
                earlier = upload.fields.get(entry.name)
                text = await _text(entry)
                upload.fields[entry.name] = f"{earlier},{text}" if earlier else text

    async def _save(self, entry: BodyPartReader, part: Path) -> None:
        if entry.headers.get("Content-Type", "").lower().startswith(_NOT_AUDIO):
            raise WebError(415, "web.not_audio")
        size = 0
        file = await _made(part)
        try:
            held = bytearray()
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await entry.read_chunk(_BLOCK_BYTES)
                size += len(chunk)
                held += chunk
                if size > self._most_bytes:
                    raise self._too_large()
                # A disk may take its time: that is no time of the other chats.
                if held and (not chunk or len(held) >= _BLOCK_BYTES):
                    # others arrive too, and some did not say how large they are
                    self._service.make_room(len(held))
                    await asyncio.to_thread(_write, file, bytes(held))
                    held.clear()
                if not chunk:
                    await asyncio.to_thread(_settle, file)
                    return
        finally:
            await asyncio.shield(asyncio.to_thread(file.close))  # also for who hangs up in the midst of it

    def _too_large(self) -> TooLarge:
        return TooLarge(refusals.file_too_large(self._most_bytes / 1e6))


async def _made(part: Path) -> BinaryIO:
    """A new file to write to; none is left open where nobody waits for it any more."""
    opening = asyncio.ensure_future(asyncio.to_thread(open, part, "xb"))
    try:
        return cast(BinaryIO, await asyncio.shield(opening))
    except asyncio.CancelledError:
        (await opening).close()
        raise


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())  # what is accepted outlives a power cut


async def _text(entry: BodyPartReader) -> str:
    text = bytearray()
    async with asyncio.timeout(_SILENCE_S):
        while chunk := await entry.read_chunk():
            text += chunk
            if len(text) > _MOST_FIELD_BYTES:
                raise WebError(400, "web.broken_form")
    return text.decode("utf-8")

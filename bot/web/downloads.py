"""Stems and mixes in the format that somebody asks for, encoded once and kept beside the stems."""

from __future__ import annotations

import asyncio
from pathlib import Path
from weakref import WeakValueDictionary

from bot.delivery import Rung, encode
from bot.jobs import Job, StoredResult
from bot.service import SeparationService
from bot.shelf import stem_bytes
from bot.web.errors import WebError
from spectacles_engine.errors import OutputError
from spectacles_engine.messages import MIXES

_AT_ONCE = 2


class Downloads:
    """One encoding at a time of each file, however many ask for it, and whether or not they wait for it.

    No chat has two at a time: one that asks for everything keeps nobody waiting.
    """

    def __init__(self, service: SeparationService) -> None:
        self._service = service
        self._chats: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: dict[Path, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def file(self, job: Job, result: StoredResult, name: str, format: str) -> Path:
        """The file of a stem or mix; raises WebError if it can't be, Unavailable if there is no room for it."""
        if format == "flac" and name not in MIXES:
            return result.stem(name)
        file = result.folder / f"{job.order.name_key}-{name}.{format}"
        if not file.exists():
            if file not in self._running:
                self._running[file] = asyncio.create_task(self._encode(job, result, name, format, file))
                self._running[file].add_done_callback(lambda _: self._running.pop(file, None))
            try:
                await asyncio.shield(self._running[file])
            except (OutputError, OSError) as error:
                raise WebError(503, "web.not_written") from error
        return file

    async def close(self) -> None:
        """Ends what is being encoded."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _encode(self, job: Job, result: StoredResult, name: str, format: str, file: Path) -> None:
        chat = self._chats.setdefault(job.place.chat, asyncio.Lock())
        async with chat, self._turns:
            self._service.make_room(stem_bytes(result), [result.audio])
            await encode(job, result, name, Rung(format), file)
            if self._service.job(job.id) is None:  # forgotten meanwhile, and the file's tags hold the title
                file.unlink(missing_ok=True)
                raise WebError(404, "web.gone")

"""Segments and peaks of results, made by a child when somebody first wants to listen, and kept beside the stems."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from pathlib import Path

from bot.jobs import StoredResult
from bot.web.errors import WebError
from spectacles_engine.playback import PEAKS_FILE, written
from spectacles_engine.short_child import ChildFailed

log = logging.getLogger(__name__)

_AT_ONCE = 2


class Playbacks:
    """One child a result, however many listen; a segment is given out as soon as it is written."""

    def __init__(self) -> None:
        self._writing: dict[str, _Writing] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def file(self, result: StoredResult, name: str) -> Path:
        """The file of that name; raises WebError if there is none, or none can be made."""
        file = result.folder / name
        if not file.exists() and not (result.folder / PEAKS_FILE).exists():
            writing = self._writing.get(result.audio)
            if writing is None:
                writing = self._writing[result.audio] = _Writing(result, self._turns)
                writing.task.add_done_callback(lambda _: self._writing.pop(result.audio, None))
            await writing.wait_for(file)
        if not file.exists():
            raise WebError(404, "web.no_segment")
        return file

    async def close(self) -> None:
        """Ends the children."""
        tasks = [writing.task for writing in self._writing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Writing:
    """A child at work; it prints a line for each file."""

    def __init__(self, result: StoredResult, turns: asyncio.Semaphore) -> None:
        self._news = asyncio.Condition()
        self._has_ended = self._has_failed = False
        self.task = asyncio.create_task(self._run(result, turns))

    async def wait_for(self, file: Path) -> None:
        """Returns when the file is there, or will never be; raises WebError if the child failed."""
        async with self._news:
            await self._news.wait_for(lambda: self._has_ended or file.exists())
        if self._has_failed:
            raise WebError(503, "web.no_playback")

    async def _run(self, result: StoredResult, turns: asyncio.Semaphore) -> None:
        is_written = False
        try:
            async with turns:
                is_written = await self._write(result)
        finally:
            self._has_ended, self._has_failed = True, not is_written
            await self._tell()

    async def _write(self, result: StoredResult) -> bool:
        try:
            async with aclosing(written(result.folder, result.channels)) as files:
                async for _ in files:
                    await self._tell()
        except ChildFailed as error:
            # The stems may just have been forgotten.
            log.warning("no segments of %s (%s)", result.audio, error)
            return False
        return True

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

"""Songs that come block by block: written as they come, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

from bot.jobs import TooLarge
from bot.refusals import file_too_large

BLOCK_BYTES = 1 << 18


class Gone(Exception):
    """A song cannot be had any more."""


async def save(blocks: AsyncIterable[bytes], to: Path, most_bytes: float) -> None:
    """Writes a file; raises TooLarge, as not every platform says beforehand how large a song is."""
    size = 0
    with to.open("wb") as file:
        async for block in blocks:
            size += len(block)
            if size > most_bytes:
                raise TooLarge(file_too_large(most_bytes / 1e6))
            await asyncio.to_thread(file.write, block)

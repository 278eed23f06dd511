"""What a stem player is served, as the bot sees it (import-light): names, sizes, the child that writes the files."""

from __future__ import annotations

from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator
from pathlib import Path

from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.short_child import ChildFailed, running

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
"""Length of a segment, at 44.1 kHz."""

PEAKS_FILE = "peaks.json"
"""Written last."""


def segment_file(number: int) -> str:
    """Name of the file with all stems of a segment; the song begins with number 0."""
    return f"{number}.segment"


async def written(folder: Path, channels: int) -> AsyncGenerator[str]:
    """Has a child make the segments and peaks of the stems in ``folder``, beside them: the name of each as it is there.

    Raises ChildFailed with what the child complains of, OSError if there can be none.
    """
    arguments = ("spectacles_engine.audio.playback", str(folder.absolute()), str(channels))
    async with running(*arguments, stdin=DEVNULL) as (process, out, complaints):
        async for line in out:
            yield line.decode().strip()
        complaint = (await complaints.read()).decode(errors="replace")
        if status := await process.wait():
            raise ChildFailed(f"exit status {status}: {complaint.strip()}")

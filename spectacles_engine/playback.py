"""What a stem player is served, as the bot sees it (import-light): names, sizes, the child that writes the files."""

from __future__ import annotations

from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.short_child import start

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
"""Length of a segment, at 44.1 kHz."""

PEAKS_FILE = "peaks.json"
"""Written last."""


def segment_file(number: int) -> str:
    """Name of the file with all stems of a segment; the song begins with number 0."""
    return f"{number}.segment"


async def start_writing(folder: Path, channels: int) -> Process:
    """Starts the child that makes the segments and peaks of the stems in ``folder``, beside them.

    It prints a line for every file that is there now; its stderr says what went wrong.
    """
    module = "spectacles_engine.audio.playback"
    return await start(module, str(folder.absolute()), str(channels), stdin=DEVNULL, stderr=PIPE)

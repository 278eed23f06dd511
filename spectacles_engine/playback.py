"""What a stem player is served, as the bot sees it (import-light): names, sizes, the child that writes the files."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from spectacles_engine.messages import SAMPLE_RATE_HZ

SEGMENT_SAMPLES = 2 * SAMPLE_RATE_HZ
"""Length of a segment, at 44.1 kHz."""

PEAKS_FILE = "peaks.json"
"""Written last."""

_ROOT = Path(__file__).parents[1]


def segment_file(number: int) -> str:
    """Name of the file with all stems of a segment; the song begins with number 0."""
    return f"{number}.segment"


async def start_writing(folder: Path, channels: int) -> Process:
    """Starts the child that makes the segments and peaks of the stems in ``folder``, beside them.

    It prints a line for every file that is there now; its stderr says what went wrong.
    """
    module = "spectacles_engine.audio.playback"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(folder.absolute()), str(channels)),
        cwd=_ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for this process to hear
    )

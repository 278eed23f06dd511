"""The C heap of a process that separates songs."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""From glibc's ``malloc.h``."""
LARGE_BYTES = 24 << 20
"""Less costs time, for each such block is mapped and cleared anew: with 4 MiB a song takes half as long again. With
glibc's own 32 MiB the heap grows with the length of a song."""


def give_large_blocks_back() -> None:
    """Has blocks of memory from 24 MiB on returned to the system as soon as they are freed; does nothing without glibc.

    glibc raises this threshold by itself up to 32 MiB, and then the buffers of a song, of many lengths and lives, leave
    holes that nothing fills: the heap of an hour of audio grew to a third more than that of three minutes.
    """
    if sys.platform == "linux":
        # musl has no mallopt
        getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(_M_MMAP_THRESHOLD, LARGE_BYTES)

"""The C heap of a process that separates songs.

glibc keeps what is freed, and the buffers of a song, of many lengths and lives, leave holes that nothing fills: an hour
of audio took a quarter more than three minutes. So large blocks bypass the heap, and now and then the holes go back to
the system. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""From glibc's ``malloc.h``."""
LARGE_BYTES = 24 << 20
"""glibc raises this by itself up to 32 MiB. Less costs time, for each such block is mapped and cleared anew: with 4 MiB
a song takes half as long again."""


def give_large_blocks_back() -> None:
    """Has blocks of memory from 24 MiB on returned to the system as soon as they are freed."""
    _glibc("mallopt", _M_MMAP_THRESHOLD, LARGE_BYTES)


def give_holes_back() -> None:
    """Returns what is freed, and lies between blocks in use, to the system."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        # musl has neither
        getattr(ctypes.CDLL(None), function, lambda *_: 0)(*arguments)

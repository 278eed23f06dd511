"""The C heap of a process that separates songs.

glibc keeps what is freed, and the buffers of a song, of many lengths and lives, leave holes that nothing fills: an hour
of audio took a quarter more than three minutes. So large blocks bypass the heap, and now and then the holes go back to
the system. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_MMAP_THRESHOLD = -3
"""From glibc's ``malloc.h``."""
LARGE_BYTES = 8 << 20
"""With 24 MiB the holes grew for as long as a song lasted: half an hour took 1.14 times the memory of three minutes.
Less than 8 costs time, for each such block is mapped and cleared anew: with 2 MiB a song takes a quarter longer."""


def give_large_blocks_back() -> None:
    """Has blocks of memory from 8 MiB on returned to the system as soon as they are freed.

    To be called before torch makes its first tensor: it looks then whether it is to ask for huge pages.
    """
    # clearing 2 MiB at once costs far less than 512 page faults, and pays for the smaller threshold
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _glibc("mallopt", _M_MMAP_THRESHOLD, LARGE_BYTES)


def give_holes_back() -> None:
    """Returns what is freed, and lies between blocks in use, to the system."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        # musl has neither
        getattr(ctypes.CDLL(None), function, lambda *_: 0)(*arguments)

"""Memory that is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

RESIDENT_MIB = """
import sys
import numpy as np
from spectacles_engine import heap

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / (1 << 20)

wanted = sys.argv[1] == "yes"
"""
LARGE_BLOCKS = """
if wanted:
    heap.give_large_blocks_back()
np.ones(31 << 20, np.uint8)  # once freed, glibc would keep blocks of this size in its heap
before = resident_mib()
kept = []
for _ in range(20):
    large = np.ones(25 << 20, np.uint8)
    kept.append(np.ones(64 << 10, np.uint8))
    del large
    kept.append(np.ones(64 << 10, np.uint8))
blocks = [np.ones(25 << 20, np.uint8) for _ in range(8)]
pin = np.ones(64 << 10, np.uint8)
del blocks
print(resident_mib() - before)
"""
HOLES = """
heap.give_large_blocks_back()
before = resident_mib()
blocks = [np.ones(size << 10, np.uint8) for size in (1000, 1) * 100]
del blocks[::2]
if wanted:
    heap.give_holes_back()
print(resident_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
@pytest.mark.parametrize("script", [LARGE_BLOCKS, HOLES])
def test_memory_that_was_freed_goes_back_to_the_system(script: str) -> None:
    def grown_mib(call: str) -> float:
        return float(subprocess.check_output([sys.executable, "-c", RESIDENT_MIB + script, call]))

    assert grown_mib("yes") < 20 < grown_mib("no")

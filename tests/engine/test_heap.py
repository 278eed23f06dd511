"""Memory that is freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

FREED_BLOCKS = """
import gc, sys
import numpy as np
from spectacles_engine.heap import give_large_blocks_back

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / (1 << 20)

if sys.argv[1] == "yes":
    give_large_blocks_back()
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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_large_blocks_leave_no_holes_behind() -> None:
    def grown_mib(call: str) -> float:
        return float(subprocess.check_output([sys.executable, "-c", FREED_BLOCKS, call]))

    assert grown_mib("yes") < 20 < grown_mib("no")

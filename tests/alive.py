"""Whether a process still lives."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):  # no such folder on this system, or the process has just ended
        # a zombie that nobody has reaped is dead as well
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def assert_gone(pid: int, within_s: float = 30.0) -> None:
    """Waits for a process that is about to leave; one that doesn't is killed, and that is a failure."""
    deadline = time.monotonic() + within_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"process {pid} lives on")
        time.sleep(0.05)

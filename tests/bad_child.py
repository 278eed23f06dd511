"""A short-lived child that goes wrong in the way that it is asked for (``python -m tests.bad_child``)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from spectacles_engine.errors import TooLongError
from spectacles_engine.short_child import MOST_MEMORY_BYTES, answer


def _work(question: dict[str, Any]) -> Any:
    # `path` in the place of `how`: as if it were asked to inspect or to encode
    how = question.get("how") or Path(question["path"]).stem
    if "pid_file" in question:
        Path(question["pid_file"]).write_text(str(os.getpid()))
    if how == "end" and not (ended := Path(question["ended"])).exists():
        ended.touch()
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        Path(question.get("path", os.devnull)).write_bytes(b"half")
        time.sleep(1000)
    if how == "gobble":
        return len(bytearray(2 * MOST_MEMORY_BYTES))
    if how == "err":
        raise ZeroDivisionError
    if how == "object":
        raise TooLongError("a sentence")
    os.write(1, b"what a library has to say about it\n")
    return "an answer"


if __name__ == "__main__":
    answer(_work)

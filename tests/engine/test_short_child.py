from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spectacles_engine.errors import TooLongError
from spectacles_engine.short_child import ChildDied, ChildFailed, ask, running
from tests.alive import assert_gone, is_alive

ROOT = Path(__file__).parents[2]
BAD = "tests.bad_child"


async def _begun(pid_file: Path) -> int:
    while not (pid_file.exists() and pid_file.read_text()):
        await asyncio.sleep(0.02)
    return int(pid_file.read_text())


async def test_an_answer_comes_back_whatever_else_is_printed() -> None:
    assert await ask(BAD, {"how": "talk"}, deadline_s=60) == "an answer"


async def test_a_child_that_has_answered_ends_in_peace() -> None:
    async with running(BAD, "60", stdin=asyncio.subprocess.PIPE) as (child, out, _):
        assert child.stdin
        child.stdin.write(b'{"how": "talk"}\n')
        assert json.loads(await out.read()) == {"answer": "an answer"}
        assert await child.wait() == 0


async def test_an_error_of_ours_crosses_as_itself() -> None:
    with pytest.raises(TooLongError, match=r"^a sentence$"):
        await ask(BAD, {"how": "object"}, deadline_s=60)


@pytest.mark.parametrize("how", ["die", "gobble"])
async def test_a_child_that_takes_itself_down_takes_nobody_along(how: str) -> None:
    with pytest.raises(ChildDied):
        await ask(BAD, {"how": how}, deadline_s=60)


async def test_a_child_that_is_told_to_end_as_the_whole_bot_is_has_no_bad_song(tmp_path: Path) -> None:
    assert await ask(BAD, {"how": "end", "ended": str(tmp_path / "ended")}, deadline_s=60) == "an answer"
    assert (tmp_path / "ended").exists()


async def test_a_mistake_of_ours_is_told_from_a_child_that_died(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ChildFailed) as caught:
        await ask(BAD, {"how": "err"}, deadline_s=60)
    assert not isinstance(caught.value, ChildDied)
    assert "ZeroDivisionError" in caplog.text


async def test_so_is_a_program_that_does_not_start(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ChildFailed, match="does not start") as caught:
        await ask("tests.nothing_of_that_name", {}, deadline_s=60)
    assert not isinstance(caught.value, ChildDied)
    assert "No module named" in caplog.text


async def test_a_child_is_killed_at_its_deadline(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        await ask(BAD, {"how": "hang", "pid_file": str(pid_file)}, deadline_s=5)
    assert not is_alive(int(pid_file.read_text()))


async def test_a_child_is_killed_when_its_caller_is_cancelled(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    asking = asyncio.create_task(ask(BAD, {"how": "hang", "pid_file": str(pid_file)}, deadline_s=60))
    pid = await _begun(pid_file)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not is_alive(pid)


PARENT = """
import asyncio, sys
from spectacles_engine.short_child import ask
asyncio.run(ask("tests.bad_child", {"how": "hang", "pid_file": sys.argv[1]}, deadline_s=1000))
"""


def test_a_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(pid_file)], cwd=ROOT)
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.02)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert_gone(int(pid_file.read_text()))

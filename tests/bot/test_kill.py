"""``kill -9`` of the bot at random moments: every job ends with its stems, once, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bot.store import JobStore
from tests.alive import assert_gone
from tests.fake_engine import Behaviour, write_song

ROOT = Path(__file__).parents[2]
KILLS = 5
SONGS = 10


def _inbox(folder: Path) -> dict[str, str]:
    """Title → chat. Two of the songs are sent in two chats each."""
    (folder / "songs").mkdir()
    messages = []
    for number in range(SONGS):
        song = f"{max(number - 1, 0) if number in (4, 9) else number}.wav"
        write_song(folder / "songs" / song, Behaviour(steps=4, step_s=0.1), seed=int(Path(song).stem), seconds=0.5)
        messages.append({"chat": f"c{number % 3}", "song": song, "title": f"t{number}"})
    (folder / "inbox.json").write_text(json.dumps(messages), encoding="utf-8")
    return {message["title"]: message["chat"] for message in messages}


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.killable_bot", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _lives(folder: Path) -> list[list[str]]:
    """What was seen, in each life of the bot."""
    seen = (folder / "seen").read_text(encoding="utf-8") if (folder / "seen").exists() else ""
    return [life.strip().splitlines() for life in seen.split("up\n")[1:]]


def _kill_at_some_moment(folder: Path, after_s: float) -> None:
    lives = len(_lives(folder))
    with _start(folder) as bot:
        while len(_lives(folder)) == lives:
            assert bot.poll() is None
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            bot.wait(after_s)
        bot.kill()
    if (folder / "child").exists():
        assert_gone(int((folder / "child").read_text(encoding="utf-8")))


@pytest.mark.parametrize("seed", [1])
def test_every_job_of_a_killed_bot_ends_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    chats = _inbox(tmp_path)
    for _ in range(KILLS):
        _kill_at_some_moment(tmp_path, chance.uniform(0.05, 1.8))
    with _start(tmp_path) as bot:
        assert bot.wait(90) == 0

    lives = _lives(tmp_path)
    for title, chat in chats.items():
        sent = [life for life in lives if f"sent {title} {chat} whole" in life]
        # again only where the bot died in the moment between the sending and the noting of it
        for life in sent[:-1]:
            assert len(life) - life.index(f"sent {title} {chat} whole") < 4, life
            assert f"told {title} done" not in life
        assert sent, f"{title} was never answered"
    everything = [line for life in lives for line in life]
    assert len([line for line in everything if line.startswith("sent ")]) <= len(chats) + 1
    assert all(f"told {title} done" in everything for title in chats)
    assert not [line for line in everything if "failed" in line or "broken" in line]

    store = JobStore(tmp_path / "data")
    assert (store.unfinished(), store.untold(), store.songs()) == ([], [], [])
    kept = {result.audio for result in store.results()}
    store.close()
    assert len(kept) == SONGS - 2
    for name, expected in (("work", set()), ("songs", set()), ("results", kept)):
        assert {path.name for path in (tmp_path / "data" / name).iterdir()} == expected
    for audio in kept:
        assert len(list((tmp_path / "data" / "results" / audio).iterdir())) == 4

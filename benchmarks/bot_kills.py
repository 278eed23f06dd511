"""What becomes of songs whose bot is killed at random moments: the whole bot, with its web chat and the preset `lite`.

::

    python -m benchmarks.bot_kills --kills 10 --seconds 10

A browser sends a song before each kill; a kill is a ``kill -9`` of ``run_bot.py``, which is then started again on the
same data.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from aiohttp import ClientError, ClientSession, ClientTimeout, CookieJar

from benchmarks.speed import ROOT, made_up_song
from bot.jobs import State
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from tests.alive import is_alive
from tests.bot.web.chat import Client
from tests.ports import free_port

_LEAVES_WITHIN_S = 15.0


def main() -> None:
    """Prints what became of the songs, and what was left behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10, help="length of the songs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_run(Path(folder), arguments))


async def _run(folder: Path, arguments: argparse.Namespace) -> None:
    chance, bot = random.Random(arguments.seed), _Bot(folder / "data")
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(total=60)) as session:
        browser = Client(session, bot.url)
        await bot.start(browser)
        began = time.monotonic()
        await browser.send(_song(folder, 0, arguments.seconds))
        await _all_final(browser)
        song_s = time.monotonic() - began
        print(f"the first song took {song_s:.1f} s", flush=True)
        orphans = 0
        for number in range(1, arguments.kills + 1):
            await browser.send(_song(folder, number, arguments.seconds))
            await asyncio.sleep(chance.uniform(0, song_s))
            states = [job["state"] for job in await _jobs(browser)]
            orphans += await bot.end(signal.SIGKILL)
            print(f"kill {number}: {states.count('done')} of {len(states)} songs were done", flush=True)
            await bot.start(browser)
        jobs = await _all_final(browser)
        whole = sum([await _is_whole(browser, job, arguments.seconds) for job in jobs])
        orphans += await bot.end(signal.SIGTERM)
    files = [path for name in ("work", "songs", "web/uploads") for path in (folder / "data" / name).iterdir()]
    print(
        f"{len(jobs)} songs: {whole} with four whole stems; processes that outlived their bot: {orphans}; "
        f"files left behind: {len(files)}"
    )


class _Bot:
    """``run_bot.py`` without a token, on a port of its own; its data outlives it."""

    def __init__(self, data: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = os.environ | {"SPECTACLES_DATA_DIR": str(data), "SPECTACLES_WEB__PORT": str(port)}
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, browser: Client) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "run_bot.py")],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while True:
            try:
                async with browser.get("/api/page"):
                    return
            except ClientError:
                await asyncio.sleep(0.05)

    async def end(self, by: signal.Signals) -> int:
        """Returns when it is gone: how many of its children live on."""
        assert self._process
        children = _descendants(self._process.pid)
        self._process.send_signal(by)
        await asyncio.to_thread(self._process.wait)
        return await _outlasting(children)


def _descendants(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


async def _outlasting(pids: list[int]) -> int:
    deadline = time.monotonic() + _LEAVES_WITHIN_S
    while (alive := sum(map(is_alive, pids))) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return alive


def _song(folder: Path, number: int, seconds: int) -> Path:
    """Another sound for each number."""
    song = folder / f"{number}.flac"
    samples = np.clip(np.roll(made_up_song(seconds), 1000 * number, axis=1), -1, 1)
    soundfile.write(song, samples.T, SAMPLE_RATE_HZ)
    return song


async def _jobs(browser: Client) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = (await browser.json("/api/jobs"))["jobs"]
    return jobs


async def _all_final(browser: Client) -> list[dict[str, Any]]:
    while True:
        jobs = await _jobs(browser)
        if all(State(job["state"]).is_final for job in jobs):
            return jobs
        await asyncio.sleep(0.1)


async def _is_whole(browser: Client, job: dict[str, Any], seconds: int) -> bool:
    if sorted(job["stems"]) != sorted(STEMS):
        print(f"{job['title']}: {job['state']}, {job['error']}")
        return False
    for url in job["stems"].values():
        async with browser.get(url) as answer:
            with tempfile.NamedTemporaryFile(suffix=".flac") as file:
                file.write(await answer.read())
                file.flush()
                if soundfile.info(file.name).frames != seconds * SAMPLE_RATE_HZ:
                    return False
    return True


if __name__ == "__main__":
    main()

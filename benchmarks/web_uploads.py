"""Fifty browsers send a song each at the same moment: is anything lost, and what memory does the bot take?

``python -m benchmarks.web_uploads [--browsers 50] [--megabytes 10]``: the real web chat and service in a process of
their own, over the fast fake engine; prints the bot's resident memory before, at its highest and afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, CookieJar, FormData

from tests.bot.web.chat import serving
from tests.fake_engine import Behaviour, write_song

BYTES_PER_S = 176_400


def main() -> None:
    """Runs it and prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--megabytes", type=float, default=10)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        # not a daemon: it has children of its own
        bot = context.Process(target=_serve, args=(folder, theirs))
        bot.start()
        try:
            asyncio.run(_measure(ours, Path(folder), arguments.browsers, arguments.megabytes))
        finally:
            ours.send("end")
            bot.join()


async def _measure(bot: Connection[str, Any], folder: Path, browsers: int, megabytes: float) -> None:
    url, before_mb = bot.recv()
    seconds = megabytes * 1e6 / BYTES_PER_S
    whole = write_song(folder / "one.wav", Behaviour(steps=1), seconds=seconds).read_bytes()
    began = time.monotonic()
    states = await asyncio.gather(*(_one(url, _different(whole, n)) for n in range(browsers)))
    elapsed_s = time.monotonic() - began
    bot.send("memory")
    after_mb, highest_mb = bot.recv()
    print(f"{browsers} songs of {len(whole) / 1e6:.1f} MB: {states.count('done')} done in {elapsed_s:.0f} s")
    print(
        f"resident memory of the bot: {before_mb:.0f} MB before, {highest_mb:.0f} at its highest, {after_mb:.0f} after"
    )


def _different(song: bytes, number: int) -> bytes:
    """Another sound of the same length: the first samples after the header of 44 bytes count."""
    return song[:44] + number.to_bytes(4, "little") + song[48:]


async def _one(url: str, song: bytes) -> str:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), timeout=ClientTimeout(total=None)) as session:
        async with session.get(f"{url}/api/page"):
            pass
        form = FormData()
        form.add_field("file", _slices(song), filename="song.wav", content_type="audio/wav")
        async with session.post(f"{url}/api/jobs", data=form) as answer:
            job_id = (await answer.json())["id"]
        async with session.get(f"{url}/api/jobs/{job_id}/events") as events:
            await events.read()
        async with session.get(f"{url}/api/jobs/{job_id}") as answer:
            return str((await answer.json())["state"])


async def _slices(song: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(song), 1 << 16):
        yield song[start : start + (1 << 16)]


def _serve(folder: str, pipe: Connection[Any, str]) -> None:
    async def run() -> None:
        async with serving(Path(folder)) as chat:
            await asyncio.sleep(2)
            pipe.send((chat.url, _resident_mb()))
            while await asyncio.to_thread(pipe.recv) != "end":
                highest_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
                pipe.send((_resident_mb(), highest_mb))

    asyncio.run(run())


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()

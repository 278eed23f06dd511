"""What becomes of jobs whose engine is killed at random moments, and how soon it is free after a cancel; preset `lite`.

::

    python -m benchmarks.kills --jobs 10 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.speed import made_up_song
from spectacles_engine.errors import CancelledError, SpecTaclesError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS, EngineOptions, SeparationRequest
from spectacles_engine.process import EngineProcess

REQUEST = SeparationRequest(format="flac")


def main() -> None:
    """Prints what ended how, what was left behind, and the seconds from each cancel to a free engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=10, help="length of the songs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.wav"
        soundfile.write(song, np.clip(made_up_song(arguments.seconds), -1, 1).T, SAMPLE_RATE_HZ)
        asyncio.run(_run(song, arguments.jobs, random.Random(arguments.seed)))


async def _run(song: Path, jobs: int, chance: random.Random) -> None:
    engine = EngineProcess(EngineOptions(song.parent / "models", device="cpu"))
    started = time.monotonic()
    await engine.start()
    print(f"started in {time.monotonic() - started:.1f} s")
    started = time.monotonic()
    await engine.separate("whole", song, song.parent / "out", REQUEST)
    job_s = time.monotonic() - started
    print(f"a job that nobody disturbs takes {job_s:.1f} s", flush=True)
    await _kills(engine, song, jobs, job_s, chance)
    await _cancels(engine, song, jobs, job_s, chance)
    await engine.close()
    print(f"processes left: {len(multiprocessing.active_children())}")


async def _kills(engine: EngineProcess, song: Path, jobs: int, job_s: float, chance: random.Random) -> None:
    out = song.parent / "out"
    killed: list[int] = []
    with_stems = left = 0
    for number in range(jobs):
        before = len(killed)
        job = asyncio.create_task(engine.separate(f"kill-{number}", song, out, REQUEST))
        await asyncio.sleep(chance.uniform(0, job_s))
        if engine.pid and not job.done():
            os.kill(engine.pid, signal.SIGKILL)
            killed.append(engine.pid)
        try:
            await job
            is_whole = all((out / f"{stem}.flac").is_file() for stem in STEMS)
            with_stems += is_whole and len(killed) > before
        except SpecTaclesError as error:
            print(f"job {number}: {error}")
        left += len({path.name for path in out.glob("*")} - {f"{stem}.flac" for stem in STEMS})
    zombies = sum(Path(f"/proc/{pid}").exists() for pid in killed)
    print(f"{len(killed)} of {jobs} jobs had their engine killed: {with_stems} of these ended with stems", flush=True)
    print(f"killed processes that are still there: {zombies}; files left beside the stems: {left}", flush=True)


async def _cancels(engine: EngineProcess, song: Path, jobs: int, job_s: float, chance: random.Random) -> None:
    free_after_s, replaced, left = [], 0, 0
    for number in range(jobs):
        await engine.start()  # so that it is the job that is cancelled, not the start
        pid, out = engine.pid, song.parent / f"cancel-{number}"
        job = asyncio.create_task(engine.separate(f"cancel-{number}", song, out, REQUEST))
        await asyncio.sleep(chance.uniform(0, 0.9 * job_s))
        cancelled = time.monotonic()
        engine.cancel(f"cancel-{number}")
        try:
            await job
        except CancelledError:
            await engine.start()  # returns when the engine can take a job
            free_after_s.append(time.monotonic() - cancelled)
            left += out.exists()
        replaced += engine.pid != pid
    print(
        f"{len(free_after_s)} of {jobs} jobs were cancelled in time; from cancel to a free engine "
        f"{statistics.median(free_after_s):.2f} s in the median, {max(free_after_s):.2f} s at worst; "
        f"engines replaced by force: {replaced}; folders left: {left}",
        flush=True,
    )


if __name__ == "__main__":
    main()

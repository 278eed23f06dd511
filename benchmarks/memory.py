"""Peak memory of `separate` with the preset `lite` for songs of several lengths: a stream needs no more for an hour.

::

    python -m benchmarks.memory --minutes 3 10 60

Each length is a run of its own; the figure is the peak resident memory of the whole process, as `--json` reports it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.speed import made_up_song, separate
from spectacles_engine.messages import SAMPLE_RATE_HZ


def main() -> None:
    """Prints the peak of each length, and its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=int, nargs="+", default=[3, 10, 60])
    first_mb = 0
    for minutes in parser.parse_args().minutes:
        with tempfile.TemporaryDirectory() as folder:
            song = Path(folder) / "song.wav"
            write_song(song, minutes)
            peak_mb = separate(song)["peak_rss_mb"]
        first_mb = first_mb or peak_mb
        print(f"{minutes} min: {peak_mb} MiB, {peak_mb / first_mb:.2f} of the shortest", flush=True)


def write_song(path: Path, minutes: int) -> None:
    """A minute of the made-up song, again and again."""
    minute = np.clip(made_up_song(60), -1, 1).T
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 2) as file:
        for _ in range(minutes):
            file.write(minute)


if __name__ == "__main__":
    main()

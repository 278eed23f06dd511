"""How long `separate` takes with the preset `lite`, against demucs' own `apply_model` with the released HTDemucs shape.

Both separate the same song on the same cores, in turn, in one run; what counts is the ratio::

    python -m benchmarks.speed --seconds 240 --rounds 2

SpecTacles' time is the whole command: starting Python, loading the models, decoding, separating, judging, encoding.
Demucs' time is `apply_model` alone, on random weights of the released shape: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from demucs.apply import apply_model
from demucs.htdemucs import HTDemucs

from spectacles_engine.messages import SAMPLE_RATE_HZ

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Prints both times and their ratio, round by round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    network = HTDemucs(["drums", "bass", "other", "vocals"], channels=48, t_layers=5, bottom_channels=512, segment=7.8)
    print(f"{torch.get_num_threads()} threads, a song of {arguments.seconds} s")
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.wav"
        samples = made_up_song(arguments.seconds)
        soundfile.write(song, samples.T, SAMPLE_RATE_HZ)
        ratios = []
        for _ in range(arguments.rounds):
            ours_s, theirs_s = time_of_separate(song), time_of_demucs(network.eval(), samples)
            ratios.append(ours_s / theirs_s)
            print(f"separate (lite) {ours_s:.1f} s, apply_model (HTDemucs) {theirs_s:.1f} s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {np.median(ratios):.2f}")


def made_up_song(seconds: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Noise bursts over a chord, (2, samples): something for every stem."""
    random = np.random.default_rng(0)
    at_s = np.arange(seconds * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    chord = sum(np.sin(2 * np.pi * hertz * at_s) for hertz in (55.0, 220.0, 277.2, 329.6))
    beat = random.standard_normal((2, len(at_s))) * np.exp(-20 * (at_s % 0.5))
    song: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (0.05 * chord + 0.2 * beat).astype(np.float32)
    return song


def separate(song: Path) -> dict[str, Any]:
    """Runs the whole command; what it says of the song."""
    command = [sys.executable, str(ROOT / "run_bot.py"), "separate", str(song), "--out", str(song.parent / "stems")]
    run = subprocess.run([*command, "--preset", "lite", "--json"], check=True, stdout=subprocess.PIPE)
    said: dict[str, Any] = json.loads(run.stdout)
    return said


def time_of_separate(song: Path) -> float:
    """Seconds of wall clock of the whole command."""
    started = time.monotonic()
    separate(song)
    return time.monotonic() - started


def time_of_demucs(network: HTDemucs, samples: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
    """Seconds of wall clock of `apply_model` with its own defaults."""
    started = time.monotonic()
    apply_model(network, torch.from_numpy(samples)[None])
    return time.monotonic() - started


if __name__ == "__main__":
    main()

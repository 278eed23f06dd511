"""Basses and kicks of machines, made up on the spot: recorded ones that may be used are few."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ


def kicks(samples: int, random: Generator) -> Array:
    """Strokes on a beat of 70–170 a minute: sines that fall to 38–65 Hz within 10–60 ms, and a click of noise."""
    beat = int(60 / random.uniform(70, 170) * SAMPLE_RATE_HZ)
    time_s = np.arange(min(beat, samples)) / SAMPLE_RATE_HZ
    low_hz, above_hz = random.uniform(38, 65), random.uniform(60, 400)
    falling_s, decay_s = random.uniform(0.01, 0.06), random.uniform(0.04, 0.25)
    phase = 2 * np.pi * (low_hz * time_s + above_hz * falling_s * (1 - np.exp(-time_s / falling_s)))
    click = random.standard_normal(len(time_s)) * np.exp(-time_s / 0.003) * random.uniform(0, 0.3)
    stroke = np.sin(phase) * np.exp(-time_s / decay_s) + click
    stroke = np.tanh(stroke * random.uniform(0.5, 3)) * np.minimum(1, (time_s[-1] - time_s) / 0.008)
    line = np.zeros(samples, np.float32)
    on_beat = True
    for start in range(-int(random.integers(beat)), samples, beat // 2):
        if random.random() < (0.9 if on_beat else 0.15):
            _place(stroke, line, start)
        on_beat = not on_beat
    return np.stack([line, line])


def bass(samples: int, random: Generator) -> Array:
    """A line of notes of 33–130 Hz, as sub and synth basses have them: held or cut short, dull or bright.

    A tone with harmonics that fall off, the higher ones faster, as a filter closes.
    """
    beat_s = random.uniform(0.12, 0.8)
    harmonics = np.arange(1, 1 + random.integers(1, 24))[:, None]
    slope, decay_s, closing_s = random.uniform(0.7, 3), random.choice([0.15, 0.5, 3.0]), random.uniform(0.1, 4)
    sounding, release_s = random.uniform(0.3, 1), random.uniform(0.008, 0.06)
    steps = [0] if random.random() < 0.3 else [0, 0, 0, 3, 5, 7, 10, 12]
    root_hz = 33 * 2 ** random.uniform(0, 1)
    line = np.zeros(samples, np.float32)
    start = -int(random.integers(int(beat_s * SAMPLE_RATE_HZ)))
    while start < samples:
        length_s = beat_s * int(random.integers(1, 5))
        if random.random() < 0.85:
            time_s = np.arange(int(length_s * sounding * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            phases = 2 * np.pi * root_hz * 2 ** (random.choice(steps) / 12) * time_s * harmonics
            levels = harmonics**-slope * np.exp(-(harmonics - 1) * time_s / closing_s)
            edge = np.clip(np.minimum(time_s / 0.005, (time_s[-1] - time_s) / release_s), 0, 1)
            _place((np.sin(phases) * levels).sum(axis=0) * np.exp(-time_s / decay_s) * edge, line, start)
        start += int(length_s * SAMPLE_RATE_HZ)
    return np.stack([line, line])


def _place(note: NDArray[np.float64], line: NDArray[np.float32], start: int) -> None:
    """Writes a note over a line, which it may begin before and end after."""
    part = note[max(-start, 0) : len(line) - start]
    line[max(start, 0) : max(start, 0) + len(part)] = part

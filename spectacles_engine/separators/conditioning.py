"""Songs as no network heard any in training, with a DC offset or with one channel, made such as they know."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.separators import Separator

LEAST_OFFSET = 0.03
"""A mean of a chunk, against its RMS, that is no chance but the DC offset of a sound card. Music has 0.005 and less."""
ONE_SIDED = 1e-4
"""Energy of a channel against that of the other one, below which there is nothing in it."""


def estimate(separator: Separator, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
    """As ``Separator.estimate``. A silent channel stays silent; in its place the other one is heard.

    Heard as it is, a real song's left channel alone came out 1 to 4 dB worse, and was heard on the right, too.
    """
    centred = without_offset(mixture)
    silent = silent_channels(centred)
    heard = np.where(silent, centred[:, ::-1], centred)
    answers = separator.estimate(np.ascontiguousarray(heard), stems)
    return {stem: np.where(silent, np.float32(0), answer) for stem, answer in answers.items()}


def without_offset(chunks: Array) -> Array:
    """(b, 2, n) without the DC offset of each channel, if it has one; what fills a chunk up stays silent.

    An offset of an eighth of its RMS, which nobody hears, cost a song 1 dB on drums and bass.
    """
    sounding = chunks != 0
    samples = np.maximum(sounding.sum(axis=-1, keepdims=True), 1).astype(np.float32)
    offset = chunks.sum(axis=-1, keepdims=True) / samples
    rms = np.sqrt(np.square(chunks).sum(axis=-1, keepdims=True) / samples)
    # of less than half a second a mean may be that of a low note
    offset[(np.abs(offset) < LEAST_OFFSET * rms) | (samples < SAMPLE_RATE_HZ / 2)] = 0
    centred: Array = chunks - offset * sounding
    return centred


def silent_channels(chunks: Array) -> NDArray[np.bool_]:
    """(b, 2, n) → (b, 2, 1), which channel has next to nothing beside the other."""
    energies = np.square(chunks).sum(axis=-1, keepdims=True)
    silent: NDArray[np.bool_] = energies < ONE_SIDED * energies.max(axis=-2, keepdims=True)
    return silent

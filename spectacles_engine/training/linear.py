"""Fits KUIELab's linear mixer by least squares: stems from the mixture and all estimates, in stereo, without bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import LinearMixer
from spectacles_engine.training.estimates import StoredEstimates

BLOCK_SAMPLES = 10 * SAMPLE_RATE_HZ
RIDGE = 1e-4
"""Against estimates that say the same; of the mean energy of what is heard."""


def fit(songs: Sequence[StoredEstimates]) -> LinearMixer:
    """The weights with the least mean square error over all songs, each of which counts alike.

    Only products of what is heard are summed up, block by block: any number of songs fits into memory.
    """
    if not songs:
        raise ModelError("there are too few estimates to train on: none")
    width = 2 * (1 + len(songs[0].names))
    heard_by_heard, heard_by_truth = np.zeros((width, width)), np.zeros((width, 2 * len(STEMS)))
    for song in tqdm(songs, desc="linear", unit="song"):
        products = [np.zeros_like(heard_by_heard), np.zeros_like(heard_by_truth)]
        for start in range(0, song.mixture.shape[-1], BLOCK_SAMPLES):
            part = slice(start, start + BLOCK_SAMPLES)
            heard = _rows(np.concatenate([song.mixture[None, :, part], song.estimates[..., part]]))
            truth = _rows(song.references[..., part])
            products[0] += heard @ heard.T
            products[1] += heard @ truth.T
        loudness = products[0][:2, :2].trace() + 1e-3
        heard_by_heard += products[0] / loudness
        heard_by_truth += products[1] / loudness
    ridge = RIDGE * heard_by_heard.trace() / width * np.eye(width)
    weights = np.linalg.solve(heard_by_heard + ridge, heard_by_truth)
    shaped = weights.T.reshape(len(STEMS), 2, width // 2, 2).astype(np.float32)
    return LinearMixer(np.ascontiguousarray(shaped), songs[0].names)


def _rows(samples: Array) -> Array:
    """(n, 2, samples) → (2 n, samples)."""
    rows: Array = samples.astype(np.float32).reshape(-1, samples.shape[-1])
    return rows

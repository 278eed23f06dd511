"""Fits KUIELab's linear mixer by least squares: stems from the mixture and all estimates, in stereo, without bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import LinearMixer
from spectacles_engine.training.estimates import StoredEstimates

Sums = NDArray[np.float64]
BLOCK_SAMPLES = 10 * SAMPLE_RATE_HZ
RIDGE = 1e-4
"""Against estimates that say the same; of the mean energy of what is heard."""
LEAST_ENERGY = 0.01
"""Of a stem that sounds, against its mixture's: what is hardly there must not count for more than all else."""


def fit(songs: Sequence[StoredEstimates]) -> LinearMixer:
    """The weights with the least mean square error, against the energy of the stem, as uSDR has it.

    So every song counts alike, for every stem. Only products of what is heard are summed up, block by block: any number
    of songs fits into memory.
    """
    if not songs:
        raise ModelError("there are too few estimates to train on: none")
    width = 2 * (1 + len(songs[0].names))
    heard_by_heard, heard_by_truth = np.zeros((len(STEMS), width, width)), np.zeros((len(STEMS), width, 2))
    for song in tqdm(songs, desc="linear", unit="song"):
        heard_by_itself, heard_by_stems, energies = _products(song, width)
        loudness = heard_by_itself[:2, :2].trace() + 1e-3
        # where a stem is silent, what the mixer leaks into it counts against the mixture
        against = np.where(energies > 0, np.maximum(energies, LEAST_ENERGY * loudness), loudness)
        weights = 1 / against[:, None, None]
        heard_by_heard += weights * heard_by_itself
        heard_by_truth += weights * heard_by_stems
    energy = np.trace(heard_by_heard, axis1=1, axis2=2)[:, None, None] / width
    solved = np.linalg.solve(heard_by_heard + RIDGE * energy * np.eye(width), heard_by_truth)
    shaped = solved.transpose(0, 2, 1).reshape(len(STEMS), 2, width // 2, 2).astype(np.float32)
    return LinearMixer(np.ascontiguousarray(shaped), songs[0].names)


def _products(song: StoredEstimates, width: int) -> tuple[Sums, Sums, Sums]:
    """What is heard by itself (width, width) and by each stem (stem, width, 2), and the energy of each stem."""
    by_itself, by_stems = np.zeros((width, width)), np.zeros((len(STEMS), width, 2))
    energies = np.zeros(len(STEMS))
    for start in range(0, song.mixture.shape[-1], BLOCK_SAMPLES):
        part = slice(start, start + BLOCK_SAMPLES)
        heard = np.concatenate([song.mixture[None, :, part], song.estimates[..., part]]).astype(np.float32)
        rows, stems = heard.reshape(width, -1), song.references[..., part].astype(np.float32)
        by_itself += rows @ rows.T
        by_stems += rows @ stems.transpose(0, 2, 1)
        energies += np.square(stems).sum(axis=(1, 2))
    return by_itself, by_stems, energies

"""Fits linear mixers by least squares: stems from the mixture and all estimates, in stereo, without bias.

KUIELab's has the same weights for all frequencies; ours has weights of its own in every band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import LinearMixer, bands
from spectacles_engine.training.estimates import StoredEstimates

Sums = NDArray[np.float64]
BLOCK_SAMPLES = 10 * SAMPLE_RATE_HZ
RECIPES = ("linear", "bands")
"""KUIELab's, and ours."""
RIDGE = 1e-4
"""Against estimates that say the same; of the mean energy of what is heard."""
LEAST_ENERGY = 0.01
"""Of a stem that sounds, against its mixture's: what is hardly there must not count for more than all else."""


def fit(
    songs: Sequence[StoredEstimates], edges_hz: Sequence[float] = (), worth: Sequence[float] | None = None
) -> LinearMixer:
    """The weights with the least mean square error, against the energy of the stem, as uSDR has it.

    So every song counts alike (or by its ``worth``), for every stem, and so does its mirror image, left for right. Only
    products of what is heard are summed up, block by block: any number of songs fits into memory. ``edges_hz``: where
    bands meet.
    """
    if not songs:
        raise ModelError("there are too few estimates to train on: none")
    width, count = 2 * (1 + len(songs[0].names)), len(edges_hz) + 1
    heard_by_heard = np.zeros((count, len(STEMS), width, width))
    heard_by_truth = np.zeros((count, len(STEMS), width, 2))
    for song, its_worth in zip(tqdm(songs, desc="linear", unit="song"), worth or [1.0] * len(songs), strict=True):
        heard_by_itself, heard_by_stems, energies = _products(song, width, edges_hz)
        loudness = heard_by_itself.sum(axis=0)[:2, :2].trace() + 1e-3
        # where a stem is silent, what the mixer leaks into it counts against the mixture
        against = np.where(energies > 0, np.maximum(energies, LEAST_ENERGY * loudness), loudness)
        weights = its_worth / against[:, None, None]
        heard_by_heard += weights * heard_by_itself[:, None]
        heard_by_truth += weights * heard_by_stems
    mirror = np.arange(width).reshape(-1, 2)[:, ::-1].reshape(-1)
    heard_by_heard += heard_by_heard[:, :, mirror][..., mirror]
    heard_by_truth += heard_by_truth[:, :, mirror, ::-1]
    energy = np.trace(heard_by_heard, axis1=2, axis2=3)[..., None, None] / width
    solved = np.linalg.solve(heard_by_heard + (RIDGE * energy + 1e-12) * np.eye(width), heard_by_truth)
    shaped = solved.swapaxes(2, 3).reshape(count, len(STEMS), 2, width // 2, 2).astype(np.float32)
    return LinearMixer(np.ascontiguousarray(shaped), songs[0].names, tuple(edges_hz))


def edges_hz(recipe: str, songs: Sequence[StoredEstimates]) -> list[float]:
    """Where the bands of a recipe meet: where models end. More bands were no better on other songs."""
    return sorted({edge for song in songs for edge in song.up_to_hz.values()}) if recipe == "bands" else []


def _products(song: StoredEstimates, width: int, edges_hz: Sequence[float]) -> tuple[Sums, Sums, Sums]:
    """In each band what is heard by itself (band, width, width) and by each stem (band, stem, width, 2).

    And the energy of each stem, over all bands.
    """
    count = len(edges_hz) + 1
    by_itself, by_stems = np.zeros((count, width, width)), np.zeros((count, len(STEMS), width, 2))
    energies = np.zeros(len(STEMS))
    for start in range(0, song.mixture.shape[-1], BLOCK_SAMPLES):
        part = slice(start, start + BLOCK_SAMPLES)
        heard = np.concatenate([song.mixture[None, :, part], song.estimates[..., part]]).astype(np.float32)
        truth = song.references[..., part].astype(np.float32)
        # the products of spectra are those of the waveforms (Parseval), but for a factor that is the same for all
        spectra = zip(bands(heard, edges_hz), bands(truth, edges_hz), strict=True)
        for band, (heard_there, truth_there) in enumerate(spectra):
            rows, stems = heard_there.reshape(width, -1), truth_there.reshape(len(STEMS), 2, -1)
            by_itself[band] += rows @ rows.T
            by_stems[band] += rows @ stems.swapaxes(1, 2)
            energies += np.square(stems).sum(axis=(1, 2))
    return by_itself, by_stems, energies

"""Fits linear mixers by least squares: stems from the mixture and all estimates, in stereo, without bias.

KUIELab's has the same weights for all frequencies; ours has its own in every band, not far from those of the average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import FixedShares, LinearMixer, bands
from spectacles_engine.training.estimates import StoredEstimates, bounded
from spectacles_engine.training.examples import parts

Sums = NDArray[np.float64]
RIDGES = {"linear": 1e-4, "bands": 0.1}
"""Recipe → strength of the ridge, as a share of the mean energy of the mixture and the estimates.

It holds KUIELab's weights near zero, for estimates that are nearly the same leave them undetermined, and ours near the
average, where it measured best on left-out songs of the second set (see the model card).
"""


def fit(songs: Sequence[StoredEstimates], recipe: str = "linear") -> LinearMixer:
    """The weights with the least mean square error, against the energy of the stem, as uSDR has it.

    So every song counts by its ``worth``, for every stem, and so does its mirror image, left for right. Only
    products of what is heard are summed up, block by block: any number of songs fits into memory. The bands of
    ``recipe`` "bands" meet where models end: more were no better on other songs.
    """
    if not songs:
        raise ModelError("there are too few estimates to train on: none")
    edges_hz, middle = _average(songs[0]) if recipe == "bands" else ([], np.zeros(1))
    width, count = 2 * (1 + len(songs[0].names)), len(edges_hz) + 1
    heard_by_heard = np.zeros((count, len(STEMS), width, width))
    heard_by_references = np.zeros((count, len(STEMS), width, 2))
    for song in tqdm(songs, desc="linear", unit="song"):
        heard_by_itself, by_references, energies = _products(song, width, edges_hz)
        loudness = heard_by_itself.sum(axis=0)[:2, :2].trace() + 1e-3
        weights = song.worth / bounded(energies, energies, loudness)[:, None, None]
        heard_by_heard += weights * heard_by_itself[:, None]
        heard_by_references += weights * by_references
    mirror = np.arange(width).reshape(-1, 2)[:, ::-1].reshape(-1)
    heard_by_heard += heard_by_heard[:, :, mirror][..., mirror]
    heard_by_references += heard_by_references[:, :, mirror, ::-1]
    held = RIDGES[recipe] * np.trace(heard_by_heard, axis1=2, axis2=3)[..., None, None] / width + 1e-12
    solved = np.linalg.solve(heard_by_heard + held * np.eye(width), heard_by_references + held * middle)
    shaped = solved.swapaxes(2, 3).reshape(count, len(STEMS), 2, width // 2, 2).astype(np.float32)
    return LinearMixer(np.ascontiguousarray(shaped), songs[0].names, tuple(edges_hz))


def _average(song: StoredEstimates) -> tuple[list[float], Sums]:
    """Where models end, and in between the weights of the average, (band, stem, 2 (1 + estimate), 2)."""
    shares = {stem: dict.fromkeys((m for owner, m in song.names if owner == stem), 1.0) for stem in STEMS}
    edges_hz, weights = FixedShares(shares, song.up_to_hz).by_band(STEMS)
    heard = np.pad(weights.astype(np.float64), [(0, 0), (0, 0), (0, 0), (1, 0), (0, 0)])
    return edges_hz, heard.reshape(*heard.shape[:3], -1).swapaxes(2, 3)


def _products(song: StoredEstimates, width: int, edges_hz: Sequence[float]) -> tuple[Sums, Sums, Sums]:
    """In each band what is heard by itself (band, width, width) and by each reference (band, stem, width, 2).

    And the energy of each stem, over all bands.
    """
    count = len(edges_hz) + 1
    by_itself, by_references = np.zeros((count, width, width)), np.zeros((count, len(STEMS), width, 2))
    energies = np.zeros(len(STEMS))
    for part in parts(song.mixture.shape[-1]):
        heard = torch.from_numpy(song.heard(part)).flatten(0, 1)
        references = torch.from_numpy(song.references[..., part].astype(np.float32))
        # the products of spectra are those of the waveforms (Parseval), but for the length
        share = 1 / heard.shape[-1]
        spectra = zip(bands(heard, edges_hz), bands(references, edges_hz), strict=True)
        for band, (heard_there, references_there) in enumerate(spectra):
            rows, targets = heard_there.numpy(), references_there.numpy()
            by_itself[band] += share * rows @ rows.T
            by_references[band] += share * rows @ targets.swapaxes(1, 2)
            energies += share * np.square(targets).sum(axis=(1, 2))
    return by_itself, by_references, energies

"""Songs unlike those of training (off balance, hard-panned, with a DC offset), made like them for the networks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.spectrogram import Stft

STFT = Stft(n_fft=4096, stft_hop=4096)
"""To measure with, never inverted: frames side by side are enough, what lies between them is alike."""
OFFSET_BINS = 2
"""So many of the lowest bins are left out of all measurements: a DC offset lies there, which is no music."""
LEAST_OFFSET = 0.03
"""Mean of a chunk against its RMS, from which on it is the DC offset of a sound card. Music has 0.005 and less."""
ONE_SIDED = 1e-4
"""Energy of a channel against that of the other one, below which there is nothing in it."""
LEAST_LIKENESS = 0.55
"""Cosine between the magnitudes of both channels, below which they are heard as two recordings.

In 63 songs of ordinary stereo a single chunk of 4 s has less than 0.75.
"""
LOOK_AHEAD_S = 30
"""So much is heard of a song before its first second is put right: an introduction may stand on one side."""
LOW_HZ = 250.0
"""Below it lie the low bins, see ``_Balance``."""
TOLERATED_DB = 0.5
"""A song may be off balance by so much, and of more all but this is put right: so there is no jump."""
LEAST_COMMON = 0.5
"""Share of Σ |left · right| that Σ left · right reaches where both are of one recording: negative, if upside down."""
MOST_DB, STEP_DB = 60.0, 0.1
"""Of the histogram of how much louder the right channel is: how far it goes to either side, and its step."""


def in_channels(work: Callable[[Array], Array], heard: Array) -> Array:
    """``work`` over chunks (b, k, 2, n), the first of k the mixture → (b, stem, 2, n).

    Where the channels of the mixture have little in common, as when all voices stand left and the band right, or where
    one is silent, ``work`` hears each alone, in both channels. Heard together, networks that know ordinary stereo lost
    1 to 9 dB on such mixtures of five songs; on ordinary stereo it would cost 1 dB.
    """
    magnitudes = _measured(heard[:, 0]).abs().flatten(2)
    common = (magnitudes @ magnitudes.mT).double().numpy()
    energies = common.diagonal(axis1=1, axis2=2)
    sounds = energies > ONE_SIDED * energies.max(axis=-1, keepdims=True)
    likeness = common[:, 0, 1] / np.sqrt(energies.prod(axis=-1) + 1e-20)
    apart = (likeness < LEAST_LIKENESS) & energies.any(axis=-1)
    if not apart.any():
        return work(heard)
    chunk, channel = np.nonzero(sounds & apart[:, None])
    alone = work(np.repeat(heard[chunk, :, channel, None], 2, axis=-2))
    answers = np.zeros((len(heard), *alone.shape[1:]), np.float32)
    answers[chunk, :, channel] = alone.mean(axis=2)
    if not apart.all():
        answers[~apart] = work(heard[~apart])
    return answers


def balanced(seconds: Iterable[Array]) -> Iterator[Array]:
    """A song (2, n) in seconds → (2, 2, n): its channels at one level and in phase, and the gains that made them so.

    A channel that is 6 dB too quiet cost real rock 0.7 dB, one that is 20 dB too quiet 2.2, and one that is upside down
    4.2. What was read so far counts, ``LOOK_AHEAD_S`` more than is given: one instrument on one side is no fault.
    """
    balance, ahead = _Balance(), deque[Array]()
    for second in seconds:
        balance.add(second)
        ahead.append(second)
        if len(ahead) > LOOK_AHEAD_S:
            yield balance.applied(ahead.popleft())
    while ahead:
        yield balance.applied(ahead.popleft())


class _Balance:
    """How the right channel of a song differs from the left one: in most bins, and in most of the low ones as well.

    Bass and kick stand in the middle of nearly every recording, whatever else is where.
    """

    def __init__(self) -> None:
        self._levels_db = np.arange(-MOST_DB, MOST_DB + STEP_DB, STEP_DB)
        self._common = np.zeros((2, len(self._levels_db)))  # what both channels have, by level: in low bins, in all
        self._in_phase = np.zeros(2)
        self._before_db: float | None = None

    def add(self, second: Array) -> None:
        """Takes in (2, n)."""
        left, right = _measured(second)
        louder_db = 20 * torch.log10((right.abs() + 1e-9) / (left.abs() + 1e-9))
        level = torch.round((louder_db + MOST_DB) / STEP_DB).clamp(0, len(self._levels_db) - 1).int()
        common = left.conj() * right
        for row, bins in enumerate((slice(round(LOW_HZ * STFT.n_fft / SAMPLE_RATE_HZ)), slice(None))):
            weights = common[bins].abs().double() + 1e-18
            self._common[row] += torch.bincount(level[bins].ravel(), weights.ravel(), len(self._levels_db)).numpy()
            self._in_phase[row] += float(common[bins].real.sum(dtype=torch.double))

    @property
    def tilt_db(self) -> float:
        """Level of the right channel against the left one; 0 where that is no fault, or not worth mending."""
        if (np.abs(self._in_phase) < LEAST_COMMON * self._common.sum(axis=1)).any():
            return 0.0  # two recordings, or one and noise
        low_db, all_db = (self._levels_db[np.searchsorted(row, row[-1] / 2)] for row in self._common.cumsum(axis=1))
        agreed_db = min(abs(low_db), abs(all_db)) - TOLERATED_DB
        return float(np.sign(all_db) * agreed_db) if agreed_db > 0 and low_db * all_db > 0 else 0.0

    @property
    def is_upside_down(self) -> bool:
        """Whether what is in both channels cancels out where they are played together."""
        return bool((self._in_phase < -LEAST_COMMON * self._common.sum(axis=1)).all())

    def applied(self, second: Array) -> Array:
        """See ``balanced``. Levels change gradually: a step would sound like a beat of a drum."""
        now_db = self.tilt_db
        slide_db = np.linspace(now_db if self._before_db is None else self._before_db, now_db, second.shape[-1])
        self._before_db = now_db
        gains = (10 ** (np.stack([slide_db, -slide_db]) / 40)).astype(np.float32)
        if self.is_upside_down:
            gains[1] *= -1
        return np.stack([second * gains, gains])


def _measured(waveforms: Array) -> torch.Tensor:
    """(…, n) → complex (…, bins, frames), silent where a DC offset would be."""
    spectrogram = STFT.forward(torch.tensor(waveforms))
    spectrogram[..., :OFFSET_BINS, :] = 0
    return spectrogram


def without_offset(chunks: Array) -> Array:
    """(…, 2, n) without the DC offset of each channel, if it has one; what fills a chunk up stays silent.

    An offset of an eighth of its RMS, which nobody hears, cost a song 1 dB on drums and bass.
    """
    sounding = chunks != 0
    samples = np.maximum(sounding.sum(axis=-1, keepdims=True), 1).astype(np.float32)
    offset = chunks.sum(axis=-1, keepdims=True) / samples
    rms = np.sqrt(np.square(chunks).sum(axis=-1, keepdims=True) / samples)
    # of less than half a second a mean may be that of a low note
    offset[(np.abs(offset) < LEAST_OFFSET * rms) | (samples < SAMPLE_RATE_HZ / 2)] = 0
    if not offset.any():
        return chunks
    centred: Array = chunks - offset * sounding
    return centred

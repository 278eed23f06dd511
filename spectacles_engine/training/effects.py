"""What studios, players and codecs do to sound (2, samples at 44.1 kHz), for material to train on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from scipy import signal
from torch.nn import functional

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.spectrogram import Stft

STRETCHING = Stft(n_fft=2048, stft_hop=512)
CODING = Stft(n_fft=2048, stft_hop=1024)
LEAST_HEARD_DB = -55.0
"""Of full scale, in the loudest hundredth of a second: a compressor that hears less does nothing."""


def stretched(part: Array, samples: int) -> Array:
    """Made ``samples`` long at the same pitch, by a phase vocoder (Flanagan and Golden 1966)."""
    spectrogram = STRETCHING.forward(torch.from_numpy(part))
    step = part.shape[1] / samples
    frames = spectrogram.shape[-1]
    at = torch.arange(samples // STRETCHING.stft_hop + 1) * step
    before = at.long().clamp(max=frames - 2)
    share = (at - before).clamp(max=1)
    magnitude = spectrogram.abs()
    level = magnitude[..., before] * (1 - share) + magnitude[..., before + 1] * share
    # how far each bin turns from one frame to the next, whatever whole turns are left out: they are the same later on
    turned = (spectrogram[..., before + 1] * spectrogram[..., before].conj()).angle()
    phase = turned.cumsum(dim=-1)
    middle = phase.shape[-1] // 2  # the ends are mirrored, and no place to begin from
    phase += spectrogram[..., before[middle : middle + 1]].angle() - phase[..., middle : middle + 1]
    longer: Array = STRETCHING.inverse(torch.polar(level, phase), samples).numpy()
    return longer


def coded(stems: Array, bandwidth_hz: float, depth_db: float) -> Array:
    """What a lossy codec leaves of a mixture: nothing above ``bandwidth_hz``, and no bin ``depth_db`` below its band.

    The same bins go from all stems (stem, 2, samples), so that they still sum to the mixture.
    """
    samples = stems.shape[-1]
    # to whole hops: else the end lies below the tail of a single window, and what is taken out there becomes a click
    whole = np.pad(stems, ((0, 0), (0, 0), (0, -samples % CODING.stft_hop)))
    spectrograms = CODING.forward(torch.from_numpy(whole))
    mixture = spectrograms.sum(dim=0).abs()
    kept = int(bandwidth_hz / SAMPLE_RATE_HZ * CODING.n_fft)
    bands = functional.max_pool1d(mixture.transpose(-1, -2), 33, stride=1, padding=16).transpose(-1, -2)
    heard = mixture > bands * 10 ** (-depth_db / 20)
    heard[..., kept:, :] = False
    left: Array = CODING.inverse(spectrograms * heard, whole.shape[-1])[..., :samples].numpy()
    return left


def decaying_noise(seconds: float, random: Generator) -> Array:
    """A room as it answers to a clap: stereo noise (2, samples) that falls by 60 dB."""
    length = int(seconds * SAMPLE_RATE_HZ)
    return (random.standard_normal((2, length)) * np.exp(-6.9 * np.arange(length) / length)).astype(np.float32)


def in_a_room(part: Array, room: Array, share: float) -> Array:
    """With what comes back from a ``room`` (2, samples), which has that ``share`` of the energy of ``part``."""
    wet = signal.oaconvolve(part, room, axes=1)[:, : part.shape[1]]
    wet *= np.sqrt(share * (part**2).sum() / ((wet**2).sum() + 1e-9))
    return np.asarray(part + wet, np.float32)


def driven(part: Array, amount: float) -> Array:
    """Through an amplifier that is turned up ``amount`` times and bends what is loud; no peak is higher than before."""
    peak = np.abs(part).max() + 1e-6
    driven: Array = (np.tanh(part / peak * amount) * peak).astype(np.float32)
    return driven


def pumping(heard: Array, random: Generator) -> Array:
    """The gain, per sample, of a compressor that listens to ``heard`` (2, samples): fast attack, slow release."""
    window = SAMPLE_RATE_HZ // 100
    power = (heard[:, : heard.shape[1] // window * window] ** 2).reshape(2, -1, window).mean(axis=(0, 2))
    level_db = 10 * np.log10(power + 1e-6)
    if level_db.max() < LEAST_HEARD_DB:
        return np.ones(heard.shape[1], np.float32)
    over_db = np.maximum(0, level_db - level_db.max() + random.uniform(6, 15)) * random.uniform(0.3, 0.7)
    keep, followed_db = np.exp(-0.01 / random.uniform(0.05, 0.3)), over_db.copy()
    for i in range(1, len(over_db)):
        followed_db[i] = max(over_db[i], keep * followed_db[i - 1])
    at = np.arange(heard.shape[1]) / window - 0.5
    gain: Array = (10 ** (-np.interp(at, np.arange(len(over_db)), followed_db) / 20)).astype(np.float32)
    return gain


def equalised(part: Array, most_db: float, random: Generator) -> Array:
    """Bent up and down by a smooth random curve over the octaves, ``most_db`` at most."""
    spectrum = np.fft.rfft(part)
    octave = np.log2(np.maximum(np.fft.rfftfreq(part.shape[1], 1 / SAMPLE_RATE_HZ), 30) / 30)
    curve = np.interp(octave, np.linspace(0, 9.6, 6), random.uniform(-most_db, most_db, 6))
    return np.fft.irfft(spectrum * 10 ** (curve / 20), part.shape[1]).astype(np.float32)

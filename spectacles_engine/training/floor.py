"""A floor that needs no training: what a separation of drums, bass and other must be clearly above.

On the mixture without the vocals: median filters along time and frequency tell harmonic from percussive (Fitzgerald,
"Harmonic/percussive separation using median filtering", DAFx 2010); what is percussive is the drums, what is harmonic
below 180 Hz the bass, the rest the other.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import median_filter

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.spectrogram import Stft

STFT = Stft(n_fft=4096, stft_hop=1024)
MEDIAN = 31
"""Length of both median filters, in frames and in bins."""
BASS_BELOW_HZ = 180.0
FLOOR_MARGIN_SAMPLES = MEDIAN // 2 * STFT.stft_hop + STFT.n_fft
"""How far to each side of a sample the floor looks."""


def floor(mixture: Array, vocals: Array) -> dict[str, Array]:
    """Mixture and some model's vocals, both (2, samples) → all four stems."""
    rest = torch.from_numpy(mixture - vocals)
    spectrogram = STFT.forward(rest).numpy()
    magnitude = np.abs(spectrogram).mean(axis=0)
    harmonic = median_filter(magnitude, size=(1, MEDIAN)) ** 2
    percussive = median_filter(magnitude, size=(MEDIAN, 1)) ** 2
    mask = percussive / (harmonic + percussive + 1e-12)
    low = (np.arange(STFT.bins) * SAMPLE_RATE_HZ / STFT.n_fft < BASS_BELOW_HZ)[:, None]
    masks = {"drums": mask, "bass": (1 - mask) * low, "other": (1 - mask) * ~low}
    samples = mixture.shape[-1]
    stems = {
        stem: STFT.inverse(torch.from_numpy((spectrogram * part).astype(np.complex64)), samples).numpy()
        for stem, part in masks.items()
    }
    return {"vocals": vocals, **stems}

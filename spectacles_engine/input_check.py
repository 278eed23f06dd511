"""What can be heard of a song before it is separated: reasons why the result may disappoint."""

from __future__ import annotations

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ

FRAME_SAMPLES = 4096
NARROW_BAND_HZ = 9000.0
NARROW_BAND_DB = -80.0
"""A band is called empty where its level lies this far below that of the strongest bin."""
VERY_SHORT_S = 5.0
ALMOST_NOTHING = 1e-6
"""A share of a song's energy: of what has less there is nothing to be heard."""
TOO_LOUD_DB = 3.0
"""Above full scale: MP3s of loud songs pass it by less."""
LEAST_HZ = 100.0
"""What has nothing above even this is a hum or a test tone, and no voice note."""


class InputCheck:
    """Listens to the mixture, block by block (2, n) at 44.1 kHz."""

    def __init__(self) -> None:
        self._spectrum = np.zeros(FRAME_SAMPLES // 2 + 1)
        self._window = np.hanning(FRAME_SAMPLES).astype(np.float32)
        self._samples = 0
        self._channels = np.zeros(2)
        self._side = self._middle = self._peak = 0.0

    def add(self, block: Array) -> None:
        """Takes in one block."""
        # both channels: of what is out of phase their mean has nothing
        frames = block[:, : block.shape[1] // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        self._spectrum += (np.abs(np.fft.rfft(frames * self._window)) ** 2).sum(axis=0)
        self._samples += block.shape[1]
        self._channels += np.einsum("cn,cn->c", block, block)
        self._side += float(np.sum((block[0] - block[1]) ** 2))
        self._middle += float(np.sum((block[0] + block[1]) ** 2))
        self._peak = max(self._peak, float(np.abs(block).max(initial=0)))

    def warnings(self) -> list[str]:
        """One phrase each, for the note."""
        energy = float(self._channels.sum())
        if energy <= 1e-9 * self._samples:
            return ["the input is silent"]
        found = []
        if self._samples < VERY_SHORT_S * SAMPLE_RATE_HZ:
            found.append(f"the input is very short ({self._samples / SAMPLE_RATE_HZ:.1f} s)")
        if self._side < ALMOST_NOTHING * energy:
            found.append("the input is mono")
        elif self._middle < ALMOST_NOTHING * energy:
            found.append("left and right are out of phase: in mono nothing would be heard")
        elif self._channels.min() < ALMOST_NOTHING * energy:
            found.append("the input has sound in one channel only")
        peak_db = 20 * np.log10(self._peak)
        if peak_db > TOO_LOUD_DB:
            found.append(f"the input passes full scale by {peak_db:.0f} dB; the stems are turned down where it does")
        highest_hz = self._highest_hz()
        if LEAST_HZ < highest_hz < NARROW_BAND_HZ:
            found.append(f"the input has nothing above {highest_hz / 1000:.1f} kHz, like a voice note or a call")
        return found

    def _highest_hz(self) -> float:
        """The highest frequency that is not empty."""
        heard = np.flatnonzero(self._spectrum > self._spectrum.max() * 10 ** (NARROW_BAND_DB / 10))
        return float(heard.max()) * SAMPLE_RATE_HZ / FRAME_SAMPLES if len(heard) else 0.0

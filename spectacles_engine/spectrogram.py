"""The STFT pair: periodic Hann window, centred frames, as Demucs, MDX-Net and Spleeter all have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Stft:
    """Short-time Fourier transform with frames of ``n_fft`` samples, ``stft_hop`` samples apart, and its inverse.

    The inverse is exact where ``stft_hop`` is less than ``n_fft // 2``, or is that and the waveform of whole hops: the
    window is Hann's, and each sample lies well below one.
    """

    n_fft: int
    stft_hop: int

    @property
    def bins(self) -> int:
        """Number of frequencies, from 0 to half the sample rate, both included."""
        return self.n_fft // 2 + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """(..., samples) -> complex (..., bins, frames).

        The ends are mirrored (torch's default, what MDX-Net was trained with). A waveform that is too short to be
        mirrored, n_fft / 2 samples or less, is first continued with silence.
        """
        missing = self.bins - waveform.shape[-1]
        if missing > 0:
            waveform = functional.pad(waveform, (0, missing))
        flat = waveform.reshape(-1, waveform.shape[-1])
        window = torch.hann_window(self.n_fft, device=waveform.device, dtype=waveform.dtype)
        spectrogram = torch.stft(flat, self.n_fft, self.stft_hop, window=window, return_complex=True)
        return spectrogram.reshape(*waveform.shape[:-1], *spectrogram.shape[-2:])

    def inverse(self, spectrogram: Tensor, samples: int) -> Tensor:
        """Complex (..., bins, frames) -> (..., samples), the inverse of ``forward`` for a waveform of that length.

        Bins above those given are zero. Frames are added up hop by hop: torch.istft takes twice as long.
        """
        flat = spectrogram.reshape(-1, *spectrogram.shape[-2:])
        sound = torch.fft.irfft(flat.transpose(-1, -2).contiguous(), self.n_fft)
        window = torch.hann_window(self.n_fft, device=sound.device, dtype=sound.dtype)
        frames, hops = flat.shape[-1], -(-self.n_fft // self.stft_hop)
        added = sound.new_zeros(len(flat), frames + hops - 1, self.stft_hop)
        squares = window.new_zeros(frames + hops - 1, self.stft_hop)
        for k in range(hops):
            piece = slice(k * self.stft_hop, (k + 1) * self.stft_hop)
            weight = window[piece]
            added[:, k : k + frames, : len(weight)].addcmul_(sound[..., piece], weight)
            squares[k : k + frames, : len(weight)] += weight.square()
        kept = slice(self.n_fft // 2, self.n_fft // 2 + samples)
        waveform = added.flatten(1)[:, kept] / squares.flatten()[kept]
        whole: Tensor = waveform.reshape(*spectrogram.shape[:-2], samples)
        return whole

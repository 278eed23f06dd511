"""What no stem took is handed back: bin by bin, to each stem but the vocals in proportion to its magnitude there.

Decided by measuring, on songs that no base model had seen: with an average of two models the mean uSDR rose by 0.36 dB
for drums, 0.25 for other and 0.06 for bass, and with the linear mixer of now by 0.15 for other, 0.00 for bass and −0.05
for drums; equal shares, shares by energy, and all of it to `other` gave less. Vocals lost by it, up to 0.1 dB: what is
left over is hardly ever sung.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from spectacles_engine.chunking import Array, in_chunks
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.spectrogram import Stft

STFT = Stft(n_fft=4096, stft_hop=1024)


def hand_back(blocks: Iterable[Array]) -> Iterator[Array]:
    """Blocks (1 + stem, 2, n), the mixture and all stems → blocks (stem, 2, n) of stems that sum to the mixture."""
    return in_chunks(blocks, _shared_out, chunk_samples=3 * SAMPLE_RATE_HZ, overlap=0.02, margin_samples=STFT.n_fft)


@torch.inference_mode()
def _shared_out(chunks: Array) -> Array:
    spectrograms = STFT.forward(torch.tensor(chunks))
    mixture, stems = spectrograms[:, :1], spectrograms[:, 1:]
    magnitudes = stems.abs() + 1e-8
    magnitudes[:, STEMS.index("vocals")] = 0
    shares = magnitudes / magnitudes.sum(dim=1, keepdim=True)
    whole: Array = STFT.inverse(stems + shares * (mixture - stems.sum(dim=1, keepdim=True)), chunks.shape[-1]).numpy()
    return whole

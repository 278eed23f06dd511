"""What no stem took is handed back: bin by bin, to each stem in proportion to its magnitude there and its ``CLAIM``.

With the mixers of ``lite`` the mean uSDR of whole songs that no base model had seen rises by 0.08 dB for other and 0.06
for bass, and falls by 0.02 for drums; more is left over by a linear mixer alone. Equal claims, shares by energy, and
handing back the half of it all gained less there. Random mixtures, whose stems do not belong together, lose 0.1 dB.

Where the mixture is digital silence its stems are, too: networks ring into it, and tick in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from spectacles_engine.chunking import Array, in_chunks
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.spectrogram import Stft

STFT = Stft(n_fft=4096, stft_hop=1024)
CLAIM = {"drums": 0.3, "bass": 1.0, "other": 1.0}
"""What is left over is hardly ever sung, and drums are the stem that takes too much rather than too little."""
CLAIMANTS = [STEMS.index(stem) for stem in CLAIM]
SHORT_GAP_SAMPLES = SAMPLE_RATE_HZ // 50
"""Zeros in a row, so few that they may be a waveform's own, or the grain of a fade in 16 bits."""
_HALF_GAP_SAMPLES = SHORT_GAP_SAMPLES // 2


def hand_back(blocks: Iterable[Array]) -> Iterator[Array]:
    """Blocks (1 + stem, 2, n), the mixture and all stems → blocks (stem, 2, n) of stems that sum to the mixture."""
    return in_chunks(blocks, _shared_out, chunk_samples=3 * SAMPLE_RATE_HZ, overlap=0.02, margin_samples=STFT.n_fft)


@torch.inference_mode()
def _shared_out(chunks: Array) -> Array:
    heard = torch.tensor(chunks)
    mixture, stems = heard[:, 0], heard[:, 1:]
    left_over = STFT.forward(mixture - stems.sum(dim=1))
    claims = STFT.forward(stems[:, CLAIMANTS]).abs() + 1e-8
    claims *= torch.tensor(list(CLAIM.values()))[:, None, None, None]
    shares = claims / claims.sum(dim=1, keepdim=True)
    stems[:, CLAIMANTS] += STFT.inverse(shares * left_over[:, None], chunks.shape[-1])
    sounding = (mixture != 0).any(dim=1)
    # most music has no gaps but short ones: every other holds one of these blocks, which are seen at a glance
    if not sounding.unfold(-1, _HALF_GAP_SAMPLES, _HALF_GAP_SAMPLES).any(dim=-1).all():
        stems *= _outside_gaps(sounding)[:, None, None]
    whole: Array = stems.numpy()
    return whole


def _outside_gaps(sounding: Tensor) -> Tensor:
    """Where there is sound (b, n) → 1 there and in short gaps, 0 in the others, (b, n)."""
    window = SHORT_GAP_SAMPLES + 1
    reached = max_pool1d(sounding.float(), window, stride=1, padding=_HALF_GAP_SAMPLES)
    return -max_pool1d(-reached, window, stride=1, padding=_HALF_GAP_SAMPLES)

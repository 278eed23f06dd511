"""The soft clip at the end, a limiter: one gain over all stems, which dips where a sample would pass full scale.

Because the stems share it, what they sum to is still the mixture times that gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn.functional import avg_pool1d, max_pool1d

from spectacles_engine.chunking import Array, in_chunks
from spectacles_engine.messages import SAMPLE_RATE_HZ

CEILING = 0.999
HALF_WINDOW_SAMPLES = SAMPLE_RATE_HZ // 100
"""The gain falls and rises within 10 ms on either side of a peak."""


def soft_clip(blocks: Iterable[Array]) -> Iterator[Array]:
    """Blocks (stem, 2, n) → the same, with no sample above full scale."""
    return in_chunks(
        blocks,
        _limited,
        chunk_samples=4 * SAMPLE_RATE_HZ,
        overlap=0.0,
        margin_samples=2 * HALF_WINDOW_SAMPLES,
    )


def _limited(chunks: Array) -> Array:
    peaks = np.abs(chunks).max(axis=(1, 2))
    if peaks.max() <= CEILING:
        return chunks
    # the widest peak within the window, then a mean over the same window: never above what the peak allows
    window = 2 * HALF_WINDOW_SAMPLES + 1
    demand = torch.from_numpy(np.maximum(peaks / np.float32(CEILING), 1))[:, None]
    gain = 1 / max_pool1d(demand, window, stride=1, padding=HALF_WINDOW_SAMPLES)
    smooth = avg_pool1d(gain, window, stride=1, padding=HALF_WINDOW_SAMPLES, count_include_pad=False)
    limited: Array = chunks * smooth.numpy()[:, None]
    return limited

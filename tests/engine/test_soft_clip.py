from __future__ import annotations

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.soft_clip import CEILING, soft_clip


def _noise(samples: int, level: float) -> Array:
    return (np.random.default_rng(0).standard_normal((3, 2, samples)) * level).astype(np.float32)


def _clipped(song: Array) -> Array:
    return np.concatenate(list(soft_clip(np.split(song, [1000, 50_000], axis=-1))), axis=-1)


def test_what_is_not_too_loud_passes_unchanged() -> None:
    song = np.clip(_noise(200_000, 0.1), -0.9, 0.9)
    np.testing.assert_allclose(_clipped(song), song, atol=1e-6)


def test_nothing_passes_full_scale_and_all_stems_share_the_gain() -> None:
    song = _noise(400_000, 0.05)
    song[1, 0, 123_456] = 3.0
    song[2, 1, 300_000:300_050] = -1.7
    limited = _clipped(song)
    assert np.abs(limited).max() <= CEILING + 1e-6
    gain = np.median(limited / song, axis=(0, 1))
    np.testing.assert_allclose(limited, song * gain, atol=1e-5)
    np.testing.assert_allclose(gain[:120_000], 1, atol=1e-5)  # only around the peaks
    assert np.abs(np.diff(gain)).max() < 0.01  # no click

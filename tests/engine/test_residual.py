from __future__ import annotations

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.residual import hand_back


def _handed_back(mixture: Array, stems: Array) -> Array:
    both = np.concatenate([mixture[None], stems])
    return np.concatenate(list(hand_back(np.split(both, [10_000, 50_000], axis=-1))), axis=-1)


def test_stems_sum_to_the_mixture_afterwards() -> None:
    random = np.random.default_rng(0)
    mixture = (random.standard_normal((2, 500_000)) * 0.1).astype(np.float32)
    stems = (random.standard_normal((4, 2, 500_000)) * 0.05).astype(np.float32)
    np.testing.assert_allclose(_handed_back(mixture, stems).sum(axis=0), mixture, atol=1e-5)


def test_what_is_missing_at_a_frequency_goes_to_the_stems_that_are_heard_there_unless_they_are_sung() -> None:
    at_s = np.arange(200_000) / 44_100
    low, high = (np.sin(2 * np.pi * hertz * np.stack([at_s, at_s])).astype(np.float32) for hertz in (100, 5000))
    stems = np.stack([low * 0.1, low * 0.4, low * 0.12, high])
    whole = _handed_back(low + high, stems)
    np.testing.assert_allclose(whole[0], stems[0], atol=1e-5)
    inside = slice(5000, -5000)  # at the ends a tone is no tone
    # 0.38 of it is missing; three tenths of 0.4 claim as much as 0.12
    np.testing.assert_allclose(whole[1, :, inside], 0.59 * low[:, inside], atol=2e-3)
    np.testing.assert_allclose(whole[2, :, inside], 0.31 * low[:, inside], atol=2e-3)
    np.testing.assert_allclose(whole[3, :, inside], high[:, inside], atol=2e-3)


def test_silence_stays_silence() -> None:
    assert not _handed_back(np.zeros((2, 100_000), np.float32), np.zeros((4, 2, 100_000), np.float32)).any()


def test_stems_are_silent_exactly_where_the_mixture_is_but_not_between_two_of_its_waves() -> None:
    random = np.random.default_rng(0)
    mixture, *stems = (random.standard_normal((5, 2, 300_000)) * 0.1).astype(np.float32)
    # a gap over where two chunks meet, one of 10 ms, and one in which a channel sounds
    mixture[:, 120_000:130_000] = mixture[:, 50_000:50_440] = mixture[0, 200_000:210_000] = 0
    whole = _handed_back(mixture, np.array(stems))
    silent = ~whole.any(axis=(0, 1))
    assert np.flatnonzero(silent).tolist() == list(range(120_000, 130_000))
    np.testing.assert_allclose(whole.sum(axis=0), mixture, atol=1e-5)

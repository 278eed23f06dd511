from __future__ import annotations

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.quality import usdr
from spectacles_engine.training.floor import floor


def test_clicks_a_low_tone_and_a_high_tone_go_where_they_belong() -> None:
    at_s = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    clicks = np.zeros_like(at_s)
    clicks[SAMPLE_RATE_HZ // 4 :: SAMPLE_RATE_HZ // 4] = 1

    def stereo(wave: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Array:
        return np.repeat(wave[None], 2, axis=0).astype(np.float32)

    truth = {
        "vocals": stereo(0.1 * np.random.default_rng(0).standard_normal(len(at_s))),
        "drums": stereo(clicks),
        "bass": stereo(0.1 * np.sin(2 * np.pi * 80 * at_s)),
        "other": stereo(0.1 * np.sin(2 * np.pi * 1000 * at_s)),
    }
    mixture: Array = np.sum(np.stack(list(truth.values())), axis=0)
    stems = floor(mixture, truth["vocals"])
    for stem, reference in truth.items():
        assert usdr(reference, stems[stem]) > 5, stem
    np.testing.assert_allclose(np.sum(list(stems.values()), axis=0), mixture, atol=1e-4)

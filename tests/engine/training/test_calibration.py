"""The quality note's estimator says what it has learned, how wrong it is, and nothing where it knows no better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import FixedShares
from spectacles_engine.quality import FEATURES, Calibration
from spectacles_engine.training.calibration import Observation, Observations, blended, coverage, fit, observe, separated
from spectacles_engine.training.estimates import read_estimates, write_estimates
from spectacles_engine.training.examples import Example
from spectacles_engine.training.plots import plot_calibration
from tests.engine.fakes import FakeSeparator

AVERAGE = FixedShares({stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS})


def _noisy(level: float, seed: int) -> tuple[Ensemble, Example]:
    """A song, and two models that know it, each with its own noise, as loud as ``level`` times the stems."""
    random = np.random.default_rng(seed)
    references = (random.standard_normal((4, 2, 2 * SAMPLE_RATE_HZ)) * 0.1).astype(np.float32)

    def model(name: str) -> FakeSeparator:
        noise = (random.standard_normal(references.shape) * 0.1 * level).astype(np.float32)
        said: Array = references + noise
        answers = {stem: (lambda _, i=i: said[i][None]) for i, stem in enumerate(STEMS)}
        return FakeSeparator(name, answers, references.shape[-1])

    ensemble = Ensemble({name: model(name) for name in ("demucs", "mdx")}, AVERAGE)
    return ensemble, Example.summed(f"song-{seed}", references)


@pytest.fixture(scope="module")
def observations() -> Observations:
    """Songs that differ in how wrong both models are: their disagreement tells."""
    found: Observations = {stem: [] for stem in STEMS}
    for seed, level in enumerate(np.random.default_rng(0).uniform(0.05, 1.5, 20)):
        ensemble, example = _noisy(level, seed)
        for stem, rows in observe(separated(ensemble, [example])).items():
            found[stem] += rows
    return found


def test_a_calibration_predicts_what_it_has_not_seen(observations: Observations, tmp_path: Path) -> None:
    fitted = fit(observations, tmp_path / "quality.json")
    for stem in STEMS:
        result = fitted[stem]
        stored = result.stored
        assert stored["mae_db"] < 0.3 * stored["mae_of_constant_db"]
        assert stored["low_db"] < 0 < stored["high_db"]
        errors = [abs(guess - truth) for guess, truth in result.points]
        assert np.mean(errors) == pytest.approx(stored["mae_db"], abs=0.01)
        beyond = [
            not stored["low_db"] <= round(truth - guess, 2) <= stored["high_db"] for guess, truth in result.points
        ]
        assert sum(beyond) == 2  # a tenth of twenty, by the next observed error on either side
    assert set(json.loads((tmp_path / "quality.json").read_text())["stems"]) == set(STEMS)
    seen = coverage(observations, Calibration.load(tmp_path / "quality.json"))
    assert all(0.7 <= figures["covered"] <= 1 and figures["songs"] == 20 for figures in seen.values())
    assert all(figures["mae_db"] < figures["mae_of_constant_db"] for figures in seen.values())
    plot_calibration({stem: result.points for stem, result in fitted.items()}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_of_a_stem_that_does_not_beat_the_constant_guess_nothing_is_said(
    observations: Observations, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    guesswork = [
        Observation(dict(zip(FEATURES, random.standard_normal(len(FEATURES)), strict=True)), random.uniform(0, 9))
        for _ in range(100)
    ]
    fitted = fit({**observations, "bass": guesswork, "drums": observations["drums"][:3]}, tmp_path / "quality.json")
    assert not fitted["bass"].useful
    assert "drums" not in fitted
    calibration = Calibration.load(tmp_path / "quality.json")
    assert set(calibration.stems) == {"vocals", "other"}
    assert calibration.judge("bass", guesswork[0].features).grade == "unknown"


def test_errors_are_those_on_songs_that_share_nothing_with_what_was_fitted(tmp_path: Path) -> None:
    """What can be seen of a mixture tells which song it is from, and nothing of how good it will be in another."""
    random = np.random.default_rng(2)
    rows = []
    for song in range(6):
        tells, truth = random.standard_normal(len(FEATURES)), random.uniform(0, 9)
        for _ in range(12):
            seen = dict(zip(FEATURES, tells + 0.05 * random.standard_normal(len(FEATURES)), strict=True))
            rows.append(Observation(seen, truth + random.normal(0, 0.2), frozenset({f"song-{song}"})))
    nameless = [Observation(row.features, row.usdr_db) for row in rows]
    alone = [Observation(row.features, row.usdr_db, frozenset({"song"})) for row in rows]
    fitted = fit({"drums": rows, "bass": nameless, "other": alone}, tmp_path / "quality.json")
    assert fitted["bass"].stored["mae_db"] < 0.5 * fitted["drums"].stored["mae_db"]
    assert (fitted["bass"].useful, fitted["drums"].useful) == (True, False)
    assert "other" not in fitted


def test_whole_songs_count_for_more_than_many_mixtures(tmp_path: Path) -> None:
    """With the same features, songs are 3 dB worse than mixtures: the note is meant for songs."""
    random, rows = np.random.default_rng(0), []
    for number in range(220):
        is_song = number < 20
        truth = random.uniform(0, 10)
        seen = {**dict.fromkeys(FEATURES, 0.0), "agreement_db": truth}
        worth = 1 / 20 if is_song else 1 / 2000
        rows.append(Observation(seen, truth - 3 * is_song, frozenset({str(number)}), worth))
    alike = [Observation(row.features, row.usdr_db, row.sources) for row in rows]
    biases = []
    for given in (rows, alike):
        points = fit({"bass": given}, tmp_path / "quality.json")["bass"].points[:20]
        biases.append(np.mean([guess - truth for guess, truth in points]))
    assert 0 < biases[0] < 1
    assert biases[1] > 2.5


def test_stored_estimates_are_observed_as_the_separation_is(tmp_path: Path) -> None:
    ensemble, example = _noisy(0.4, seed=3)
    write_estimates(ensemble, [example], tmp_path)
    stored, anew = observe(blended(AVERAGE, read_estimates(tmp_path))), observe(separated(ensemble, [example]))
    for stem in STEMS:
        assert stored[stem][0].features == pytest.approx(anew[stem][0].features, abs=0.05)
        assert stored[stem][0].usdr_db == pytest.approx(anew[stem][0].usdr_db, abs=0.05)
    # one that listens to fewer than there are
    alone = FixedShares({stem: {"mdx": 1.0} for stem in STEMS})
    (found,) = blended(alone, read_estimates(tmp_path))
    said = np.concatenate([block.estimates for block in found.blocks], axis=-1)
    assert found.names == alone.names(STEMS)
    np.testing.assert_array_equal(said, read_estimates(tmp_path)[0].estimates[1::2])

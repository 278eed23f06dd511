from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import Calibration
from spectacles_engine.stem_mixer import FixedShares
from spectacles_engine.training.calibration import coverage, fit, observe
from spectacles_engine.training.estimates import Example
from spectacles_engine.training.evaluate import Table, bss_eval_row, evaluate, usdr_row
from tests.engine.fakes import FakeSeparator, share


def _references(seconds: int = 3, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).standard_normal((4, 2, seconds * SAMPLE_RATE_HZ))
    return (noise * 0.1).astype(np.float32)


def test_usdr_of_a_stem_with_a_known_error_and_none_of_a_silent_one() -> None:
    references = _references()
    references[2] = 0
    row = usdr_row(references, {"vocals": references[0] * 0.9, "bass": references[1]})
    assert row == {"vocals": pytest.approx(20, abs=0.01)}


def test_bss_eval_is_the_median_second_and_usdr_the_whole_song() -> None:
    references = _references(3)
    references[2:] = 0
    error = _references(3, seed=5)[0] * np.float32(0.1)
    error[:, : SAMPLE_RATE_HZ // 2] *= 30  # one bad second of three
    estimates = {"vocals": references[0] + error, "drums": references[1] + error * 0}
    row = bss_eval_row(references, estimates)
    assert set(row) == {"vocals", "drums"}
    assert row["vocals"] == pytest.approx(20, abs=0.3)
    assert usdr_row(references, estimates)["vocals"] < 0


def test_the_table_has_a_row_for_the_mixture_each_model_the_average_and_the_mixer() -> None:
    models = {
        "demucs": FakeSeparator("demucs", {stem: share(0.5) for stem in STEMS}),
        "mdx": FakeSeparator("mdx", {stem: share(0.1) for stem in STEMS}),
    }
    average, other = (FixedShares({s: {"demucs": d, "mdx": 1 - d} for s in STEMS}) for d in (0.5, 0.25))
    mixers = {"average": average, "StemMixer": other}
    table = evaluate(Ensemble(models, average), mixers, [Example("song", _references())], bss_eval=False)
    summary = table.summary("uSDR")
    handed_back = ["average, residual handed back", "StemMixer, residual handed back"]
    assert set(summary) == {"mixture", "demucs", "mdx", "average", "StemMixer", *handed_back}
    # a quarter of the sum of four independent equals leaves an error of 3/4 of the energy, and so on
    for row, factor in {"mixture": 1.0, "demucs": 0.5, "mdx": 0.1, "average": 0.3, "StemMixer": 0.2}.items():
        error = (1 - factor) ** 2 + 3 * factor**2
        assert summary[row]["drums"] == pytest.approx(-10 * np.log10(error), abs=0.1)


def test_the_summary_is_the_mean_over_songs_for_usdr_and_the_median_for_bss_eval(tmp_path: Path) -> None:
    table = Table()
    for measure in ("uSDR", "BSS Eval v4"):
        for song, value in {"a": 0.0, "b": 1.0, "c": 8.0}.items():
            table.add(measure, "mdx", song, {"drums": value})
    assert table.summary("uSDR") == {"mdx": {"drums": 3.0}}
    assert table.summary("BSS Eval v4") == {"mdx": {"drums": 1.0}}
    assert "| uSDR, dB (3 songs) |" in table.text()
    table.write(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text())["songs"]["uSDR"]["mdx"]["c"] == {"drums": 8.0}


def test_a_calibration_predicts_what_it_has_not_seen(tmp_path: Path) -> None:
    """Models whose disagreement does tell the error: songs differ in how wrong both are."""
    random = np.random.default_rng(0)
    examples = [Example(f"song-{i}", _references(2, seed=i)) for i in range(24)]
    level = dict(zip((example.name for example in examples), random.uniform(0.05, 1.5, 24), strict=True))

    observations: dict[str, list[dict[str, float]]] = {}
    for example in examples:
        for stem, rows in observe(_noisy(example, level[example.name]), [example]).items():
            observations.setdefault(stem, []).extend(rows)
    fitted = fit(observations, tmp_path / "quality.json")
    for stem in STEMS:
        assert fitted[stem]["mae_db"] < 0.3 * fitted[stem]["mae_of_constant_db"]
        assert fitted[stem]["low_db"] < 0 < fitted[stem]["high_db"]
    assert set(json.loads((tmp_path / "quality.json").read_text())["stems"]) == set(STEMS)
    seen = coverage(observations, Calibration.load(tmp_path / "quality.json"))
    assert all(0.7 <= figures["covered"] <= 1 and figures["songs"] == 24 for figures in seen.values())


def _noisy(example: Example, level: float) -> Ensemble:
    """Two models that know the song, each with its own noise, as loud as ``level`` times the stem."""

    def model(name: str, seed: int) -> FakeSeparator:
        def answer(index: int) -> Array:
            noise = np.random.default_rng(seed + index).standard_normal(example.references[index].shape) * 0.1
            said: Array = (example.references[index] + level * noise).astype(np.float32)[None]
            return said

        samples = example.references.shape[-1]
        return FakeSeparator(name, {s: (lambda _, i=i: answer(i)) for i, s in enumerate(STEMS)}, samples)  # type: ignore[misc]

    average = FixedShares({stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS})
    return Ensemble({"demucs": model("demucs", 100), "mdx": model("mdx", 200)}, average)

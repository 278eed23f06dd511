"""Fits the estimator behind the quality note: features of ``quality.Meter`` → uSDR of the song, and a range around it.

Method: ridge regression on standardised features, one a stem. Its errors are measured on examples that it was not
fitted to (leave one out); the range reaches from the error that a tenth lie below to the one that a tenth lie above,
each rounded outwards to an observed error (the jackknife of conformal prediction, Barber et al. 2021). Random mixtures
share their material, so what the range is worth on new songs is measured apart, by ``coverage``. Where the mean
absolute error does not beat that of the constant guess (the average example), nothing is said of the stem.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.ensemble import Ensemble
from spectacles_engine.messages import STEMS
from spectacles_engine.quality import FEATURES, Calibration, Meter
from spectacles_engine.training.estimates import Example
from spectacles_engine.training.evaluate import usdr_row

RIDGE = 1.0
RANGE = (0.1, 0.9)

Floats = NDArray[np.float64]
Sample = dict[str, float]


def observe(ensemble: Ensemble, examples: Iterable[Example]) -> dict[str, list[Sample]]:
    """Separates every example: stem → its features and its true ``usdr_db``, a row a song in which it can be heard."""
    found: dict[str, list[Sample]] = {stem: [] for stem in STEMS}
    for example in tqdm(examples, desc="calibration", unit="song"):
        meter, blocks = Meter(ensemble.names(), STEMS), []
        for block in ensemble.separate([example.references.sum(axis=0)]):
            meter.add(block)
            blocks.append(block.stems)
        stems = dict(zip(STEMS, np.concatenate(blocks, axis=-1), strict=True))
        for stem, true_db in usdr_row(example.references, stems).items():
            found[stem].append({**meter.features(stem), "usdr_db": true_db})
    return found


def coverage(observations: dict[str, list[Sample]], calibration: Calibration) -> dict[str, dict[str, float]]:
    """On other songs: share of the true uSDRs within the range, and mean absolute error in dB, per stem."""
    found = {}
    for stem, rows in observations.items():
        judged = [(calibration.judge(stem, row), row["usdr_db"]) for row in rows]
        known = [(q.low_db, q.estimated_sdr_db, q.high_db, true_db) for q, true_db in judged]
        kept = [(low, guess, high, true_db) for low, guess, high, true_db in known if None not in (low, guess, high)]
        if kept:
            low, guess, high, truth = np.array(kept, dtype=float).T
            inside = float(np.mean((low <= truth) & (truth <= high)))
            found[stem] = {"songs": len(kept), "covered": inside, "mae_db": float(np.abs(guess - truth).mean())}
    return found


def fit(observations: dict[str, list[Sample]], out: Path) -> dict[str, dict[str, Any]]:
    """Writes the calibration to ``out``; returns per stem what was fitted and how well it does."""
    fitted = {stem: _fit_stem(rows) for stem, rows in observations.items() if len(rows) > 2 * len(FEATURES)}
    useful = {stem: result for stem, result in fitted.items() if result["mae_db"] < result["mae_of_constant_db"]}
    out.write_text(json.dumps({"features": FEATURES, "stems": useful}, indent=1) + "\n")
    return fitted


def _fit_stem(rows: list[Sample]) -> dict[str, Any]:
    features = np.array([[row[name] for name in FEATURES] for row in rows])
    truth = np.array([row["usdr_db"] for row in rows])
    left_out = [np.arange(len(rows)) != i for i in range(len(rows))]
    errors = np.array(
        [truth[~rest] - _predict(_ridge(features[rest], truth[rest]), features[~rest]) for rest in left_out]
    )
    constant = np.array([truth[i] - truth[rest].mean() for i, rest in enumerate(left_out)])
    low = np.quantile(errors, RANGE[0], method="lower")
    high = np.quantile(errors, RANGE[1], method="higher")
    intercept, weights = _ridge(features, truth)
    return {
        "intercept": round(float(intercept), 4),
        "weights": {name: round(float(w), 5) for name, w in zip(FEATURES, weights, strict=True)},
        "low_db": round(float(low), 2),
        "high_db": round(float(high), 2),
        "songs": len(rows),
        "mae_db": round(float(np.abs(errors).mean()), 2),
        "mae_of_constant_db": round(float(np.abs(constant).mean()), 2),
    }


def _ridge(features: Floats, truth: Floats) -> tuple[float, Floats]:
    """Intercept and weights, for features as they are."""
    middle, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - middle) / scale
    weights = np.linalg.solve(standard.T @ standard + RIDGE * np.eye(len(middle)), standard.T @ (truth - truth.mean()))
    return float(truth.mean() - (weights / scale) @ middle), weights / scale


def _predict(model: tuple[float, Floats], features: Floats) -> Floats:
    intercept, weights = model
    return np.asarray(intercept + features @ weights)

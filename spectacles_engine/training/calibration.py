"""Fits the estimator behind the quality note: features of ``quality.Meter`` → uSDR of the song, and a range around it.

Method: ridge regression on standardised features, one a stem. Its errors are measured on examples that it was not
fitted to, nor to any other in which the same song or loose recording can be heard in that stem: random mixtures share
their material, and a new song shares none. The range reaches from the error that a tenth lie below to the one that a
tenth lie above, each rounded outwards to an observed error (the jackknife of conformal prediction, Barber et al. 2021).
Where the mean absolute error does not beat that of the constant guess (the average example), nothing is said of the
stem. ``coverage`` measures what the range is worth on other songs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.ensemble import BLOCK_SAMPLES, Block, Ensemble, blend
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import Mixer, Names
from spectacles_engine.quality import FEATURES, Calibration, Meter
from spectacles_engine.training.augment import Sources
from spectacles_engine.training.estimates import Example, StoredEstimates
from spectacles_engine.training.scoring import USDR, SongScores

RIDGE = 3.0
RANGE = (0.1, 0.9)
CLEARLY = 0.95
"""An error that is less than this share of the constant guess's is less by more than luck."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A stem of a song: the features of its ``Meter``, its true uSDR, and what can be heard in it."""

    features: Mapping[str, float]
    usdr_db: float
    sources: frozenset[str] = frozenset()


Observations = dict[str, list[Observation]]
"""Stem → one for each song in which it can be heard."""


@dataclass(frozen=True)
class Separation:
    """A song that is being separated: its estimates' names, its references (stem, 2, samples), and its blocks.

    ``sources``: see ``Example``.
    """

    names: Names
    references: NDArray[np.floating[Any]]
    blocks: Iterable[Block]
    sources: Sources


def observe(separations: Iterable[Separation]) -> Observations:
    """Scores the stems of every song as they are written, and measures what the note measures."""
    found: Observations = {stem: [] for stem in STEMS}
    for separation in separations:
        meter, scores, start = Meter(separation.names, STEMS), SongScores(), 0
        for block in separation.blocks:
            end = start + block.mixture.shape[-1]
            meter.add(block)
            references = separation.references[..., start:end].astype(np.float32)
            scores.add(references, block.mixture, {"stems": dict(zip(STEMS, block.stems, strict=True))})
            start = end
        for stem, true_db in scores.rows(USDR)["stems"].items():
            heard = frozenset(separation.sources.get(stem, ()))
            found[stem].append(Observation(meter.features(stem), true_db, heard))
    return found


def separated(ensemble: Ensemble, examples: Iterable[Example]) -> Iterator[Separation]:
    """Separates songs."""
    for example in tqdm(examples, desc="separated", unit="song"):
        yield Separation(ensemble.names(), example.references, ensemble.separate([example.mixture]), example.sources)


def blended(mixer: Mixer, songs: Sequence[StoredEstimates]) -> Iterator[Separation]:
    """Separates songs of which the base models have already said what they say: far quicker."""
    for song in tqdm(songs, desc="blended", unit="song"):
        heard = (
            np.concatenate([song.mixture[None, :, second], song.estimates[..., second]]).astype(np.float32)
            for second in _seconds(song.mixture.shape[-1])
        )
        yield Separation(mixer.names(STEMS), song.references, blend(heard, song.names, mixer), song.sources)


def coverage(observations: Observations, calibration: Calibration) -> dict[str, dict[str, float]]:
    """On other songs: share of the true uSDRs within the range, and mean absolute errors in dB, per stem."""
    found = {}
    for stem, rows in observations.items():
        judged = [(calibration.judge(stem, row.features), row.usdr_db) for row in rows]
        known = [(q.low_db, q.estimated_sdr_db, q.high_db, true_db) for q, true_db in judged]
        kept = [(low, guess, high, true_db) for low, guess, high, true_db in known if None not in (low, guess, high)]
        if kept:
            low, guess, high, truth = np.array(kept, dtype=float).T
            constant = float(calibration.stems[stem]["constant_db"])  # type: ignore[arg-type]
            found[stem] = {
                "songs": len(kept),
                "covered": float(np.mean((low <= truth) & (truth <= high))),
                "mae_db": float(np.abs(guess - truth).mean()),
                "mae_of_constant_db": float(np.abs(constant - truth).mean()),
            }
    return found


@dataclass(frozen=True)
class Fitted:
    """What was fitted to one stem, as it is stored; and (estimate, truth) in dB of every song that was left out."""

    stored: dict[str, Any]
    points: list[tuple[float, float]]

    @property
    def useful(self) -> bool:
        """Whether it beats the constant guess, and not by a hair."""
        return bool(self.stored["mae_db"] < CLEARLY * self.stored["mae_of_constant_db"])


def fit(observations: Observations, out: Path) -> dict[str, Fitted]:
    """Writes the calibration to ``out``; returns per stem what was fitted and how well it does."""
    fits = {stem: _fit_stem(rows) for stem, rows in observations.items() if len(rows) > 2 * len(FEATURES)}
    fitted = {stem: result for stem, result in fits.items() if result}
    useful = {stem: result.stored for stem, result in fitted.items() if result.useful}
    out.write_text(json.dumps({"features": FEATURES, "stems": useful}, indent=1) + "\n")
    return fitted


def _fit_stem(rows: list[Observation]) -> Fitted | None:
    """None where all are of one song, or nearly: nobody knows then what is said of another one is worth."""
    features = np.array([[row.features[name] for name in FEATURES] for row in rows])
    truth = np.array([row.usdr_db for row in rows])
    # each is guessed from the strangers to it; one that has too few tells nothing of the errors
    strangers = {
        i: [k for k, one in enumerate(rows) if k != i and not one.sources & rows[i].sources] for i in range(len(rows))
    }
    strangers = {i: rest for i, rest in strangers.items() if len(rest) > len(FEATURES)}
    if not strangers:
        return None
    known = truth[list(strangers)]
    guesses = np.array(
        [
            np.clip(_predict(_ridge(features[rest], truth[rest]), features[i]), *_seen(truth[rest]))
            for i, rest in strangers.items()
        ]
    )
    constants = np.array([truth[rest].mean() for rest in strangers.values()])
    errors = known - guesses
    intercept, weights = _ridge(features, truth)
    least_db, most_db = _seen(truth)
    stored = {
        "intercept": round(float(intercept), 4),
        "weights": {name: round(float(w), 5) for name, w in zip(FEATURES, weights, strict=True)},
        "least_db": round(least_db, 2),
        "most_db": round(most_db, 2),
        "low_db": round(float(np.quantile(errors, RANGE[0], method="lower")), 2),
        "high_db": round(float(np.quantile(errors, RANGE[1], method="higher")), 2),
        "songs": len(rows),
        "constant_db": round(float(truth.mean()), 2),
        "mae_db": round(float(np.abs(errors).mean()), 2),
        "mae_of_constant_db": round(float(np.abs(known - constants).mean()), 2),
    }
    return Fitted(stored, list(zip(guesses.tolist(), known.tolist(), strict=True)))


def _seen(truth: Floats) -> tuple[float, float]:
    """Between what all but a few uSDRs lie: what a straight line says of a song beyond them is worth nothing."""
    least_db, most_db = np.quantile(truth, (0.02, 0.98))
    return float(least_db), float(most_db)


def _ridge(features: Floats, truth: Floats) -> tuple[float, Floats]:
    """Intercept and weights, for features as they are."""
    middle, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - middle) / scale
    weights = np.linalg.solve(standard.T @ standard + RIDGE * np.eye(len(middle)), standard.T @ (truth - truth.mean()))
    return float(truth.mean() - (weights / scale) @ middle), weights / scale


def _predict(model: tuple[float, Floats], features: Floats) -> Floats:
    intercept, weights = model
    return np.asarray(intercept + features @ weights)


def _seconds(samples: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_SAMPLES) for start in range(0, samples, BLOCK_SAMPLES))

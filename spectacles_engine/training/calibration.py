"""Fits the estimator behind the quality note: features of ``quality.Meter`` → uSDR of the song, and a range around it.

Method: ridge regression on standardised terms, one a stem. Whole songs count for more than the many random mixtures
(``StoredEstimates.worth``): of these the note would learn to be too kind to songs, whose stems belong together. Its
errors are measured on examples that it was not fitted to, nor to any other in which the same song or loose recording
can be heard in that stem: random mixtures share their material, and a new song shares none. The range reaches from the
error that a tenth lie below to the one that a tenth lie above, each rounded outwards to an observed error (the
jackknife of conformal prediction, Barber et al. 2021). Where the mean absolute error does not beat that of the constant
guess (the average example), nothing is said of the stem. ``coverage`` measures what the range is worth on other songs.
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
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import Mixer, Names
from spectacles_engine.quality import FEATURES, TERMS, Calibration, Meter, estimated_db, terms
from spectacles_engine.training.augment import Sources
from spectacles_engine.training.estimates import StoredEstimates
from spectacles_engine.training.examples import Example
from spectacles_engine.training.scoring import USDR, SongScores
from spectacles_engine.whole_files import write_whole

RIDGE = 3.0
"""Strength of the regression's penalty, on standardised terms."""
RANGE = (0.1, 0.9)
"""Quantiles of the errors, between which the range of the note lies."""
CLEARLY = 0.95
"""An estimator is kept if its error is below this share of the constant guess's: a little less could be luck."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A stem of a song: the features of its ``Meter``, its true uSDR, what is heard in it, and how much it counts."""

    features: Mapping[str, float]
    usdr_db: float
    sources: frozenset[str] = frozenset()
    worth: float = 1.0


Observations = dict[str, list[Observation]]
"""Stem → one for each song in which it can be heard."""


@dataclass(frozen=True)
class Separation:
    """A song that is being separated: its estimates' names, its references (stem, 2, samples), and its blocks.

    ``sources``: see ``Example``; ``worth``: see ``StoredEstimates``.
    """

    names: Names
    references: NDArray[np.floating[Any]]
    blocks: Iterable[Block]
    sources: Sources
    worth: float = 1.0


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
            found[stem].append(Observation(meter.features(stem), true_db, heard, separation.worth))
    return found


def separated(ensemble: Ensemble, examples: Iterable[Example]) -> Iterator[Separation]:
    """Separates songs."""
    for example in tqdm(examples, desc="separated", unit="song"):
        yield Separation(ensemble.names(), example.references, ensemble.separate([example.mixture]), example.sources)


def blended(mixer: Mixer, songs: Sequence[StoredEstimates]) -> Iterator[Separation]:
    """Separates songs of which the base models have already said what they say: far quicker."""
    for song in tqdm(songs, desc="blended", unit="song"):
        heard = (song.heard(second) for second in _seconds(song.mixture.shape[-1]))
        blocks = blend(heard, song.names, mixer)
        yield Separation(mixer.names(STEMS), song.references, blocks, song.sources, song.worth)


def coverage(observations: Observations, calibration: Calibration) -> dict[str, dict[str, float]]:
    """On other songs: share of the true uSDRs within the range, and mean absolute errors in dB, per stem.

    Of a stem that the calibration has nothing to say about there is nothing.
    """
    found = {}
    for stem, rows in observations.items():
        if rows and stem in calibration.stems:
            judged = [calibration.judge(stem, row.features) for row in rows]
            low, guess, high = np.array([(q.low_db, q.estimated_sdr_db, q.high_db) for q in judged], dtype=float).T
            truth = np.array([row.usdr_db for row in rows])
            constant = float(calibration.stems[stem]["constant_db"])
            found[stem] = {
                "songs": len(rows),
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
    """Writes the calibration to ``out``; returns per stem what was fitted and how well it does.

    Raises ModelError where there is too little to fit any stem to.
    """
    fits = {stem: _fit_stem(rows) for stem, rows in observations.items() if len(rows) > 2 * len(FEATURES)}
    fitted = {stem: result for stem, result in fits.items() if result}
    if not fitted:
        raise ModelError("there are too few songs to calibrate on, or too few that have nothing in common")
    useful = {stem: result.stored for stem, result in fitted.items() if result.useful}
    write_whole(out, (json.dumps({"stems": useful}, indent=1) + "\n").encode())
    return fitted


def _fit_stem(rows: list[Observation]) -> Fitted | None:
    """None where all are of one song, or nearly: nothing shows then what the estimate is worth on another one."""
    guesses, constants, known = [], [], []
    for i, row in enumerate(rows):
        # each is guessed from the strangers to it; one that has too few tells nothing of the errors
        strangers = [one for k, one in enumerate(rows) if k != i and not one.sources & row.sources]
        if len(strangers) > len(FEATURES):
            guesses.append(estimated_db(_curve(strangers), row.features))
            constants.append(np.mean([one.usdr_db for one in strangers]))
            known.append(row.usdr_db)
    if not known:
        return None
    errors = np.array(known) - guesses
    stored = {
        **_curve(rows),
        "low_db": round(float(np.quantile(errors, RANGE[0], method="lower")), 2),
        "high_db": round(float(np.quantile(errors, RANGE[1], method="higher")), 2),
        "songs": len(rows),
        "constant_db": round(float(np.mean([row.usdr_db for row in rows])), 2),
        "mae_db": round(float(np.abs(errors).mean()), 2),
        "mae_of_constant_db": round(float(np.abs(np.array(known) - constants).mean()), 2),
    }
    return Fitted(stored, list(zip(guesses, known, strict=True)))


def _curve(rows: Sequence[Observation]) -> dict[str, Any]:
    """What ``quality.estimated_db`` wants."""
    truth, worth = (np.array([getattr(row, key) for row in rows]) for key in ("usdr_db", "worth"))
    columns = {name: np.array([row.features[name] for row in rows]) for name in FEATURES}
    seen = {name: _seen(column) for name, column in columns.items()}
    held = {name: np.clip(column, *seen[name]) for name, column in columns.items()}
    intercept, weights = _ridge(np.stack(list(terms(held).values()), axis=1), truth, worth)
    return {
        "intercept": _short(intercept),
        "weights": dict(zip(TERMS, map(_short, weights), strict=True)),
        "seen": seen,
        "seen_db": _seen(truth),
    }


def _seen(values: Floats) -> tuple[float, float]:
    """Between what all but a few lie: what a curve says of a song beyond them is worth nothing."""
    low, high = np.quantile(values, (0.02, 0.98))
    return _short(low), _short(high)


def _short(number: float) -> float:
    """Six digits, as they are stored."""
    return float(f"{number:.6g}")


def _ridge(values: Floats, truth: Floats, worth: Floats) -> tuple[float, Floats]:
    """Intercept and weights, for values as they are."""
    share = worth / worth.sum()
    middle, mean = share @ values, float(share @ truth)
    scale = np.sqrt(share @ np.square(values - middle)) + 1e-6
    standard = (values - middle) / scale
    weighted = share * len(share) * standard.T
    weights = np.linalg.solve(weighted @ standard + RIDGE * np.eye(len(middle)), weighted @ (truth - mean))
    return float(mean - (weights / scale) @ middle), weights / scale


def _seconds(samples: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_SAMPLES) for start in range(0, samples, BLOCK_SAMPLES))

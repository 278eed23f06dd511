"""How good are the stems of a song that nobody has the reference of? An estimate, with a range, that says so.

No SDR can be measured without a reference. What can be measured is how far the base models, which fail in different
ways, agree; and that predicts it. ``Meter`` gathers, second by second, the inner products of everything that was said
about a stem; all features come from them:

* agreement: energy of the stem against the energy of what the models differ in (dB), a Σ over the song
* share: energy of the stem against that of the mixture (dB)
* residual: energy of mixture − Σ stems against the mixture (dB), before it is handed back
* gain: the one with which the stem is found in the mixture by least squares (dB); it is 0 where the other stems have
  nothing in common with it, above where some of it was left to them, below where it took of theirs
* likeness: the cosine between the stem and the mixture (0–1)

A ridge regression per stem turns them into a song's uSDR (10 log₁₀ Σ reference² / Σ error²); the 80 % range holds the
middle four fifths of its errors on songs that it was not fitted to. ``training/calibration.py`` has the method, the
model card its error.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectacles_engine.ensemble import Block
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS, QualityNote, StemQuality, WeakSpot

FEATURES = ("agreement_db", "share_db", "residual_db", "gain_db", "likeness")
FITTED = ("intercept", "least_db", "most_db", "low_db", "high_db")
SILENT_DB = -50.0
"""A stem this far below the mixture, or 10 dB more below full scale, is called silent."""
GRADES = ((5.0, "good"), (2.0, "fair"), (-np.inf, "poor"))
WEAK_BELOW_DB = 4.0
"""A passage is weak where its agreement lies this far below that of the whole song."""
WEAK_WINDOW_S = 8
WEAK_SPOTS = 3

Floats = NDArray[np.float64]


def usdr(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """uSDR in dB of a whole song, as in the Music Demixing Challenge 2021: 10 log₁₀ Σ reference² / Σ error²."""
    return ratio_db(energy(reference), energy(reference - estimate))


def energy(samples: NDArray[np.float32]) -> float:
    """Σ sample², in double precision."""
    return float(np.sum(np.square(samples, dtype=np.float64)))


def ratio_db(energy: float, against: float) -> float:
    """10 log₁₀ of a ratio of energies, held within ±100 dB."""
    return float(np.clip(10 * np.log10((energy + 1e-12) / (against + 1e-12)), -100.0, 100.0))


@dataclass
class Meter:
    """Listens to a separation block by block (one second each), and keeps a few numbers of each.

    ``names``: (stem, model) of every estimate, see ``Ensemble.names``; ``stems``: those that come out, in order.
    """

    names: Sequence[tuple[str, str]]
    stems: Sequence[str]
    _products: dict[str, list[Floats]] = field(default_factory=dict)
    _in_mixture: dict[str, list[float]] = field(default_factory=dict)
    _mixture: list[float] = field(default_factory=list)
    _residual: list[float] = field(default_factory=list)
    _left_over: list[float] = field(default_factory=list)
    _samples: int = 0

    def add(self, block: Block) -> None:
        """Takes in one block."""
        self._samples += block.mixture.shape[1]
        self._mixture.append(energy(block.mixture))
        self._residual.append(energy(block.mixture - block.stems.sum(axis=0)))
        self._left_over.append(energy(block.mixture - block.mixed.sum(axis=0)))
        for stem, output in zip(self.stems, block.mixed, strict=True):
            estimates = [block.estimates[i] for i, (owner, _) in enumerate(self.names) if owner == stem]
            # in double precision: models that agree differ by far less than they say
            rows = np.stack([*estimates, output]).reshape(len(estimates) + 1, -1).astype(np.float64)
            self._products.setdefault(stem, []).append(rows @ rows.T)
            self._in_mixture.setdefault(stem, []).append(float(rows[-1] @ block.mixture.reshape(-1)))

    @property
    def residual_db(self) -> float | None:
        """Energy of mixture − Σ stems against the mixture; None unless all four stems were separated."""
        if len(self.stems) < len(STEMS) or not self._mixture:
            return None
        return round(ratio_db(sum(self._residual), sum(self._mixture)), 1)

    def is_silent(self, stem: str) -> bool:
        """Whether there is next to nothing in a stem."""
        heard = float(np.sum(self._products[stem], axis=0)[-1, -1])
        loudness_db = ratio_db(heard, 2.0 * self._samples)
        return loudness_db < SILENT_DB - 10 or ratio_db(heard, sum(self._mixture)) < SILENT_DB

    def features(self, stem: str) -> dict[str, float]:
        """The features of a whole song, named as in ``FEATURES``."""
        products, mixture = np.sum(self._products[stem], axis=0), sum(self._mixture)
        heard, in_mixture = float(products[-1, -1]), max(sum(self._in_mixture[stem]), 0.0)
        return {
            "agreement_db": min(_agreement_db(products), 60.0),
            "share_db": ratio_db(heard, mixture),
            "residual_db": max(ratio_db(sum(self._left_over), mixture), -60.0),
            "gain_db": float(np.clip(2 * ratio_db(in_mixture, heard), -20.0, 10.0)),
            "likeness": in_mixture / (np.sqrt(heard * mixture) + 1e-12),
        }

    def weak_spots(self, stem: str) -> list[WeakSpot]:
        """Passages in which the models agree far less than in the rest of the song."""
        if len(self._products[stem]) < 2 * WEAK_WINDOW_S or len(self._products[stem][0]) < 3:
            return []
        products = np.array(self._products[stem])
        window = np.ones(WEAK_WINDOW_S)
        smooth = np.apply_along_axis(lambda x: np.convolve(x, window, "same"), 0, products)
        heard = smooth[:, -1, -1] > products[:, -1, -1].mean() * WEAK_WINDOW_S * 0.05
        local = np.array([_agreement_db(p) for p in smooth])
        weak = heard & (local < _agreement_db(products.sum(axis=0)) - WEAK_BELOW_DB)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], weak.astype(int), [0]])))
        end_s = self._samples / SAMPLE_RATE_HZ
        found = [(float(a), min(float(b), end_s)) for a, b in edges.reshape(-1, 2) if b - a >= WEAK_WINDOW_S // 2]
        return [WeakSpot(stem, from_s, to_s) for from_s, to_s in found]


@dataclass(frozen=True)
class Calibration:
    """Per stem: the weights of a ridge regression on ``FEATURES`` and the errors that bound the 80 % range.

    ``stems``: stem → {"weights": {feature: weight}} and the numbers ``FITTED``: the estimate is held within what was
    seen, ``least_db`` to ``most_db``, and ``low_db`` and ``high_db`` are added to it. A stem that the estimator cannot
    judge better than the constant guess is absent.
    """

    stems: Mapping[str, Mapping[str, object]]

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Reads what ``training`` wrote; raises ModelError where it is none of ours."""
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if tuple(read["features"]) != FEATURES:
                raise ValueError("made for other features")
            if not all({"weights", *FITTED} <= fitted.keys() for fitted in read["stems"].values()):
                raise ValueError("made by another version")
            return cls(read["stems"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path.name} could not be read as the calibration of the quality note") from error

    def judge(self, stem: str, features: Mapping[str, float]) -> StemQuality:
        """The estimate for one stem of one song."""
        fitted = self.stems.get(stem)
        if fitted is None:
            return StemQuality("unknown")
        weights: Mapping[str, float] = fitted["weights"]  # type: ignore[assignment]
        intercept, least_db, most_db, low_db, high_db = (float(fitted[key]) for key in FITTED)  # type: ignore[arg-type]
        estimated_db = intercept + sum(weights[name] * features[name] for name in FEATURES)
        estimated_db = min(max(estimated_db, least_db), most_db)
        return _graded(estimated_db, estimated_db + low_db, estimated_db + high_db)


def note(meter: Meter, calibration: Calibration | None, stems: Collection[str] = STEMS) -> QualityNote:
    """The quality note of a song, after its last block, on those of its ``stems`` that were separated."""
    judged: dict[str, StemQuality] = {}
    spots: list[WeakSpot] = []
    for stem in (stem for stem in meter.stems if stem in stems):
        if meter.is_silent(stem):
            judged[stem] = StemQuality("silent")
            continue
        spots += meter.weak_spots(stem)
        judged[stem] = calibration.judge(stem, meter.features(stem)) if calibration else StemQuality("unknown")
    longest = sorted(spots, key=lambda spot: spot.from_s - spot.to_s)[:WEAK_SPOTS]
    return QualityNote(judged, meter.residual_db, tuple(longest))


def quality_of_mix(left_out: StemQuality, share_db: float) -> StemQuality:
    """Quality of mixture − stem: its error is the stem's, its energy the rest of the mixture's.

    ``share_db``: energy of the stem against the mixture.
    """
    if left_out.estimated_sdr_db is None or left_out.low_db is None or left_out.high_db is None:
        return StemQuality("unknown")
    rest = max(1 - 10 ** (share_db / 10), 1e-6)
    more_db = 10 * np.log10(rest) - share_db
    return _graded(*(float(x + more_db) for x in (left_out.estimated_sdr_db, left_out.low_db, left_out.high_db)))


def _graded(estimated_db: float, low_db: float, high_db: float) -> StemQuality:
    grade = next(name for least_db, name in GRADES if estimated_db >= least_db)
    return StemQuality(grade, round(estimated_db, 1), round(low_db, 1), round(high_db, 1))


def _agreement_db(products: Floats) -> float:
    """SI-SDR-like: the stem's energy against the mean energy of its models' differences (n models, then the stem)."""
    said = products[:-1, :-1]
    energies = np.diag(said)
    differences = np.maximum(energies[:, None] + energies[None, :] - 2 * said, 0)
    pairs = len(said) * (len(said) - 1)
    return ratio_db(products[-1, -1], differences.sum() / pairs) if pairs else 0.0

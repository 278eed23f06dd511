"""How good are the stems of a song that nobody has the reference of? An estimate, with a range, that says so.

No SDR can be measured without a reference. What can be measured is how far the base models, which fail in different
ways, agree; and that predicts it. ``Meter`` gathers, second by second, the inner products of everything that was said;
all features come from them:

* agreement: energy of the stem against that of the differences between its models, summed over the song (dB)
* share: energy of the stem against that of the mixture (dB)
* gain: the one with which the stem is found in the mixture by least squares (dB); it is 0 where the other stems have
  nothing in common with it, above where some of it was left to them, below where it took of theirs
* contested: what one model calls this stem and another one calls another stem, against the energy of the stem (dB)

None of them depends on which other stems were asked for.

A ridge regression per stem turns them, and their products in pairs, into a song's uSDR (10 log₁₀ Σ reference² / Σ
error²); the 80 % range holds the middle four fifths of its errors on songs that it was not fitted to.
``training/calibration.py`` has the method, the model card its error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import combinations, combinations_with_replacement
from math import isfinite
from operator import mul
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spectacles_engine.ensemble import Block
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import MIXES, SAMPLE_RATE_HZ, STEMS, QualityNote, StemQuality, WeakSpot

FEATURES = ("agreement_db", "share_db", "gain_db", "contested_db")
TERMS = {
    " * ".join(factors): factors
    for factors in [*combinations(FEATURES, 1), *combinations_with_replacement(FEATURES, 2)]
}
"""What is weighted: the features, and all products of two of them; name → factors."""
FITTED = {"intercept", "weights", "seen", "seen_db", "low_db", "high_db"}
"""What must be stored of each stem, see ``Calibration``."""
SILENT_DB = -50.0
"""A stem this far below the mixture is called silent; so is one ``QUIET_DB`` below it and below ``QUIET_DBFS``."""
QUIET_DB = -30.0
QUIET_DBFS = -60.0
SILENCE_DBFS = -90.0
"""A song that is no louder than this has no stems: it is the noise of 16 bits."""
GRADES = ((5.0, "good"), (2.0, "fair"), (-np.inf, "poor"))
"""From how many dB of estimated SDR on a stem is called what."""
WEAK_BELOW_DB = 4.0
"""A passage is weak where its agreement lies this far below that of the whole song."""
WEAK_WINDOW_S = 8
WEAK_LEAST_SHARE = 0.05
"""Of a stem's mean energy: a passage with less of it is hardly heard, and so not weak. Nor is one ``QUIET_DB``
below the song: in an instrumental, what there is of vocals would be called its weakest passage."""

Floats = NDArray[np.float64]
T = TypeVar("T", float, Floats)


def usdr(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """uSDR in dB of a whole song, both (2, samples): 10 log₁₀ Σ reference² / Σ error².

    As in the Music Demixing Challenge 2021, where it is called SDR (Mitsufuji et al. 2022).
    """
    return ratio_db(energy(reference), energy(reference - estimate))


def energy(samples: NDArray[np.float32]) -> float:
    """Σ sample², in double precision."""
    return float(np.sum(np.square(samples, dtype=np.float64)))


def ratio_db(energy: float, against: float) -> float:
    """10 log₁₀ of a ratio of energies, held within ±100 dB."""
    return float(np.clip(10 * np.log10((energy + 1e-12) / (against + 1e-12)), -100.0, 100.0))


def terms(features: Mapping[str, T]) -> dict[str, T]:
    """The value of each of ``TERMS``, of one song or of many."""
    return {name: reduce(mul, [features[factor] for factor in factors]) for name, factors in TERMS.items()}


def estimated_db(fitted: Mapping[str, Any], features: Mapping[str, float]) -> float:
    """What is ``fitted`` to a stem says of a song, see ``Calibration``: its uSDR in dB.

    Of a stem that is quieter than what was seen it says less, down to 0 dB: those few were next to nothing, or leaks.
    """
    held = {name: float(np.clip(features[name], *fitted["seen"][name])) for name in FEATURES}
    said = fitted["intercept"] + sum(fitted["weights"][name] * value for name, value in terms(held).items())
    likely_db = float(np.clip(said, *fitted["seen_db"]))
    missing_db = max(held["share_db"] - features["share_db"], 0.0)
    return min(likely_db, max(likely_db - missing_db, 0.0))


@dataclass
class Meter:
    """Listens to a separation block by block (one second each), and keeps a few numbers of each.

    ``names``: (stem, model) of every estimate, see ``Ensemble.names``; ``stems``: those that come out, in order.
    """

    names: Sequence[tuple[str, str]]
    stems: Sequence[str]
    _products: list[Floats] = field(default_factory=list)
    _residual: float = 0.0
    _samples: int = 0

    def add(self, block: Block) -> None:
        """Takes in one block."""
        self._samples += block.mixture.shape[1]
        self._residual += energy(block.mixture - block.stems.sum(axis=0))
        # in double precision: models that agree differ by far less than they say
        heard = np.concatenate([block.mixture[None], block.estimates, block.mixed, block.stems], dtype=np.float64)
        rows = heard.reshape(len(heard), -1)
        self._products.append(rows @ rows.T)

    @cached_property
    def _by_block(self) -> Floats:
        """Inner products in each block, once all were taken in: of mixture, estimates, stems as mixed, as written."""
        return np.array(self._products)

    @cached_property
    def _whole(self) -> Floats:
        """The same over the whole song."""
        whole: Floats = self._by_block.sum(axis=0)
        return whole

    def _row(self, stem: str) -> int:
        return 1 + len(self.names) + self.stems.index(stem)

    @property
    def residual_db(self) -> float | None:
        """Energy of mixture − Σ stems against the mixture; None unless all four stems were separated."""
        if len(self.stems) < len(STEMS) or not self._products:
            return None
        # of silence nothing is left over
        return round(ratio_db(self._residual, self._whole[0, 0]), 1) if self._residual else -100.0

    def heard(self, name: str) -> float:
        """Energy of a stem, or of the mix that leaves one out, as it is written."""
        row = self._row(MIXES.get(name, name)) + len(self.stems)
        stem, common, mixture = self._whole[row, row], self._whole[row, 0], self._whole[0, 0]
        return float(mixture - 2 * common + stem if name in MIXES else stem)

    def is_silent(self, name: str) -> bool:
        """Whether there is next to nothing in a stem or a mix."""
        heard, mixture, full_scale = self.heard(name), self._whole[0, 0], 2.0 * self._samples
        below_db = ratio_db(heard, mixture)
        is_quiet = below_db < QUIET_DB and ratio_db(heard, full_scale) < QUIET_DBFS
        return is_quiet or below_db < SILENT_DB or ratio_db(mixture, full_scale) < SILENCE_DBFS

    def features(self, stem: str) -> dict[str, float]:
        """The features of a whole song, named as in ``FEATURES``."""
        row = self._row(stem)
        heard, in_mixture, mixture = float(self._whole[row, row]), max(self._whole[row, 0], 0.0), self._whole[0, 0]
        return {
            "agreement_db": min(_agreement_db(self._said(stem, self._whole)), 60.0),
            "share_db": ratio_db(heard, mixture),
            "gain_db": float(np.clip(2 * ratio_db(in_mixture, heard), -20.0, 10.0)),
            "contested_db": max(ratio_db(self._contested(stem), heard), -60.0),
        }

    def _said(self, stem: str, products: Floats) -> Floats:
        """Inner products (…, n + 1, n + 1) among a stem's n estimates and, last, the stem that was mixed of them."""
        rows = [1 + i for i, (owner, _) in enumerate(self.names) if owner == stem] + [self._row(stem)]
        return products[..., rows, :][..., rows]

    def _contested(self, stem: str) -> float:
        """For each other stem the mean, over all pairs of models, of what they have in common; summed up."""
        common: dict[str, list[float]] = {}
        for i, (owner, model) in enumerate(self.names):
            for k, (other, another) in enumerate(self.names):
                if owner == stem != other and model != another:
                    common.setdefault(other, []).append(max(self._whole[1 + i, 1 + k], 0.0))
        return float(sum(np.mean(energies) for energies in common.values()))

    def weak_spots(self, stem: str) -> list[WeakSpot]:
        """Passages in which the models agree far less than in the rest of the song."""
        products = self._said(stem, self._by_block)
        if len(products) < 2 * WEAK_WINDOW_S:
            return []
        window = np.ones(WEAK_WINDOW_S)
        smooth = np.apply_along_axis(lambda x: np.convolve(x, window, "same"), 0, products)
        own, mixture = products[:, -1, -1].mean(), self._by_block[:, 0, 0].mean()
        least = max(own * WEAK_LEAST_SHARE, mixture * 10 ** (QUIET_DB / 10))
        heard = smooth[:, -1, -1] > WEAK_WINDOW_S * least
        local = np.array([_agreement_db(p) for p in smooth])
        weak = heard & (local < _agreement_db(products.sum(axis=0)) - WEAK_BELOW_DB)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], weak.astype(int), [0]])))
        end_s = self._samples / SAMPLE_RATE_HZ
        found = []
        for start, end in edges.reshape(-1, 2):
            # a window reaches into the silence before and behind
            sounding = start + np.flatnonzero(products[start:end, -1, -1] > least)
            if len(sounding) and sounding[-1] + 1 - sounding[0] >= WEAK_WINDOW_S // 2:
                found.append(WeakSpot(stem, float(sounding[0]), min(float(sounding[-1] + 1), end_s)))
        return found


@dataclass(frozen=True)
class Calibration:
    """Per stem: the weights of a ridge regression on ``TERMS`` and the errors that bound the 80 % range.

    ``stems``: stem → what is ``FITTED``: ``intercept`` and ``weights`` (term → weight); between which values features
    were ``seen`` (feature → low, high) and uSDRs (``seen_db``), within which both are held; ``low_db`` and ``high_db``,
    which are added to the estimate. A stem that the estimator cannot judge better than the constant guess is absent.
    """

    stems: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Reads what ``training`` wrote; raises ModelError where it is none of ours."""
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            if not all(_is_fitted(fitted) for fitted in read["stems"].values()):
                raise ValueError("damaged, or made by another version")
            return cls(read["stems"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path.name} could not be read as the calibration of the quality note") from error

    def judge(self, stem: str, features: Mapping[str, float]) -> StemQuality:
        """The estimate for one stem of one song."""
        fitted = self.stems.get(stem)
        if fitted is None:
            return StemQuality("unknown")
        middle_db = estimated_db(fitted, features)
        return _graded(middle_db, middle_db + fitted["low_db"], middle_db + fitted["high_db"])


def _is_fitted(read: Mapping[str, Any]) -> bool:
    """Whether this is all of ``FITTED``, in numbers; raises TypeError or ValueError for some of what it is not."""
    if not (read.keys() >= FITTED and read["weights"].keys() == TERMS.keys() and read["seen"].keys() == set(FEATURES)):
        return False
    bounds = [bound for low, high in (read["seen_db"], *read["seen"].values()) for bound in (low, high)]
    numbers = (read["intercept"], *read["weights"].values(), *bounds, read["low_db"], read["high_db"])
    return all(isfinite(number) for number in numbers)


def note(meter: Meter, calibration: Calibration | None) -> QualityNote:
    """The quality note of a song, after its last block."""
    judged: dict[str, StemQuality] = {}
    spots: list[WeakSpot] = []
    for stem in meter.stems:
        if meter.is_silent(stem):
            judged[stem] = StemQuality("silent")
            continue
        spots += meter.weak_spots(stem)
        judged[stem] = calibration.judge(stem, meter.features(stem)) if calibration else StemQuality("unknown")
    for mix, left_out in MIXES.items():
        if left_out in meter.stems:
            more_db = ratio_db(meter.heard(mix), meter.heard(left_out))
            judged[mix] = StemQuality("silent") if meter.is_silent(mix) else quality_of_mix(judged[left_out], more_db)
    longest = sorted(spots, key=lambda spot: spot.from_s - spot.to_s)
    return QualityNote(judged, meter.residual_db, tuple(longest))


def quality_of_mix(left_out: StemQuality, more_db: float) -> StemQuality:
    """Quality of mixture − stem: its error is the stem's, its energy ``more_db`` above the stem's."""
    if left_out.estimated_sdr_db is None or left_out.low_db is None or left_out.high_db is None:
        return StemQuality("unknown")
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

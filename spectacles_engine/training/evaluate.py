"""The paper's Table 1 on any folder of songs: one row a way of separating, one column a stem, in dB.

The field has two measures that share a name, so each is named: uSDR, one ratio over a whole song (Music Demixing
Challenge 2021), averaged over songs; and BSS Eval v4 by museval, the median over frames of one second, then over songs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble, mix
from spectacles_engine.errors import ModelMissingError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import energy, ratio_db, usdr
from spectacles_engine.residual import hand_back
from spectacles_engine.stem_mixer import Mixer
from spectacles_engine.training.estimates import Example
from spectacles_engine.training.floor import floor

AUDIBLE_DB = -60.0
"""A reference that is quieter than this below the mixture is silent, and its stem is not scored in that song."""

Row = dict[str, float]
"""Stem → dB; a stem that is silent in the song is absent."""


@dataclass
class Table:
    """Scores of all songs: measure → name of the row → song → row."""

    scores: dict[str, dict[str, dict[str, Row]]] = field(default_factory=dict)

    def add(self, measure: str, row: str, song: str, values: Row) -> None:
        """Files the scores of one way of separating one song."""
        self.scores.setdefault(measure, {}).setdefault(row, {})[song] = values

    def summary(self, measure: str) -> dict[str, Row]:
        """Row → stem → the mean (uSDR) or median (BSS Eval) over all songs that have the stem."""
        middle = np.mean if measure == "uSDR" else np.median
        rows = {}
        for name, songs in self.scores[measure].items():
            found = {stem: [row[stem] for row in songs.values() if stem in row] for stem in STEMS}
            rows[name] = {stem: round(float(middle(values)), 2) for stem, values in found.items() if values}
        return rows

    def text(self) -> str:
        """All tables, for a terminal and for Markdown alike."""
        parts = []
        for measure, rows in self.scores.items():
            songs = {song for by_song in rows.values() for song in by_song}
            parts.append(f"| {measure}, dB ({len(songs)} songs) | {' | '.join(STEMS)} |\n|---|{'---|' * len(STEMS)}")
            parts += [
                f"| {name} | {' | '.join(_cell(row.get(stem)) for stem in STEMS)} |"
                for name, row in self.summary(measure).items()
            ]
            parts.append("")
        return "\n".join(parts)

    def write(self, path: Path) -> None:
        """Everything as JSON, songs included."""
        summaries = {measure: self.summary(measure) for measure in self.scores}
        path.write_text(json.dumps({"summary": summaries, "songs": self.scores}, indent=1))


def evaluate(ensemble: Ensemble, mixers: Mapping[str, Mixer], examples: Iterable[Example], *, bss_eval: bool) -> Table:
    """Separates every example; scores the mixture itself, each base model, a floor, and every mixer (name → mixer).

    The mixer of ``ensemble`` decides which models are asked; ``mixers`` listen to no others.
    """
    table = Table()
    for example in examples:
        ways = _ways(ensemble, mixers, example.references.sum(axis=0))
        for row, estimates in ways.items():
            table.add("uSDR", row, example.name, usdr_row(example.references, estimates))
            if bss_eval:
                table.add("BSS Eval v4", row, example.name, bss_eval_row(example.references, estimates))
    return table


def usdr_row(references: Array, estimates: Mapping[str, Array]) -> Row:
    """uSDR of each stem that can be heard in the references (stem, 2, samples) and was estimated."""
    return {
        stem: usdr(references[STEMS.index(stem)], estimate)
        for stem, estimate in estimates.items()
        if stem in _audible(references)
    }


def bss_eval_row(references: Array, estimates: Mapping[str, Array]) -> Row:
    """BSS Eval v4's SDR by ``museval``: all audible stems that were estimated, median over frames of one second."""
    stems = [stem for stem in _audible(references) if stem in estimates]
    if not stems:
        return {}
    truth = np.stack([references[STEMS.index(stem)].T for stem in stems])
    guess = np.stack([estimates[stem].T for stem in stems])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a silent second is NaN by definition, and is left out below
        sdr, *_ = _museval_metrics().bss_eval(
            truth, guess, window=SAMPLE_RATE_HZ, hop=SAMPLE_RATE_HZ, compute_permutation=False, framewise_filters=False
        )
        medians = np.nanmedian(sdr, axis=1)
    return {stem: float(value) for stem, value in zip(stems, medians, strict=True)}


@cache
def _museval_metrics() -> ModuleType:
    """``museval.metrics`` without its package, which on import wants an ffmpeg binary that it doesn't need here."""
    package = find_spec("museval")
    if package is None or package.origin is None:
        raise ModelMissingError("BSS Eval needs the package museval: pip install '.[train]'")
    spec = spec_from_file_location("museval_metrics", Path(package.origin).with_name("metrics.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ways(ensemble: Ensemble, mixers: Mapping[str, Mixer], mixture: Array) -> dict[str, dict[str, Array]]:
    """Name of the row → stem → what it says, (2, samples)."""
    estimates = np.concatenate(list(ensemble.estimate([mixture])), axis=-1)
    ways: dict[str, dict[str, Array]] = {"mixture": dict.fromkeys(STEMS, mixture)}
    for (stem, model), estimate in zip(ensemble.names(), estimates, strict=True):
        ways.setdefault(model, {})[stem] = estimate
    if ensemble.front:
        ways["floor"] = floor(mixture, ways[ensemble.front]["vocals"])
    for name, mixer in mixers.items():
        mixed = np.concatenate(list(mix([estimates], ensemble.names(), mixer)), axis=-1)
        ways[name] = dict(zip(STEMS, mixed, strict=True))
        whole = np.concatenate(list(hand_back([np.concatenate([mixture[None], mixed])])), axis=-1)
        ways[f"{name}, residual handed back"] = dict(zip(STEMS, whole, strict=True))
    return ways


def _audible(references: Array) -> list[str]:
    mixture = energy(references.sum(axis=0))
    return [stem for i, stem in enumerate(STEMS) if ratio_db(energy(references[i]), mixture) > AUDIBLE_DB]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

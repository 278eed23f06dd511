"""How far estimates are from the references of a song, gathered second by second, so that no song is held twice.

The field has two measures that share a name. uSDR is one ratio over a whole song (Music Demixing Challenge 2021). The
SDR of BSS Eval v4 (Stöter et al., "The 2018 Signal Separation Evaluation Campaign") is the same ratio per second, its
median over the song: for images of sources the distortion filters, which take museval its time, decide only how an
error is told apart into interference and artefacts, not how large it is. So both come from the energies of every
second; a test compares with ``museval`` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import energy, ratio_db

AUDIBLE_DB = -60.0
"""A reference that is quieter than this below the mixture is silent, and its stem is not scored in that song."""
USDR, BSS_EVAL = "uSDR", "BSS Eval v4 SDR"
MEASURES = (USDR, BSS_EVAL)

Row = dict[str, float]
"""Stem → dB; a stem that is silent in the song is absent."""
Ways = Mapping[str, Mapping[str, Array]]
"""Name of a row, a way of separating → stem → what it says of the same second, (2, n)."""


@dataclass
class SongScores:
    """Listens to a song and to what every way of separating makes of it, and keeps a few numbers of each second."""

    _mixture: list[float] = field(default_factory=list)
    _references: dict[str, list[float]] = field(default_factory=dict)
    _mute: dict[str, list[bool]] = field(default_factory=dict)
    _errors: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _mute_estimate: dict[tuple[str, str], list[bool]] = field(default_factory=dict)
    _samples: int = 0

    def add(self, references: Array, mixture: Array, ways: Ways) -> None:
        """Takes in one second (the last one may be shorter): references (stem, 2, n), mixture (2, n)."""
        self._samples += mixture.shape[-1]
        self._mixture.append(energy(mixture))
        for stem, reference in zip(STEMS, references, strict=True):
            self._references.setdefault(stem, []).append(energy(reference))
            self._mute.setdefault(stem, []).append(_is_mute(reference))
        for row, stems in ways.items():
            for stem, estimate in stems.items():
                error = energy(references[STEMS.index(stem)] - estimate)
                self._errors.setdefault((row, stem), []).append(error)
                self._mute_estimate.setdefault((row, stem), []).append(_is_mute(estimate))

    def rows(self, measure: str) -> dict[str, Row]:
        """Name of the row → stem → dB, for one of ``MEASURES`` and all stems that can be heard and were estimated."""
        mixture = sum(self._mixture)
        audible = [s for s in STEMS if mixture and ratio_db(sum(self._references[s]), mixture) > AUDIBLE_DB]
        rows: dict[str, Row] = {row: {} for row, _ in self._errors}
        for row, stem in self._errors:
            if stem in audible:
                value = self._usdr(row, stem) if measure == USDR else self._bss_eval(row, stem, audible)
                if value is not None:
                    rows[row][stem] = value
        return rows

    def _usdr(self, row: str, stem: str) -> float:
        return ratio_db(sum(self._references[stem]), sum(self._errors[row, stem]))

    def _bss_eval(self, row: str, stem: str, audible: list[str]) -> float | None:
        """As museval has it: whole seconds alone, and none in which any reference or estimate is digital silence.

        None if no second is left.
        """
        seconds = max(1, self._samples // SAMPLE_RATE_HZ)
        mute = [self._mute[name] for name in audible]
        mute += [self._mute_estimate[row, name] for name in audible if (row, name) in self._mute_estimate]
        kept = ~np.any(mute, axis=0)[:seconds]
        if not kept.any():
            return None
        references, errors = (
            np.array(values)[:seconds][kept] for values in (self._references[stem], self._errors[row, stem])
        )
        return float(np.median(10 * np.log10(np.maximum(references, 1e-30) / np.maximum(errors, 1e-30))))


def _is_mute(samples: Array) -> bool:
    """museval's definition, which looks at the sum of the channels."""
    return not samples.sum(axis=0).any()

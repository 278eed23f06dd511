"""The paper's Table 1 for any folder of songs: what was measured, as text, as JSON, and with what chance explains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from spectacles_engine.errors import InputError
from spectacles_engine.messages import STEMS
from spectacles_engine.training.scoring import MEASURES, USDR, Row
from spectacles_engine.whole_files import write_whole

RESAMPLINGS = 10_000
LEAST_SONGS = 6
"""Of fewer songs no interval is given: even from the worst to the best of five, it would hold 94 % at most."""
ORACLE = "oracle α"
LINEAR = "linear mixer"
WRITTEN = ", residual handed back"
"""What the row of ours is called, beside its name, where its stems are taken as they are written."""
MIDDLES: dict[str, Any] = {"mean": np.mean, "median": np.median}


@dataclass
class Table:
    """Scores of songs: song → measure → name of the row → stem → dB. ``made_by``: what tells this table from others."""

    made_by: Mapping[str, Any] = field(default_factory=dict)
    songs: dict[str, dict[str, dict[str, Row]]] = field(default_factory=dict)

    @classmethod
    def resumed(cls, path: Path | None, made_by: Mapping[str, Any]) -> Table:
        """What an interrupted evaluation wrote to ``path``; an empty table if there is none.

        ``made_by["songs"]``: (name, fingerprint) of all that are to be in it. There may be others than before, so that
        one which cannot be read costs nothing; but none that has been scored may be lacking, or have changed. Raises
        InputError where it is so, or the file is of other models: it isn't written over.
        """
        if path is None or not path.exists():
            return cls(made_by)
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            wanted = json.loads(json.dumps(made_by))
            scored = [song for song in read["made_by"]["songs"] if song[0] in read["songs"]]
            if {**read["made_by"], "songs": wanted["songs"]} == wanted and all(s in wanted["songs"] for s in scored):
                return cls(made_by, read["songs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is in the way: it is no table of an evaluation") from error
        raise InputError(
            f"{path} is the table of another preset, of other models or of other songs: remove it, or name another file"
        )

    def scores(self, measure: str, row: str, stem: str) -> dict[str, float]:
        """Song → dB, for the songs that have the stem."""
        found = {song: rows[measure].get(row, {}).get(stem) for song, rows in self.songs.items()}
        return {song: value for song, value in found.items() if value is not None}

    def rows(self) -> list[str]:
        """Names of all rows, in the order in which they were measured."""
        return list(dict.fromkeys(row for rows in self.songs.values() for row in rows[USDR]))

    def summary(self, measure: str, middle: str) -> dict[str, Row]:
        """Row → stem → the ``mean`` or ``median`` over all songs that have the stem."""
        summaries = {}
        for row in self.rows():
            values = {stem: list(self.scores(measure, row, stem).values()) for stem in STEMS}
            summaries[row] = {stem: float(MIDDLES[middle](found)) for stem, found in values.items() if found}
        return summaries

    def best_of(self, rows: Sequence[str], measure: str, middle: str) -> dict[str, str]:
        """Stem → which of the rows is best over all songs."""
        summary = self.summary(measure, middle)
        found = {stem: [row for row in rows if stem in summary.get(row, {})] for stem in STEMS}
        return {stem: max(known, key=lambda row: summary[row][stem]) for stem, known in found.items() if known}

    def gain(self, row: str, against: Mapping[str, str], measure: str, middle: str) -> dict[str, dict[str, Any]]:
        """By how much a row is better than another (stem → row), and the paired bootstrap's 95 % interval of that.

        Stem → ``against``, ``gain_db``, ``songs``, and ``low_db``, ``high_db`` where there are enough songs.
        """
        gains: dict[str, dict[str, Any]] = {}
        for stem, other in against.items():
            ours, theirs = self.scores(measure, row, stem), self.scores(measure, other, stem)
            pairs = [(ours[song], theirs[song]) for song in ours if song in theirs]
            if pairs:
                gains[stem] = {"against": other, "songs": len(pairs), **_gain(np.array(pairs), MIDDLES[middle])}
        return gains

    def shares(self, rows: Sequence[str], bases: Sequence[str], measure: str, middle: str) -> dict[str, Row]:
        """Row → stem → share of the oracle's gain over the best base model that it captures, in percent."""
        summary, best = self.summary(measure, middle), self.best_of(bases, measure, middle)
        room = {s: summary[ORACLE][s] - summary[best[s]][s] for s in best if s in summary.get(ORACLE, {})}
        known = [(row, stem) for row in rows for stem in room if stem in summary[row] and room[stem] > 0]
        shares: dict[str, Row] = {row: {} for row in rows}
        for row, stem in known:
            shares[row][stem] = 100 * (summary[row][stem] - summary[best[stem]][stem]) / room[stem]
        return shares

    def write(self, path: Path, report: Mapping[str, Any]) -> None:
        """Everything as JSON."""
        write_whole(path, json.dumps({"made_by": self.made_by, **report, "songs": self.songs}, indent=1).encode())


@dataclass(frozen=True)
class Report:
    """What is said of a table: which of its rows are base models, which blends, and which is ours."""

    table: Table
    bases: Sequence[str]
    blends: Sequence[str]
    ours: str

    @property
    def written(self) -> str:
        """The row of ours as it is written."""
        return self.ours + WRITTEN

    def as_json(self) -> dict[str, Any]:
        """Summaries, gains with their intervals, and shares of the oracle, of both measures."""
        return {
            measure: {
                middle: {
                    "summary": self.table.summary(measure, middle),
                    "gains": self._gains(measure, middle),
                    "share_of_oracle_percent": self._shares(measure, middle),
                }
                for middle in _middles(measure)
            }
            for measure in MEASURES
        }

    def text(self) -> str:
        """All tables, for a terminal and for Markdown alike."""
        parts = []
        for measure in MEASURES:
            for middle in _middles(measure):
                parts += [*self._scores_text(measure, middle), "", *self._gains_text(measure, middle), ""]
        return "\n".join(parts)

    def _gains(self, measure: str, middle: str) -> dict[str, dict[str, Any]]:
        best = self.table.best_of(self.bases, measure, middle)
        return {
            f"{row} − {name}": self.table.gain(row, against, measure, middle)
            for row in (self.ours, self.written)
            for name, against in (("best base model", best), ("average", dict.fromkeys(STEMS, "average")))
        }

    def _shares(self, measure: str, middle: str) -> dict[str, Row]:
        return self.table.shares([*self.blends, self.written], self.bases, measure, middle)

    def _scores_text(self, measure: str, middle: str) -> list[str]:
        counts = [
            len({s for row in self.table.rows() for s in self.table.scores(measure, row, stem)}) for stem in STEMS
        ]
        over = "median over 1 s frames, then " if measure != USDR else ""
        return [
            _line(f"{measure}, dB, {over}{middle} of {number_of_songs(len(self.table.songs))}", STEMS),
            "|---|" + "---|" * len(STEMS),
            _line("*songs that have the stem*", map(str, counts)),
            *(_row(row, values, ".2f") for row, values in self.table.summary(measure, middle).items()),
        ]

    def _gains_text(self, measure: str, middle: str) -> list[str]:
        lines = [_line(f"{measure}, {middle}: what is gained", STEMS), "|---|" + "---|" * len(STEMS)]
        for name, gains in self._gains(measure, middle).items():
            lines.append(_line(f"{name}, dB [95 %]", [_interval(gains.get(stem)) for stem in STEMS]))
        for row, values in self._shares(measure, middle).items():
            lines.append(_row(f"{row}, % of the oracle's gain", values, ".0f"))
        return lines


def number_of_songs(count: int) -> str:
    """So many of them, in words."""
    return f"{count} song{'' if count == 1 else 's'}"


def _middles(measure: str) -> tuple[str, ...]:
    return ("mean", "median") if measure == USDR else ("median",)


def _gain(pairs: np.ndarray[Any, Any], middle: Any) -> dict[str, float]:
    """Middle of the first column less that of the second, songs resampled together."""
    ours, theirs = pairs.T
    found = {"gain_db": float(middle(ours) - middle(theirs))}
    if len(pairs) >= LEAST_SONGS:
        drawn = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLINGS, len(pairs)))
        gains = middle(ours[drawn], axis=1) - middle(theirs[drawn], axis=1)
        around = np.quantile(gains, (0.025, 0.975)) - found["gain_db"]
        if middle is np.mean:
            around *= _t_factor(len(pairs))
        found |= dict(zip(("low_db", "high_db"), map(float, found["gain_db"] + around), strict=True))
    return found


def _t_factor(songs: int) -> float:
    """By how much Student's interval of a mean is wider than that of resampled songs, which is too narrow for few."""
    return float(stats.t.ppf(0.975, songs - 1) / stats.norm.ppf(0.975) * np.sqrt(songs / (songs - 1)))


def _interval(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return "–"
    known = f"[{gain['low_db']:+.2f}, {gain['high_db']:+.2f}]" if "low_db" in gain else f"(songs: {gain['songs']})"
    return f"{gain['gain_db']:+.2f} {known}"


def _row(name: str, values: Row, form: str) -> str:
    return _line(name, [format(values[stem], form) if stem in values else "–" for stem in STEMS])


def _line(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(cells).replace('-', '−')} |"

"""Separates songs in every way that a preset knows, and scores each way: the rows of the paper's Table 1.

A song passes as a stream of seconds through all models and mixers at once. In memory are its references and, of all
that is made of it, a few chunks; so a folder of any size needs no more than its longest song.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectacles_engine.chunking import Array, rebatch, shared
from spectacles_engine.ensemble import BLOCK_SAMPLES, Ensemble, handed_back, in_mixer_chunks, mix
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import Mixer
from spectacles_engine.training.examples import Example, each
from spectacles_engine.training.floor import FLOOR_MARGIN_SAMPLES, floor
from spectacles_engine.training.oracle import Oracle
from spectacles_engine.training.scoring import MEASURES, SongScores
from spectacles_engine.training.table import ORACLE, WRITTEN, Report, Table

Stems = dict[str, Array]


@dataclass(frozen=True)
class Evaluation:
    """Which ways of separating are compared.

    ``ensemble``: its mixer decides which models are asked. ``mixers``: row → mixer, which listens to no others;
    ``ours`` is the row whose stems are also taken with what no stem took handed back, as they are written. ``oracle``
    knows the references.
    """

    ensemble: Ensemble
    mixers: Mapping[str, Mixer]
    oracle: Oracle
    ours: str = "stemmixer"

    def run(self, examples: Iterable[Example], table: Table, json: Path | None = None) -> None:
        """Fills ``table`` with the songs that it lacks, and writes it to ``json`` after each of them."""

        def add(example: Example) -> None:
            if example.name not in table.songs:
                scores = self.score(example)
                table.songs[example.name] = {measure: scores.rows(measure) for measure in MEASURES}
                if json:
                    table.write(json, self.report(table).as_json())

        each(examples, add, "evaluate")

    def score(self, example: Example) -> SongScores:
        """All rows of one song."""
        scores = SongScores()
        start = 0
        for ways in self.ways(example):
            second = slice(start, start + BLOCK_SAMPLES)
            scores.add(example.references[..., second], example.mixture[..., second], ways)
            start += BLOCK_SAMPLES
        return scores

    def ways(self, example: Example) -> Iterator[dict[str, Stems]]:
        """Second after second: row → stem → what it says, (2, n)."""
        names, fronts = self.ensemble.names(), self.ensemble.fronts
        heard = self.ensemble.hear([example.mixture])
        # no more copies than are read: one that nobody reads would hold the whole song
        plain, for_oracle, for_ours, *copies = shared(heard, 3 + len(self.mixers) + bool(fronts))
        streams = {"floor": _floor(copies.pop(), names.index(("vocals", fronts[0])))} if fronts else {}
        for (name, mixer), copy in zip(self.mixers.items(), copies, strict=True):
            streams[name] = mix(copy, names, mixer)
        streams[self.ours], ours = shared(streams[self.ours])
        streams[self.ours + WRITTEN] = handed_back(for_ours, ours)
        streams[ORACLE] = self._oracle(for_oracle, example.references)
        for heard_block, *parts in zip(plain, *streams.values(), strict=True):
            ways: dict[str, Stems] = {"mixture": dict.fromkeys(STEMS, heard_block[0])}
            for (stem, model), estimate in zip(names, heard_block[1:], strict=True):
                ways.setdefault(model, {})[stem] = estimate
            ways |= {row: dict(zip(STEMS, part, strict=True)) for row, part in zip(streams, parts, strict=True)}
            yield ways

    def report(self, table: Table) -> Report:
        """What the table says of ours, of the base models and of all mixers."""
        bases = list(dict.fromkeys(model for _, model in self.ensemble.names()))
        return Report(table, bases, list(self.mixers), self.ours)

    def _oracle(self, heard: Iterable[Array], references: Array) -> Iterator[Array]:
        seconds = zip(heard, rebatch([references], BLOCK_SAMPLES), strict=True)
        both = (np.concatenate([block, reference]) for block, reference in seconds)
        return in_mixer_chunks(both, lambda chunks: self.oracle.blend(chunks, self.ensemble.names()))


def _floor(heard: Iterable[Array], vocals: int) -> Iterator[Array]:
    def separate(chunks: Array) -> Array:
        return np.stack([np.stack(list(floor(chunk[0], chunk[1 + vocals]).values())) for chunk in chunks])

    return in_mixer_chunks(heard, separate, FLOOR_MARGIN_SAMPLES)

"""Pre-computes what the frozen base models say of every song, as the paper does before it trains its mixer.

``OUT/<song>/`` holds ``references.npy`` (stem, 2, samples) and ``estimates.npy`` (estimate, 2, samples), both float16,
and ``estimates.json``, the (stem, model) of every estimate and what made them. A song that the same files of the same
models have gone over is not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.training.augment import MixtureSource
from spectacles_engine.training.data import SongFiles, read_song


@dataclass(frozen=True)
class Example:
    """A song with references (stem, 2, samples), four stems in the order of ``messages.STEMS``."""

    name: str
    references: Array


def songs_as_examples(songs: Iterable[SongFiles]) -> Iterator[Example]:
    """One song at a time in memory."""
    for song in songs:
        yield Example(song.name, read_song(song))


def random_examples(source: MixtureSource, count: int) -> Iterator[Example]:
    """Random mixtures in place of songs, for folders with few songs that have all stems."""
    for i in range(count):
        yield Example(f"mixture-{i:04d}", source.draw())


def write_estimates(ensemble: Ensemble, examples: Iterable[Example], out: Path, made_by: Sequence[str] = ()) -> None:
    """Runs the base models of ``ensemble`` over every example; can be interrupted and goes on where it stopped.

    ``made_by``: what tells these models from others, the SHA-256 of their files.
    """
    for example in tqdm(examples, desc="estimates", unit="song"):
        folder = out / example.name
        told = json.dumps({"names": ensemble.names(), "made_by": list(made_by)})
        if (folder / "estimates.json").exists() and (folder / "estimates.json").read_text() == told:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        estimates = np.concatenate(
            [block.astype(np.float16) for block in ensemble.estimate([example.references.sum(axis=0)])], axis=-1
        )
        np.save(folder / "references.npy", example.references.astype(np.float16))
        np.save(folder / "estimates.npy", estimates)
        (folder / "estimates.json").write_text(told)


@dataclass(frozen=True)
class StoredEstimates:
    """One folder of ``write_estimates``, mapped, not read."""

    name: str
    references: Array
    estimates: Array
    names: Sequence[tuple[str, str]]

    def of_stem(self, stem: str) -> list[int]:
        """Indices of the estimates that belong to a stem."""
        return [i for i, (owner, _) in enumerate(self.names) if owner == stem]


def read_estimates(folder: Path) -> list[StoredEstimates]:
    """All songs below ``folder``, sorted by name."""
    return [
        StoredEstimates(
            path.parent.name,
            np.load(path.parent / "references.npy", mmap_mode="r"),
            np.load(path.parent / "estimates.npy", mmap_mode="r"),
            [tuple(name) for name in json.loads(path.read_text())["names"]],
        )
        for path in sorted(folder.glob("*/estimates.json"))
    ]

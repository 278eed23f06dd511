"""What base models, mixers and tables are given to hear: songs whose stems are known, one at a time in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import length_hint

from tqdm import tqdm

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import energy
from spectacles_engine.training.augment import MixtureSource, Sources
from spectacles_engine.training.data import SongFiles, fingerprint, read_song

PART_SAMPLES = 10 * SAMPLE_RATE_HZ
"""So much of a song is read at a time."""
UNTOLD_ENERGY = 0.01
"""A mixture that differs from the sum of its stems by no more than this share of its energy holds no others."""


@dataclass(frozen=True)
class Example:
    """A song with references (stem, 2, samples), in the order of ``messages.STEMS``, and its mixture (2, samples).

    ``sources``: of what its stems are made; two examples that have one in common are not strangers. A stem that is
    lacking there was not given, and silent. ``fingerprint``: what tells it from others of its name.
    """

    name: str
    references: Array
    mixture: Array
    sources: Sources = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def untold(self) -> list[str]:
        """Stems that were not given though the mixture holds more than those that were: silence isn't what they are."""
        lacking = [stem for stem in STEMS if stem not in self.sources]
        if not lacking:
            return []
        loudness = left = 0.0
        for part in parts(self.mixture.shape[-1]):
            loudness += energy(self.mixture[:, part])
            left += energy(self.mixture[:, part] - self.references[..., part].sum(axis=0))
        return lacking if left > UNTOLD_ENERGY * loudness else []

    @classmethod
    def summed(cls, name: str, references: Array, sources: Sources | None = None, fingerprint: str = "") -> Example:
        """A song whose mixture is the sum of its stems."""
        return cls(name, references, references.sum(axis=0), sources or {}, fingerprint)


@dataclass(frozen=True)
class Songs:
    """Songs on disk, one at a time in memory."""

    files: Sequence[SongFiles]

    @property
    def fingerprints(self) -> list[tuple[str, str]]:
        """What tells them from others."""
        return [(song.name, fingerprint(song.files)) for song in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Example]:
        return (
            Example(song.name, *read_song(song), {stem: [song.name] for stem in song.stems}, fingerprint(song.files))
            for song in self.files
        )


@dataclass(frozen=True)
class RandomMixtures:
    """Random mixtures in place of songs, for folders with few songs that have all stems.

    ``seed`` is part of their names: what is drawn by several may lie in one folder. ``drawn_from``: the
    fingerprint of what their ``source`` draws from.
    """

    source: MixtureSource
    count: int
    seed: int
    drawn_from: str

    @property
    def fingerprints(self) -> list[tuple[str, str]]:
        """Name of every one, and what tells it from others of its name."""
        return [(self._name(i), self.drawn_from) for i in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Example]:
        for i in range(self.count):
            one = self.source.draw()
            yield Example.summed(self._name(i), one.references, one.sources, self.drawn_from)

    def _name(self, number: int) -> str:
        return f"mixture-{self.seed}-{number:04d}"


Examples = Songs | RandomMixtures


def each(examples: Iterable[Example], do: Callable[[Example], None], what: str) -> None:
    """Does something with every example, under a bar that says ``what``.

    Unlike the variable of a loop, and tqdm's own, it holds none while the next one is read: a song takes a GiB.
    """
    for _ in tqdm(map(do, examples), desc=what, unit="song", total=length_hint(examples)):
        pass


def parts(samples: int) -> Iterator[slice]:
    """A song of so many samples, a part after the other."""
    return (slice(start, start + PART_SAMPLES) for start in range(0, samples, PART_SAMPLES))

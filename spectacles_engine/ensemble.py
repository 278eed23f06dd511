"""The whole separation of a song, as streams: mixture → base models → mixer → residual handed back → stems.

Every arrow is a generator of blocks, so that an hour of audio needs no more memory than three minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spectacles_engine.chunking import Array, in_chunks, rebatch, shared
from spectacles_engine.conditioning import balanced, in_channels, without_offset
from spectacles_engine.devices import Placement
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import Mixer
from spectacles_engine.residual import hand_back
from spectacles_engine.separators import Separator

BLOCK_SAMPLES = SAMPLE_RATE_HZ
"""Streams are regrouped to blocks of one second where they are zipped."""
MIXER_CHUNK_SAMPLES = 5 * SAMPLE_RATE_HZ
MIXER_MARGIN_SAMPLES = 6144
"""Two frames on from a frame: so far a StemMixer with ``context`` looks that has 2048 samples between frames."""
MIXER_OVERLAP = 0.02


@dataclass(frozen=True)
class Block:
    """The same second of everything.

    ``mixture`` (2, n); ``estimates`` (estimate, 2, n), what each base model answered, in the order of
    ``Ensemble.names``; ``mixed`` (stem, 2, n), what the mixer made of them, in the order of ``messages.STEMS``;
    ``stems``, the same with what no stem took handed back (where all four are separated).
    """

    mixture: Array
    estimates: Array
    mixed: Array
    stems: Array


@dataclass(frozen=True)
class Ensemble:
    """Frozen base models and a mixer, loaded once and used for every song.

    ``models``: by name. ``fronts`` names those that hear the song first; the others hear it without the mean of the
    vocals of these, and this mean is added to whatever vocals they still find there (a cascade).
    """

    models: Mapping[str, Separator]
    mixer: Mixer
    fronts: tuple[str, ...] = ()

    def names(self, stems: Collection[str] = STEMS) -> tuple[tuple[str, str], ...]:
        """(stem, model) of every estimate that the mixer listens to for these stems, in its order."""
        return self.mixer.names(stems)

    @property
    def placements(self) -> list[Placement]:
        """Where its networks run: the base models, and the mixer's, if it has any."""
        return [*(model.placement for model in self.models.values()), *self.mixer.placements]

    def separate(
        self, blocks: Iterable[Array], stems: Collection[str] = STEMS, between_chunks: Callable[[], None] = lambda: None
    ) -> Iterator[Block]:
        """Blocks (2, n) of stereo at 44.1 kHz → ``Block`` after ``Block``; ``between_chunks`` may raise to end it."""
        heard = self.hear(blocks, stems, between_chunks)
        return blend(heard, self.names(stems), self.mixer, stems, between_chunks)

    def hear(
        self, blocks: Iterable[Array], stems: Collection[str] = STEMS, between_chunks: Callable[[], None] = lambda: None
    ) -> Iterator[Array]:
        """What a mixer is given: blocks (2, n) → blocks (1 + estimate, 2, n), the mixture and all estimates."""
        mixture, source = shared(rebatch(blocks, BLOCK_SAMPLES))
        estimates = self.estimate(source, stems, between_chunks)
        return (np.concatenate([block[None], said]) for block, said in zip(mixture, estimates, strict=True))

    def estimate(
        self, blocks: Iterable[Array], stems: Collection[str] = STEMS, between_chunks: Callable[[], None] = lambda: None
    ) -> Iterator[Array]:
        """What the base models say, without a mixer: blocks (2, n) → blocks (estimate, 2, n), see ``names``.

        They hear the song balanced, see ``conditioning``; what they say is tilted back to how it came.
        """
        source, gains = shared(balanced(rebatch(blocks, BLOCK_SAMPLES)))
        after_fronts = self._after_fronts((block for block, _ in source), between_chunks)
        estimates = self._estimates(after_fronts, stems, between_chunks)
        return (said / gain for said, (_, gain) in zip(estimates, gains, strict=True))

    def _after_fronts(self, mixture: Iterable[Array], between_chunks: Callable[[], None]) -> Iterator[Array]:
        """Blocks (2, n) → (2 + front, 2, n): what the other models hear, the mean vocals that it lacks, each front's.

        Without fronts it lacks nothing: the other models hear the mixture.
        """
        plain, *copies = shared((np.stack([block, np.zeros_like(block)]) for block in mixture), 1 + len(self.fronts))
        answers = [
            _one_model(self.models[name], copy, ("vocals",), between_chunks)
            for name, copy in zip(self.fronts, copies, strict=True)
        ]
        for (block, nothing), *parts in zip(plain, *answers, strict=True):
            fronts = [part for (part,) in parts]  # of each front its one stem, the vocals
            vocals = np.mean(fronts, axis=0) if fronts else nothing
            yield np.stack([block - vocals, vocals, *fronts])

    def _estimates(
        self, after_fronts: Iterable[Array], stems: Collection[str], between_chunks: Callable[[], None]
    ) -> Iterator[Array]:
        """All estimates, (estimate, 2, n), in the order of ``names``."""
        names = self.names(stems)
        asked = {name: tuple(stem for stem, model in names if model == name) for name in self.models}
        asked = {name: wanted for name, wanted in asked.items() if wanted and name not in self.fronts}
        plain, *copies = shared(after_fronts, len(asked) + 1)
        answers = [
            _one_model(self.models[name], (block[:2] for block in copy), wanted, between_chunks)
            for (name, wanted), copy in zip(asked.items(), copies, strict=True)
        ]
        for (_, _, *fronts), *blocks in zip(plain, *answers, strict=True):
            known = {("vocals", name): vocals for name, vocals in zip(self.fronts, fronts, strict=True)}
            for (name, wanted), block in zip(asked.items(), blocks, strict=True):
                known |= {(stem, name): part for stem, part in zip(wanted, block, strict=True)}
            yield np.stack([known[key] for key in names])


def blend(
    heard: Iterable[Array],
    names: Sequence[tuple[str, str]],
    mixer: Mixer,
    stems: Collection[str] = STEMS,
    between_chunks: Callable[[], None] = lambda: None,
) -> Iterator[Block]:
    """What comes after the base models: blocks (1 + estimate, 2, n), see ``hear`` → ``Block`` after ``Block``."""
    rows = [1 + names.index(name) for name in mixer.names(stems)]
    plain, source = shared(heard)
    mixed, stemmed = shared(mix(source, names, mixer, stems, between_chunks))
    if set(stems) == set(STEMS):
        plain, whole = shared(plain)
        stemmed = handed_back(whole, stemmed)
    for block, *parts in zip(plain, mixed, stemmed, strict=True):
        yield Block(block[0], block[rows], *parts)


def handed_back(heard: Iterable[Array], mixed: Iterable[Array]) -> Iterator[Array]:
    """Blocks (1 + estimate, 2, n) and what was mixed of them, all stems → the stems as they are written."""
    both = (np.concatenate([block[:1], stems]) for block, stems in zip(heard, mixed, strict=True))
    return rebatch(hand_back(both), BLOCK_SAMPLES)


def mix(
    heard: Iterable[Array],
    names: Sequence[tuple[str, str]],
    mixer: Mixer,
    stems: Collection[str] = STEMS,
    between_chunks: Callable[[], None] = lambda: None,
) -> Iterator[Array]:
    """Blocks (1 + estimate, 2, n), the mixture and the estimates named (stem, model) → blocks of stems (stem, 2, n)."""
    wanted = [stem for stem in STEMS if stem in stems]
    rows = [0, *(1 + names.index(name) for name in mixer.names(wanted))]

    def mixed(chunks: Array) -> Array:
        between_chunks()
        return in_channels(lambda heard: mixer.blend(heard[:, rows], wanted), chunks)

    return in_mixer_chunks(heard, mixed)


def in_mixer_chunks(
    blocks: Iterable[Array], transform: Callable[[Array], Array], margin_samples: int = MIXER_MARGIN_SAMPLES
) -> Iterator[Array]:
    """``chunking.in_chunks`` with the chunks that mixers are given → blocks of one second."""
    done = in_chunks(
        blocks,
        transform,
        chunk_samples=MIXER_CHUNK_SAMPLES,
        overlap=MIXER_OVERLAP,
        margin_samples=margin_samples,
    )
    return rebatch(done, BLOCK_SAMPLES)


def _one_model(
    separator: Separator, heard: Iterable[Array], stems: tuple[str, ...], between_chunks: Callable[[], None]
) -> Iterator[Array]:
    """One base model over blocks (2, 2, n), what it hears and the vocals that this lacks → its stems.

    These are (stem, 2, n), in blocks of one second; the vocals among them are whole again.
    """

    def answer(heard: Array) -> Array:
        answers = separator.estimate(np.ascontiguousarray(heard[:, 0]), stems)
        return np.stack([answers[stem] for stem in stems], axis=1)

    def estimate(chunks: Array) -> Array:
        between_chunks()
        parts = in_channels(answer, without_offset(chunks[:, :1]))
        if "vocals" in stems:
            parts[:, stems.index("vocals")] += chunks[:, 1]
        return parts

    finished = in_chunks(
        heard,
        estimate,
        chunk_samples=separator.chunk_samples,
        overlap=separator.overlap,
        margin_samples=separator.margin_samples,
        batch=separator.placement.batch,
    )
    return rebatch(finished, BLOCK_SAMPLES)

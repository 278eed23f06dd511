"""What a StemMixer learns from: bins of spectrograms, each with what can be seen of it, and what it should be.

Either whole chunks of the songs, one at a time, as in the paper; or bins drawn once from all of them and kept in
memory: neighbouring bins are much alike, and a CPU goes over these many times in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import Heard
from spectacles_engine.spectrogram import Stft
from spectacles_engine.stem_mixer import LAWS, N_FFT, Design
from spectacles_engine.training.estimates import StoredEstimates

HANN_ENERGY = 3 / 8 * N_FFT
"""Sum of the squared window: the mean square of a spectrogram's bins against that of its samples."""
STRETCH_FRAMES = 40
"""Bins are drawn from so many neighbouring frames of a chunk: the clues of a whole one take long."""
BATCH_BINS = 16_384


@dataclass(frozen=True)
class Bins:
    """Some bins of one stem.

    ``clues``: real (1, clues, bins, frames), see ``Design``; ``voices``: complex (1, models, 2, bins, frames), what is
    weighted; ``target``: complex (1, 2, bins, frames). ``worth``: (1, 1, bins, frames) or (1, 1, 1, 1), the inverse of
    what errors in the song are measured against, see ``StoredEstimates.against``.
    """

    clues: Tensor
    voices: Tensor
    target: Tensor
    worth: Tensor


Batch = Mapping[str, Bins]
"""Stem → some of its bins."""


@dataclass(frozen=True)
class Chunk:
    """A stretch of a song, from the sample ``start`` on."""

    song: StoredEstimates
    start: int
    samples: int

    def frames(self, stft: Stft) -> int:
        """How many frames there are in it, of a short song too."""
        length: int = self.song.estimates.shape[-1]
        return 1 + min(self.samples, length - self.start) // stft.stft_hop

    def batch(self, design: Design, device: str, frames: slice = slice(None)) -> Batch:
        """All bins of some frames, of every stem."""
        part, stft = slice(self.start, self.start + self.samples), design.stft
        waveforms = torch.from_numpy(self.song.heard(part)).to(device)[None]
        references = stft.forward(torch.from_numpy(self.song.references[..., part].astype(np.float32)).to(device))
        scene = Heard(waveforms, self.song.names, design)
        found = {}
        for i, stem in enumerate(STEMS):
            own, around = scene.of_stem(stem)
            worth = 1 / (HANN_ENERGY * self.song.against[stem])
            found[stem] = Bins(
                design.clues(own[..., frames], around[..., frames], 0, stft.bins),
                LAWS[design.law](own[..., frames]),
                references[i : i + 1, ..., frames],
                torch.full((1, 1, 1, 1), worth, device=device),
            )
        return found


def chunks_of(songs: Sequence[StoredEstimates], chunk_s: float) -> list[Chunk]:
    """All songs, cut into pieces, of which the last reaches back; a song that is shorter than a piece is one."""
    samples = int(chunk_s * SAMPLE_RATE_HZ)
    chunks = []
    for song in songs:
        last = max(0, song.estimates.shape[-1] - samples)
        chunks += [Chunk(song, start, samples) for start in sorted({*range(0, last + 1, samples), last})]
    return chunks


@dataclass(frozen=True)
class WholeChunks:
    """One chunk after the other, in random order."""

    chunks: Sequence[Chunk]
    design: Design
    device: str

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.chunks)

    def __call__(self, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch."""
        for i in random.permutation(len(self.chunks)):
            yield self.chunks[int(i)].batch(self.design, self.device)


@dataclass(frozen=True)
class DrawnBins:
    """``bins`` of each stem, drawn from all chunks alike and kept, in batches of ``BATCH_BINS``."""

    chunks: Sequence[Chunk]
    design: Design
    device: str
    bins: int
    seed: int

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._count // BATCH_BINS)

    def __call__(self, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch."""
        for some in np.array_split(random.permutation(self._count), len(self)):
            index = torch.from_numpy(some).to(self.device)
            yield {
                stem: Bins(*(x.index_select(-2, index) for x in _fields(kept))) for stem, kept in self._drawn.items()
            }

    @property
    def _count(self) -> int:
        return self._drawn[STEMS[0]].clues.shape[-2]

    @cached_property
    def _drawn(self) -> Batch:
        random, stft, parts = np.random.default_rng(self.seed), self.design.stft, []
        each = max(1, self.bins // len(self.chunks))
        for chunk in tqdm(self.chunks, desc="bins", unit="chunk"):
            first = int(random.integers(max(1, chunk.frames(stft) - STRETCH_FRAMES)))
            batch = chunk.batch(self.design, self.device, slice(first, first + STRETCH_FRAMES))
            places = stft.bins * batch[STEMS[0]].clues.shape[-1]
            index = torch.from_numpy(random.integers(places, size=each)).to(self.device)
            parts.append({stem: _picked(bins, index) for stem, bins in batch.items()})
        return {stem: _joined([part[stem] for part in parts]) for stem in STEMS}


def _picked(bins: Bins, index: Tensor) -> Bins:
    """Some of all bins and frames, which become (…, some, 1)."""
    clues, voices, target = (x.flatten(-2)[..., index, None] for x in (bins.clues, bins.voices, bins.target))
    return Bins(clues, voices, target, bins.worth.expand(1, 1, len(index), 1))


def _joined(parts: Sequence[Bins]) -> Bins:
    return Bins(*(torch.cat(tensors, dim=-2) for tensors in zip(*map(_fields, parts), strict=True)))


def _fields(bins: Bins) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return bins.clues, bins.voices, bins.target, bins.worth

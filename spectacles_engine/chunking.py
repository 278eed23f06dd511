"""A song is a stream of blocks; models want chunks of one fixed length. Here is the way there and back.

A *block* is any slice of the song, a *chunk* is what a model sees: ``chunk_samples`` long, of which the outer
``margin_samples`` on each side are context only. The usable middles overlap and are cross-faded.

``split`` and ``overlap_add`` are each other's inverse: ``overlap_add(split(blocks, grid), grid)`` is the song again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ChunkGrid:
    """Where the chunks of a song lie: chunk k answers for the samples from ``k * chunk_hop_samples`` on.

    ``overlap`` is the share of a chunk's usable middle that it has in common with the next chunk, 0 <= overlap < 1.

    Raises:
        ValueError: margins that leave nothing of the chunk, or an overlap outside of that range.
    """

    chunk_samples: int
    overlap: float
    margin_samples: int = 0

    def __post_init__(self) -> None:
        if self.margin_samples < 0 or self.usable_samples < 1:
            raise ValueError(f"margins of {self.margin_samples} leave nothing of a chunk of {self.chunk_samples}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"an overlap of {self.overlap} is not within 0 and 1")

    @property
    def usable_samples(self) -> int:
        """Length of a chunk without its margins."""
        return self.chunk_samples - 2 * self.margin_samples

    @property
    def chunk_hop_samples(self) -> int:
        """Step from one chunk to the next."""
        return max(1, int((1 - self.overlap) * self.usable_samples))

    @cached_property
    def weight(self) -> Array:
        """Weight of each usable sample, a triangle as in ``demucs.apply``; divided by its sum it is a linear fade.

        Linear rather than equal power: neighbouring chunks answer nearly the same there, so amplitudes must add to one.
        """
        rising = np.arange(1, self.usable_samples + 1)
        weight: Array = (np.minimum(rising, rising[::-1]) / rising[-1]).astype(np.float32)
        return weight


@dataclass(frozen=True)
class Chunk:
    """A chunk, (..., chunk_samples), and which part of it is used: ``length`` samples from ``start`` on."""

    samples: Array
    start: int
    length: int


def in_chunks(
    blocks: Iterable[Array],
    transform: Callable[[Array], Array],
    *,
    chunk_samples: int,
    overlap: float,
    margin_samples: int = 0,
    batch: int = 1,
) -> Iterator[Array]:
    """Apply a ``transform`` that needs a fixed length to a song of any length.

    Args:
        blocks: (..., n) of any lengths n, concatenated along the last axis they are the song. They are kept for a
            while: whoever makes them must not write to them again.
        transform: (b, ..., chunk_samples) -> (b, *out, chunk_samples), where b is ``batch`` or, at the end, less.
        chunk_samples, overlap, margin_samples: see ``ChunkGrid``.
        batch: chunks that are given to ``transform`` at once.

    Returns:
        Blocks (*out, n) as soon as they are final, together as long as the song. No more than about batch + 1 chunks
        are held at any time.
    """
    grid = ChunkGrid(chunk_samples, overlap, margin_samples)
    return overlap_add(_transformed(split(blocks, grid), transform, batch), grid)


def split(blocks: Iterable[Array], grid: ChunkGrid) -> Iterator[Chunk]:
    """Cut a song into overlapping chunks, with zeros as margin before its first and behind its last sample.

    There are as many chunks as are needed, none that covers nothing new. The last one reaches back into the song to
    be full: a model sees music there, not zeros. Only a song shorter than one chunk is padded.
    """
    size, margin, chunk_hop = grid.chunk_samples, grid.margin_samples, grid.chunk_hop_samples
    held, begin = np.zeros(0, np.float32), 0  # what was read and is still needed, and where in it the next chunk begins
    for block in rebatch(_with_margins(blocks, margin), chunk_hop):
        held = np.concatenate([held, block], axis=-1) if held.size else block
        # A generator that waits at its `yield` keeps alive what has a name in it: so neither block nor chunk has one.
        del block
        if held.shape[-1] - begin > size:
            ready = [Chunk(held[..., begin : begin + size], margin, grid.usable_samples)]
            held, begin = held[..., begin:].copy(), chunk_hop
            yield ready.pop()
    if held.size:
        new = held.shape[-1] - begin
        back = min(size - new, begin)
        yield Chunk(_padded(held[..., begin - back :], size), margin + back, new - 2 * margin)


def overlap_add(chunks: Iterable[Chunk], grid: ChunkGrid) -> Iterator[Array]:
    """Cross-fade chunks into a song: the inverse of ``split``, whose last axis alone must have been left as it was."""
    chunk_hop = grid.chunk_hop_samples
    tail, tail_weight = np.zeros(0, np.float32), np.zeros(0, np.float32)
    for chunk in chunks:
        weight = grid.weight[: chunk.length].copy()
        faded = chunk.samples[..., chunk.start : chunk.start + chunk.length] * weight
        faded[..., : tail.shape[-1]] += tail
        weight[: tail_weight.size] += tail_weight
        final = faded[..., :chunk_hop] / weight[:chunk_hop]
        tail, tail_weight = faded[..., chunk_hop:].copy(), weight[chunk_hop:]
        del chunk, faded
        yield final
    if tail_weight.size:
        yield tail / tail_weight


def rebatch(blocks: Iterable[Array], samples: int) -> Iterator[Array]:
    """Regroup a stream of (..., n) into blocks of exactly ``samples``; the last one holds what is left."""
    pending: list[Array] = []
    missing = samples
    for block in blocks:
        while block.shape[-1] >= missing:
            yield np.concatenate([*pending, block[..., :missing]], axis=-1)
            block, pending, missing = block[..., missing:], [], samples
        if block.shape[-1]:
            pending.append(block)
            missing -= block.shape[-1]
    if pending:
        yield np.concatenate(pending, axis=-1)


def shared(blocks: Iterable[Array], readers: int = 2) -> tuple[Iterator[Array], ...]:
    """One stream for several readers, each at its own pace.

    As ``itertools.tee``, which keeps up to 57 blocks that everyone has read; this keeps those alone that someone needs.
    """
    source = iter(blocks)
    waiting: list[deque[Array]] = [deque() for _ in range(readers)]

    def read(mine: deque[Array]) -> Iterator[Array]:
        while True:
            if not mine:
                try:
                    block = next(source)
                except StopIteration:
                    return
                for queue in waiting:
                    queue.append(block)
            yield mine.popleft()

    return tuple(read(queue) for queue in waiting)


def _transformed(chunks: Iterator[Chunk], transform: Callable[[Array], Array], batch: int) -> Iterator[Chunk]:
    while group := list(islice(chunks, batch)):
        answers = transform(np.stack([chunk.samples for chunk in group]))
        done = deque(replace(chunk, samples=answer) for chunk, answer in zip(group, answers, strict=True))
        del group, answers
        while done:
            yield done.popleft()


def _with_margins(blocks: Iterable[Array], margin: int) -> Iterator[Array]:
    """The song between two margins of zeros; a song without samples stays without."""
    silence = None
    for block in blocks:
        if silence is None and block.shape[-1]:
            silence = np.zeros((*block.shape[:-1], margin), np.float32)
            yield silence
        yield block
    if silence is not None:
        yield silence


def _padded(samples: Array, length: int) -> Array:
    widths = [(0, 0)] * (samples.ndim - 1) + [(0, length - samples.shape[-1])]
    return np.pad(samples, widths)

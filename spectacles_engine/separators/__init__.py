"""Base models: frozen networks that answer, for a chunk of a mixture, what they think each stem is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from spectacles_engine.chunking import Array
from spectacles_engine.devices import Placement


class Separator(Protocol):
    """A base model, loaded once, used for every song.

    ``in_chunks`` is given its ``chunk_samples``, ``overlap``, ``margin_samples`` and the batch of its ``placement``.
    """

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems it can answer, in the order of ``messages.STEMS``."""

    @property
    def chunk_samples(self) -> int:
        """Length of all chunks that it is given."""

    @property
    def margin_samples(self) -> int:
        """How much of each end of an estimate is not to be used."""

    @property
    def overlap(self) -> float:
        """Shared fraction of neighbouring chunks."""

    @property
    def placement(self) -> Placement:
        """Where it runs, and how many chunks it is best given at once."""

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        """Separate a batch of chunks.

        Args:
            mixture: (b, 2, chunk_samples), any b.
            stems: the stems that are wanted; those that this model doesn't have are left out of the answer.

        Returns:
            {stem: (b, 2, chunk_samples)}
        """

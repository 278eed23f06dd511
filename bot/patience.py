"""How long the service waits, and for what."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """All in seconds. Tests are less patient.

    ``fetch_s``, ``tell_s``, ``deliver_s``: one call of a courier. ``pace_s``: between two tellings of a job;
    ``again_s``: before another attempt, where one failed; ``outages_s``: the same, for songs and stems whose platform
    cannot be reached. ``first_word_s``: how long stems wait for a job's first word.
    ``restart_s``: until an engine that cannot be started is tried again: the second time, the third …;
    ``tidy_s``: between two looks for what is no longer kept; ``goodbye_s``: for deliveries, and words, at the end.
    """

    fetch_s: float = 1800.0
    tell_s: float = 120.0
    deliver_s: float = 3600.0
    pace_s: float = 0.3
    again_s: tuple[float, ...] = (0.3, 1.0, 5.0, 15.0)
    outages_s: tuple[float, ...] = (60.0, 300.0, 900.0, 3600.0)
    first_word_s: float = 10.0
    restart_s: tuple[float, ...] = (3.0, 30.0, 120.0)
    tidy_s: float = 300.0
    goodbye_s: float = 6.0


PATIENCE = Patience()


def without_end(pauses_s: Sequence[float]) -> Iterator[float]:
    """One after the other, and then the last again and again."""
    return itertools.chain(pauses_s, itertools.repeat(pauses_s[-1]))

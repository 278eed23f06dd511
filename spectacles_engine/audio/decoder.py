"""What every decoder is, and how the speakers of a file become stereo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LEAST_RATE_HZ, MOST_RATE_HZ = 4_000, 384_000

DAMAGED = "parts of the file are damaged and were left out"
ENDS_EARLY = "the file ends early; separated as far as it goes"

WAVE_ORDER: dict[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Speakers by number of channels, as WAVE, FLAC and AIFF order them."""
XIPH_ORDER = WAVE_ORDER | {
    3: ("FL", "FC", "FR"),
    5: ("FL", "FC", "FR", "BL", "BR"),
    6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
    7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
    8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
}
"""The same as Ogg Vorbis and Opus order them (Vorbis I specification, section 4.3.9)."""

_SURROUND = 2**-0.5
# ITU-R BS.775, downward mixing to 2/0: weights of each speaker in (left, right); the LFE channel is left out.
_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (_SURROUND, _SURROUND),
    "LFE": (0.0, 0.0),
    "BL": (_SURROUND, 0.0),
    "BR": (0.0, _SURROUND),
    "SL": (_SURROUND, 0.0),
    "SR": (0.0, _SURROUND),
    "BC": (0.5, 0.5),
}


class Decoder(Protocol):
    """A file that is being decoded: ``blocks`` yields (channels, samples) at ``sample_rate``, once.

    ``title`` and ``performer`` are what its tags say, for what that is worth; empty if they say nothing.
    """

    sample_rate: int
    speakers: tuple[str, ...]
    duration_s: float | None
    warnings: list[str]
    title: str
    performer: str

    def blocks(self) -> Iterator[NDArray[np.float32]]: ...

    def close(self) -> None: ...


def downmix_weights(speakers: tuple[str, ...]) -> NDArray[np.float32] | None:
    """(2, channels) matrix from ``speakers`` to stereo by ITU-R BS.775; None where none is needed (mono, stereo).

    The weights are the recommendation's own, not scaled down: a full surround mix may exceed ±1.
    """
    if len(speakers) <= 2:
        return None
    return np.array([_WEIGHTS[speaker] for speaker in speakers], np.float32).T

"""What recordings with odd channels lose, and what of it `spectacles_engine.conditioning` gives back: uSDR in dB.

::

    python -m benchmarks.stereo
    python -m benchmarks.stereo --data FOLDER --start 20 --seconds 12

The song is the excerpt of `demo`, or some seconds of every song below a folder; its channels are spoilt, and it is
separated twice, heard as it is and as `lite` hears it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from spectacles_engine import demo
from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_ensemble
from spectacles_engine.training.data import find_songs, read_song
from spectacles_engine.training.scoring import USDR, SongScores


def main() -> None:
    """Prints a line for each song and way of spoiling it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of songs with their stems, in place of the demo's excerpt")
    parser.add_argument("--start", type=int, default=20, metavar="S")
    parser.add_argument("--seconds", type=int, default=12, metavar="S")
    arguments = parser.parse_args()
    store = ModelStore(Path())
    ensemble = load_ensemble(store.preset("lite"), store, blend="stemmixer", device="cpu")
    print(f"{'':54}as it is{'':18}as lite hears it ({' '.join(STEMS)})")
    for name, references in _songs(arguments.data, arguments.start, arguments.seconds):
        for way, spoil in SPOILT.items():
            spoilt = spoil(references)
            plain, ours = _scores(spoilt, _as_it_is(ensemble, spoilt), _separated(ensemble, spoilt))
            row = "   ".join(" ".join(f"{score:6.1f}" for score in scores) for scores in (plain, ours))
            print(f"{name:20.20} {way:28} {row}   {np.nanmean(ours - plain):+.2f}", flush=True)


def _songs(folder: Path | None, start_s: int, seconds: int) -> Iterator[tuple[str, Array]]:
    if folder is None:
        yield "Falcon 69", np.stack(list(demo.references().values()))
        return
    part = slice(start_s * SAMPLE_RATE_HZ, (start_s + seconds) * SAMPLE_RATE_HZ)
    for song in find_songs([folder]):
        yield song.name, read_song(song)[0][..., part]


def _levels(left: float, right: float) -> Callable[[Array], Array]:
    return lambda references: references * np.array([[left], [right]], np.float32)


def _panned(*right: float) -> Callable[[Array], Array]:
    """Every stem in mono, and so much of it on the right; the rest on the left."""
    shares = np.array([[1 - share, share] for share in right], np.float32)[..., None]
    return lambda references: references.mean(axis=1, keepdims=True) * shares


SPOILT: dict[str, Callable[[Array], Array]] = {
    "not at all": _levels(1, 1),
    "right 3 dB too quiet": _levels(1, 10 ** (-3 / 20)),
    "right 6 dB too quiet": _levels(1, 10 ** (-6 / 20)),
    "right 20 dB too quiet": _levels(1, 0.1),
    "right upside down": _levels(1, -1),
    "left alone": _levels(1, 0),
    "voices left, band right": _panned(0, 1, 1, 1),
    "the same, 10 % in the other": _panned(0.1, 0.9, 0.9, 0.9),
    "rhythm left, the rest right": _panned(1, 0, 0, 1),
    "this, voices in the middle": _panned(0.5, 0, 0, 1),
}


def _separated(ensemble: Ensemble, references: Array) -> Array:
    return np.concatenate([block.stems for block in ensemble.separate([references.sum(axis=0)])], axis=-1)


def _as_it_is(ensemble: Ensemble, references: Array) -> Array:
    with (
        patch("spectacles_engine.ensemble.in_channels", lambda work, heard: work(heard)),
        patch("spectacles_engine.ensemble.balanced", lambda song: (np.stack([x, np.ones_like(x)]) for x in song)),
    ):
        return _separated(ensemble, references)


def _scores(references: Array, *separated: Array) -> Array:
    """uSDR (way, stem) of what was separated, each (stem, 2, n); NaN where a stem cannot be heard."""
    scores = SongScores()
    ways = {str(way): dict(zip(STEMS, stems, strict=True)) for way, stems in enumerate(separated)}
    scores.add(references, references.sum(axis=0), ways)
    return np.array([[row.get(stem, np.nan) for stem in STEMS] for row in scores.rows(USDR).values()])


if __name__ == "__main__":
    main()

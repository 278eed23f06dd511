"""The excerpt of ``run_bot.py demo``: six seconds of The Easton Ellises, *Falcon 69*, which the stempeg package ships.

Its true stems come along, so a true SDR can be put beside the estimated one. stempeg itself is not imported: it wants
an ffmpeg binary.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from spectacles_engine.errors import ModelMissingError, OutputError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import usdr

EXCERPT = Path("data", "The Easton Ellises - Falcon 69.stem.mp4")
STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}
"""Stem → audio stream of the file; stream 0 is the mix, which at the edges is not the sum of the stems."""

CUT_S = (0.1, 5.9)

Samples = NDArray[np.float32]


def references(file: Path | None = None) -> dict[str, Samples]:
    """The true stems of the excerpt, each (2, samples) at 44.1 kHz, cut to ``CUT_S``.

    Raises :class:`ModelMissingError` if the stempeg package is not installed.
    """
    first, last = (round(second * SAMPLE_RATE_HZ) for second in CUT_S)
    return {stem: _stream(file or _installed(), STREAMS[stem])[:, first:last] for stem in STEMS}


def write_mixture(stems: Mapping[str, Samples], file: Path) -> None:
    """The sum of the stems as a float WAV; raises :class:`OutputError`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, _sum(stems).T, SAMPLE_RATE_HZ, subtype="FLOAT")
    except (OSError, soundfile.LibsndfileError) as error:
        raise OutputError(f"{file} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def true_sdr_db(stems: Mapping[str, Samples], estimates: Mapping[str, Path]) -> dict[str, float]:
    """uSDR in dB of every estimate file against the true stem of that name."""
    return {stem: usdr(stems[stem], _read(path)) for stem, path in estimates.items()}


def mixture_sdr_db(stems: Mapping[str, Samples]) -> dict[str, float]:
    """uSDR in dB of the untouched mixture, taken as the estimate of every stem: the figure to beat."""
    return {stem: usdr(reference, _sum(stems)) for stem, reference in stems.items()}


def _installed() -> Path:
    package = find_spec("stempeg")
    if package is None or package.origin is None:
        raise ModelMissingError("the excerpt comes with the package stempeg, which is not installed")
    return Path(package.origin).parent / EXCERPT


def _stream(file: Path, number: int) -> Samples:
    try:
        with av.open(str(file)) as container:
            stream = container.streams.audio[number]
            return np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise ModelMissingError(f"the excerpt {file.name} of the package stempeg cannot be read") from error


def _sum(stems: Mapping[str, Samples]) -> Samples:
    total: Samples = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    return total


def _read(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    return samples

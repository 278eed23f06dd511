"""The excerpt of ``run_bot.py demo``: six seconds of The Easton Ellises, *Falcon 69*, which the stempeg package ships.

Its true stems come along, so a true SDR can be put beside the estimated one. stempeg itself is not imported: it wants
an ffmpeg binary.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelMissingError, OutputError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import usdr
from spectacles_engine.stem_file import STREAMS, read_stream

EXCERPT = Path("data", "The Easton Ellises - Falcon 69.stem.mp4")
CUT_S = (0.1, 5.9)
"""At its edges the mixture of the file is not the sum of the stems."""


def references() -> dict[str, Array]:
    """The true stems of the excerpt, each (2, samples) at 44.1 kHz, cut to ``CUT_S``.

    Raises :class:`ModelMissingError` if the stempeg package is not installed, InputError if it is damaged.
    """
    first, last = (round(second * SAMPLE_RATE_HZ) for second in CUT_S)
    file = _installed()
    return {stem: read_stream(file, STREAMS[stem])[0][first:last].T for stem in STEMS}


def write_mixture(stems: Mapping[str, Array], file: Path) -> None:
    """The sum of the stems as a float WAV; raises :class:`OutputError`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # soundfile takes no name that the locale cannot spell, and does not say that a disk is full
        data = io.BytesIO()
        soundfile.write(data, _sum(stems).T, SAMPLE_RATE_HZ, "FLOAT", format="WAV")
        file.write_bytes(data.getvalue())
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}") from error


def true_sdr_db(stems: Mapping[str, Array], estimates: Mapping[str, Path]) -> dict[str, float]:
    """uSDR in dB of every estimate file against the true stem of that name."""
    return {stem: usdr(stems[stem], _read(path)) for stem, path in estimates.items()}


def mixture_sdr_db(stems: Mapping[str, Array]) -> dict[str, float]:
    """uSDR in dB of the untouched mixture, taken as the estimate of every stem: the figure to beat."""
    return {stem: usdr(reference, _sum(stems)) for stem, reference in stems.items()}


def _installed() -> Path:
    package = find_spec("stempeg")
    if package is None or package.origin is None:
        raise ModelMissingError("the excerpt comes with the package stempeg, which is not installed")
    return Path(package.origin).parent / EXCERPT


def _sum(stems: Mapping[str, Array]) -> Array:
    total: Array = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    return total


def _read(path: Path) -> Array:
    with path.open("rb") as file:
        samples: Array = soundfile.read(file.fileno(), dtype="float32", always_2d=True, closefd=False)[0].T
    return samples

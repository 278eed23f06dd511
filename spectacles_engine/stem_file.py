"""Songs as MUSDB18 stores them, ``<artist> - <title>.stem.mp4``: five audio streams in one file, no ffmpeg needed."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from spectacles_engine.errors import InputError

SUFFIX = ".stem.mp4"
STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}
"""What is in which audio stream. The mixture is a master of its own: it needn't be the sum of the stems."""


def read_stream(path: Path, stream: int) -> tuple[NDArray[np.float32], int]:
    """One audio stream of a file, whole, as float32 (samples, channels), and its rate in Hz; raises InputError."""
    try:
        with av.open(str(path)) as container:
            audio = container.streams.audio[stream]
            frames = [frame.to_ndarray() for frame in container.decode(audio)]
            if frames and frames[0].dtype == np.float32 and audio.format.is_planar:
                return np.concatenate(frames, axis=1, dtype=np.float32).T, audio.rate
    except (av.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a stem file") from error
    raise InputError(f"{path} is no stem file as MUSDB18 has them: AAC, five streams")

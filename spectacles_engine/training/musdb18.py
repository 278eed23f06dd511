"""MUSDB18: songs as ``<artist> - <title>.stem.mp4``, five audio streams in one file; read by PyAV, without ffmpeg.

``musdb18-7s``, its free excerpts of seven seconds, are fetched on request, from where the ``musdb`` package fetches
them to where it puts them. The package itself isn't used: it wants an ffmpeg binary as soon as it is imported.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spectacles_engine.errors import InputError, NoNetworkError

NAME = "musdb18-7s"
SUFFIX = ".stem.mp4"
STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}
"""What is in which audio stream. The mixture is a master of its own: it needn't be the sum of the stems."""
ADDRESS = "https://github.com/sigsep/sigsep-mus-db/releases/download/v0.4.0/MUSDB18-7-STEMS.zip"
BLOCK_BYTES = 1 << 20


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


def folder(named: Path) -> Path:
    """The folder that is meant by ``--data``: ``musdb18-7s`` stands for its own, which is fetched if it isn't there.

    It is where the environment variable MUSDB_PATH says, or in ``~/MUSDB18/MUSDB18-7``. Raises NoNetworkError.
    """
    if str(named) != NAME or named.is_dir():
        return named
    home = Path(os.environ.get("MUSDB_PATH") or Path.home() / "MUSDB18" / "MUSDB18-7")
    if not any(home.rglob(f"*{SUFFIX}")):
        _fetch(home)
    return home


def _fetch(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    part = home / "MUSDB18-7-STEMS.zip.part"
    try:
        with urllib.request.urlopen(ADDRESS, timeout=30) as source, part.open("wb") as file:
            size_bytes = int(source.headers.get("Content-Length") or 0)
            with tqdm(total=size_bytes, desc=NAME, unit="B", unit_scale=True) as bar:
                while block := source.read(BLOCK_BYTES):
                    bar.update(file.write(block))
        with zipfile.ZipFile(part) as archive:
            archive.extractall(home)
    except (urllib.error.URLError, OSError, zipfile.BadZipFile) as error:
        raise NoNetworkError(f"{NAME} could not be fetched: unpack {ADDRESS} in {home}, and start again") from error
    finally:
        part.unlink(missing_ok=True)

"""Songs and loose stems on disk → excerpts in memory.

A data folder holds ``<song>/{mixture,vocals,drums,bass,other}.{wav,flac,ogg}`` (the MUSDB18-HQ layout), anywhere below
it, and may hold ``loose/<stem>/*``: audio of one class that belongs to no song. Everything is decoded once into a cache
of 16-bit arrays that are memory-mapped, so that a random excerpt costs one read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from spectacles_engine.errors import InputError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS

SUFFIXES = (".wav", ".flac", ".ogg")
ACTIVE_RMS = 10 ** (-50 / 20)
"""A second of a stem is worth drawing when it is louder than −50 dBFS."""


@dataclass(frozen=True)
class SongFiles:
    """A song on disk: its name and the file of each stem that it has. A stem that is absent is silent."""

    name: str
    stems: Mapping[str, Path]


@dataclass(frozen=True)
class Recording:
    """One decoded file: 16-bit samples (2, samples), and the seconds in which something sounds."""

    samples: NDArray[np.int16]
    active_s: NDArray[np.int64]

    def excerpt(self, start: int, length: int) -> NDArray[np.float32]:
        """Samples [start, start + length) as float32 (2, length), silence past the end."""
        part = self.samples[:, start : start + length].astype(np.float32) / 32768
        return np.pad(part, ((0, 0), (0, length - part.shape[1])))


def find_songs(folders: Iterable[Path], *, skip: Sequence[str] = (), only: Sequence[str] = ()) -> list[SongFiles]:
    """All songs below the folders, sorted by name; ``skip`` and ``only`` are patterns of names (``freedoom_e1*``)."""
    found = {
        path.parent
        for root in folders
        for path in root.rglob("*")
        if _is_stem(path) and "loose" not in path.relative_to(root).parts
    }
    songs: dict[str, SongFiles] = {}
    for folder in sorted(found):
        if _wanted(folder.name, skip, only):
            stems = {path.stem: path for path in sorted(folder.iterdir()) if _is_stem(path)}
            name = folder.name if folder.name not in songs else f"{folder.name}-{len(songs)}"
            songs[name] = SongFiles(name, stems)
    return list(songs.values())


def find_loose(folders: Iterable[Path], *, skip: Sequence[str] = (), only: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Stem → the files of that class that belong to no song."""
    found = {stem: sorted(p for root in folders for p in root.rglob(f"loose/{stem}/*")) for stem in STEMS}
    return {
        stem: [path for path in paths if path.suffix in SUFFIXES and _wanted(path.stem, skip, only)]
        for stem, paths in found.items()
    }


def decode(path: Path, cache: Path) -> Recording:
    """The file as stereo 44.1 kHz, decoded at the first call and mapped from ``cache`` at every later one."""
    key = hashlib.sha256(f"{path.resolve()}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    cached = cache / f"{path.parent.name}-{path.stem}-{key}.npy"
    if not cached.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{key}.tmp.npy")
        np.save(partial, np.round(np.clip(read_stereo(path), -1, 32767 / 32768) * 32768).astype(np.int16))
        partial.replace(cached)
    samples = np.load(cached, mmap_mode="r")
    seconds = samples[:, : samples.shape[1] // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ].reshape(2, -1, SAMPLE_RATE_HZ)
    loudness = np.array([np.sqrt(np.mean((seconds[:, i] / 32768.0) ** 2)) for i in range(seconds.shape[1])])
    return Recording(samples, np.flatnonzero(loudness > ACTIVE_RMS))


def decoded_song(song: SongFiles, cache: Path) -> dict[str, Recording]:
    """Stem → its recording, for the stems that the song has."""
    return {stem: decode(path, cache) for stem, path in song.stems.items() if stem in STEMS}


def recordings(files: Mapping[str, Sequence[Path]], cache: Path) -> dict[str, list[Recording]]:
    """Stem → its loose recordings."""
    return {stem: [decode(path, cache) for path in paths] for stem, paths in files.items()}


def read_stereo(path: Path) -> NDArray[np.float32]:
    """A file of a data folder as float32 (2, samples) at 44.1 kHz, whole."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path} cannot be read as audio") from error
    samples = samples if rate == SAMPLE_RATE_HZ else soxr.resample(samples, rate, SAMPLE_RATE_HZ)
    return np.ascontiguousarray((samples if samples.shape[1] > 1 else np.repeat(samples, 2, axis=1))[:, :2].T)


def read_song(song: SongFiles) -> NDArray[np.float32]:
    """The four references of a song, (stems, 2, samples), zeros where a stem is absent or shorter."""
    read = {stem: read_stereo(path) for stem, path in song.stems.items() if stem in STEMS}
    references = np.zeros((len(STEMS), 2, max(stem.shape[1] for stem in read.values())), np.float32)
    for stem, samples in read.items():
        references[STEMS.index(stem), :, : samples.shape[1]] = samples
    return references


def _is_stem(path: Path) -> bool:
    return path.suffix in SUFFIXES and path.stem in STEMS


def _wanted(name: str, skip: Sequence[str], only: Sequence[str]) -> bool:
    return not any(fnmatch(name, p) for p in skip) and (not only or any(fnmatch(name, p) for p in only))

"""Songs and loose stems on disk → excerpts in memory.

A data folder holds, anywhere below it, ``<song>/{mixture,vocals,drums,bass,other}.{wav,flac,ogg}`` (the layout of
MUSDB18-HQ) or ``<song>.stem.mp4`` (MUSDB18: five streams in one file, see ``stem_file.py``), and may hold
``loose/<stem>/*``: audio of one class that belongs to no song. For training everything is decoded once into a cache of
16-bit arrays that are memory-mapped, so that a random excerpt costs one read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from spectacles_engine import stem_file
from spectacles_engine.audio.soundfile_decoder import is_cut
from spectacles_engine.errors import InputError, NotAudioError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.whole_files import save_array

SUFFIXES = (".wav", ".flac", ".ogg")
ACTIVE_RMS = 10 ** (-50 / 20)
"""A second of a stem is worth drawing when it is louder than −50 dBFS."""


@dataclass(frozen=True)
class SoundFile:
    """Where a sound is: a file, and which audio stream of it (the first, but for a ``.stem.mp4``)."""

    path: Path
    stream: int = 0


def fingerprint(files: Iterable[SoundFile]) -> str:
    """Sixteen hex digits that differ where names, sizes or times of change of the files do."""
    known = [(file.path.parent.name, file.path.name, file.stream, file.path.stat()) for file in files]
    told_by = [(*where, stat.st_size, stat.st_mtime_ns) for *where, stat in known]
    return hashlib.sha256(repr(told_by).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SongFiles:
    """A song on disk: where each stem that it has is, and the mixture, if there is one.

    A stem that is absent is silent; a mixture that is absent is the sum of the stems.
    """

    name: str
    stems: Mapping[str, SoundFile]
    mixture: SoundFile | None

    @property
    def files(self) -> list[SoundFile]:
        """All of them."""
        return [*self.stems.values(), *([self.mixture] if self.mixture else [])]


@dataclass(frozen=True)
class Recording:
    """One decoded file: 16-bit samples (2, samples), the seconds in which something sounds, and of what it is.

    ``source``: the name of the song, or of the loose file.
    """

    samples: NDArray[np.int16]
    active_s: NDArray[np.int64]
    source: str

    def excerpt(self, start: int, length: int) -> NDArray[np.float32]:
        """Samples [start, start + length) as float32 (2, length), silence past the end."""
        part = self.samples[:, start : start + length].astype(np.float32) / 32768
        return np.pad(part, ((0, 0), (0, length - part.shape[1])))


def find_songs(folders: Iterable[Path], *, skip: Sequence[str] = (), only: Sequence[str] = ()) -> list[SongFiles]:
    """All songs below the folders, sorted by name; ``skip`` and ``only`` are patterns of names (``freedoom_e1*``).

    Raises InputError for a folder that isn't there.
    """
    found = []
    for root in folders:
        paths = [path for path in _files(root) if "loose" not in path.relative_to(root.resolve()).parts]
        found += [_folder(folder) for folder in {path.parent for path in paths if _is_stem(path)}]
        found += [_stem_file(path) for path in paths if path.name.endswith(stem_file.SUFFIX)]
    songs: dict[str, SongFiles] = {}
    for song in sorted(found, key=lambda song: (song.name, str(next(iter(song.stems.values())).path))):
        if _wanted(song.name, skip, only):
            name, number = song.name, 1
            while name in songs:
                number += 1
                name = f"{song.name}-{number}"
            songs[name] = replace(song, name=name)
    return list(songs.values())


def find_loose(
    folders: Iterable[Path], *, skip: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, list[SoundFile]]:
    """Stem → the files of that class that belong to no song. Raises as ``find_songs``."""
    sounds = sorted(path for root in folders for path in _files(root) if _is_sound(path))
    return {
        stem: [
            SoundFile(path)
            for path in sounds
            if path.parts[-3:-1] == ("loose", stem) and _wanted(path.stem, skip, only)
        ]
        for stem in STEMS
    }


def _files(root: Path) -> list[Path]:
    """All files below a folder, through links too; hidden ones are what a system leaves beside sounds, not sounds."""
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    found, seen = [], set()
    for where, folders, names in os.walk(root.resolve(), followlinks=True):
        if (place := os.path.realpath(where)) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return found


def decode(file: SoundFile, cache: Path, source: str) -> Recording:
    """A sound of ``source`` as stereo 44.1 kHz, decoded at the first call, at later ones mapped from ``cache``."""
    path = file.path
    place = f"{path.resolve()}:{path.stat().st_mtime_ns}" + (f":{file.stream}" if file.stream else "")
    key = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
    cached = cache / f"{f'{path.parent.name}-{path.stem}'[:40]}-{key}.npy"  # 255 bytes are all that a name may have
    try:
        samples = np.load(cached, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):  # the others are what a power cut leaves
        cache.mkdir(parents=True, exist_ok=True)
        save_array(cached, np.round(np.clip(read_stereo(file), -1, 32767 / 32768) * 32768).astype(np.int16))
        samples = np.load(cached, mmap_mode="r")
    seconds = samples[:, : samples.shape[1] // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ].reshape(2, -1, SAMPLE_RATE_HZ)
    loudness = np.array([np.sqrt(np.mean((s.astype(np.float32) / 32768) ** 2)) for s in seconds.transpose(1, 0, 2)])
    return Recording(samples, np.flatnonzero(loudness > ACTIVE_RMS), source)


def decoded_song(song: SongFiles, cache: Path) -> dict[str, Recording]:
    """Stem → its recording, for the stems that the song has."""
    return {stem: decode(file, cache, song.name) for stem, file in song.stems.items()}


def recordings(files: Mapping[str, Sequence[SoundFile]], cache: Path) -> dict[str, list[Recording]]:
    """Stem → its loose recordings."""
    return {stem: [decode(file, cache, file.path.stem) for file in found] for stem, found in files.items()}


def read_stereo(file: SoundFile) -> NDArray[np.float32]:
    """A sound as float32 (2, samples) at 44.1 kHz, whole; raises InputError."""
    if file.path.name.endswith(stem_file.SUFFIX):
        samples, rate = stem_file.read_stream(file.path, file.stream)
    else:
        try:
            # through a handle: by itself it takes no names but those in UTF-8
            with file.path.open("rb", buffering=0) as handle, soundfile.SoundFile(handle) as sound:
                if is_cut(sound, handle):
                    raise InputError(f"{file.path} ends early; copy it once more, or leave its song out with --skip")
                samples, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
        except (soundfile.LibsndfileError, NotAudioError, OSError) as error:
            raise InputError(f"{file.path} cannot be read as audio") from error
    if not samples.size or not np.isfinite(samples).all():
        raise InputError(f"{file.path} {'holds samples that are no numbers' if samples.size else 'is empty'}")
    samples = samples if rate == SAMPLE_RATE_HZ else soxr.resample(samples, rate, SAMPLE_RATE_HZ)
    return np.ascontiguousarray((samples if samples.shape[1] > 1 else np.repeat(samples, 2, axis=1))[:, :2].T)


def read_song(song: SongFiles) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The four references of a song (stem, 2, samples), zeros where a stem is absent or shorter, and its mixture."""
    read = {stem: read_stereo(file) for stem, file in song.stems.items()}
    references = np.zeros((len(STEMS), 2, max(stem.shape[1] for stem in read.values())), np.float32)
    for stem, samples in read.items():
        references[STEMS.index(stem), :, : samples.shape[1]] = samples
    if song.mixture is None:
        return references, references.sum(axis=0)
    mixture, length = read_stereo(song.mixture), references.shape[-1]
    return references, np.pad(mixture[:, :length], ((0, 0), (0, max(0, length - mixture.shape[1]))))


def _folder(folder: Path) -> SongFiles:
    files = {path.stem: SoundFile(path) for path in sorted(folder.iterdir()) if _is_sound(path)}
    return SongFiles(folder.name, {stem: files[stem] for stem in STEMS if stem in files}, files.get("mixture"))


def _stem_file(path: Path) -> SongFiles:
    stems = {stem: SoundFile(path, stem_file.STREAMS[stem]) for stem in STEMS}
    return SongFiles(path.name.removesuffix(stem_file.SUFFIX), stems, SoundFile(path, stem_file.STREAMS["mixture"]))


def _is_stem(path: Path) -> bool:
    return _is_sound(path) and path.stem in STEMS


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _wanted(name: str, skip: Sequence[str], only: Sequence[str]) -> bool:
    return not any(fnmatch(name, p) for p in skip) and (not only or any(fnmatch(name, p) for p in only))

"""Which format and bitrate fits where: the ladder that results go down until a chat can take them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.jobs import Job, StoredResult
from bot.names import file_name
from bot.replies import stem_title
from spectacles_engine import audio_files
from spectacles_engine.messages import MIXES, STEMS

_WAV_BYTES_PER_SAMPLE = 3


@dataclass(frozen=True)
class Rung:
    """A format, and its bitrate where one is to be chosen."""

    format: str
    bitrate_kbps: int | None = None

    def upload_key(self, job: Job) -> str:
        """Names the upload of a job's files on this rung. What one person calls a song, others are not to read."""
        called = hashlib.sha256(f"{job.order.title}\0{job.order.performer}".encode()).hexdigest()[:16]
        return f"{self.format}-{self.bitrate_kbps or ''}-{called}"


LADDER = (Rung("flac"), Rung("mp3", 320), Rung("mp3", 192), Rung("mp3", 128), Rung("opus", 96))
_FIRST = {"ogg": Rung("ogg", 256), "m4a": Rung("m4a", 256), "opus": Rung("opus", 192), "wav": Rung("wav")}


@dataclass(frozen=True)
class Parcel:
    """One file that is ready to be sent: a stem or a mix, called ``name``."""

    name: str
    path: Path
    title: str
    performer: str | None
    rung: Rung
    seconds: float

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size


def rungs(format: str) -> tuple[Rung, ...]:
    """The wished format, and what is tried after it where it is too large."""
    if format in ("flac", "mp3"):
        return tuple(rung for rung in LADDER if rung.format != "flac" or format == "flac")
    after = {"wav": LADDER, "opus": LADDER[-1:]}.get(format, LADDER[2:])
    return (_FIRST[format], *after)


def could_fit(result: StoredResult, rung: Rung, name: str, most_bytes: int) -> bool:
    """False if the file of a stem or mix is larger than ``most_bytes`` for sure."""
    return _least_bytes(result, rung, name) <= most_bytes


def _least_bytes(result: StoredResult, rung: Rung, name: str) -> float:
    """What a file has at least, tags aside; 0 where only making it tells."""
    if rung.format == "wav":
        return result.seconds * result.sample_rate * result.channels * _WAV_BYTES_PER_SAMPLE
    if rung.format == "flac" and name in STEMS:
        return result.stem(name).stat().st_size  # written by the same encoder
    if rung.format == "mp3":
        return result.seconds * min(rung.bitrate_kbps or 0, _most_mp3_kbps(result.sample_rate)) * 125
    # the others keep their bitrate on average, and quiet stems stay far below it
    return 0


def _most_mp3_kbps(sample_rate: int) -> int:
    """MPEG-1, 2 and 2.5 differ in that; asked for more, the encoder takes the most that there is."""
    if sample_rate > 24_000:
        return 320
    return 160 if sample_rate > 12_000 else 64


@asynccontextmanager
async def made(job: Job, result: StoredResult, rung: Rung, most_bytes: int) -> AsyncIterator[Sequence[Parcel] | None]:
    """The files that a job asks for, all on one rung, gone afterwards; None if one of them is too large.

    Raises OutputError if they can't be written (a full disk), OSError if the stems are gone.
    """
    names = job.order.wish.names
    if not all(could_fit(result, rung, name, most_bytes) for name in names):
        yield None
        return
    # beside the stems: what a killed bot leaves there goes when they go
    with tempfile.TemporaryDirectory(prefix=".send-", dir=result.folder) as folder:
        # one after the other: several chats are sent to at once, beside the engine
        parcels: list[Parcel] = []
        for track, name in enumerate(names, 1):
            parcels.append(await _encode(job, result, rung, name, track, Path(folder)))
            if parcels[-1].size_bytes > most_bytes:
                break  # none of the others would be sent
        yield parcels if parcels[-1].size_bytes <= most_bytes else None


async def _encode(job: Job, result: StoredResult, rung: Rung, name: str, track: int, folder: Path) -> Parcel:
    title, performer = stem_title(job.order.title, name), job.order.performer
    path = folder / file_name(job.order.title, name, rung.format)
    stems = [result.stem(stem) for stem in MIXES.get(name, (name,))]
    await audio_files.encode(
        stems,
        path,
        rung.format,
        bitrate_kbps=rung.bitrate_kbps,
        title=title,
        performer=performer,
        album=job.order.title,
        track=track,
    )
    return Parcel(name, path, title, performer, rung, result.seconds)

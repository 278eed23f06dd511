"""Which format and bitrate fits where: the ladder that results go down until a chat can take them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bot.jobs import Job, StoredResult, Unavailable
from bot.names import file_name
from bot.replies import result_note, smaller_format, stem_title
from bot.shelf import stem_bytes
from spectacles_engine import audio_files
from spectacles_engine.messages import STEMS, Tags


@dataclass(frozen=True)
class Rung:
    """A format, and its bitrate where one is to be chosen."""

    format: str
    bitrate_kbps: int | None = None

    def upload_key(self, job: Job) -> str:
        """What tells an uploaded file from others of the same stem: its format, its bitrate, and its tags."""
        return f"{self.format}-{self.bitrate_kbps or ''}-{job.order.name_key}"


LADDER = (Rung("flac"), Rung("mp3", 320), Rung("mp3", 192), Rung("mp3", 128), Rung("opus", 96))
_AFTER = {"wav": LADDER, "flac": LADDER[1:], "opus": LADDER[-1:]}
"""What is tried after a format; after the others MP3 from 192 kbit/s on."""


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


def rungs(wished: str | None) -> tuple[Rung, ...]:
    """The wished format, else MP3, which plays in the chats themselves, and what is tried where it is too large."""
    format = wished or "mp3"
    first = LADDER[1] if format == "mp3" else Rung(format)  # the others have the bitrate that is the encoder's own
    return (first, *_AFTER.get(format, LADDER[2:]))


def could_fit(result: StoredResult, rung: Rung, name: str, most_bytes: int) -> bool:
    """False if the file of a stem or mix is larger than ``most_bytes`` for sure."""
    return _least_bytes(result, rung, name) <= most_bytes


def _least_bytes(result: StoredResult, rung: Rung, name: str) -> float:
    """What a file has at least, tags aside; 0 where only making it tells."""
    if rung.format == "wav":
        return stem_bytes(result)
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


def note(job: Job, result: StoredResult, rung: Rung, wished: Rung, most_bytes: int, most_characters: int) -> str:
    """What goes with stems: the quality note, and why they come on another rung than the wished one."""
    about, language = result.note.of(job.order.wish.names), job.order.language
    text = result_note(job.order.title, result.seconds, about, result.warnings, most_characters, language)
    return text if rung == wished else f"{text}\n{smaller_format(rung.format, rung.bitrate_kbps, most_bytes, language)}"


@asynccontextmanager
async def made(
    job: Job, result: StoredResult, rung: Rung, most_bytes: int, make_room: Callable[[float], None]
) -> AsyncIterator[Sequence[Parcel] | None]:
    """The files that a job asks for, all on one rung, gone afterwards; None if one of them is too large.

    ``make_room`` is the service's. Raises OutputError if they can't be written (a full disk), OSError if the stems are
    gone.
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
            path = Path(folder) / file_name(job.order.title, name, rung.format)
            with suppress(Unavailable):  # there may be enough all the same: most files have less, and go soon
                make_room(min(stem_bytes(result), most_bytes))
            await encode(job, result, name, rung, path, track)
            title = stem_title(job.order.title, name)
            parcels.append(Parcel(name, path, title, job.order.performer, rung, result.seconds))
            if parcels[-1].size_bytes > most_bytes:
                break  # none of the others would be sent
        yield parcels if parcels[-1].size_bytes <= most_bytes else None


async def encode(job: Job, result: StoredResult, name: str, rung: Rung, path: Path, track: int | None = None) -> None:
    """Writes a stem or a mix with the tags that a player shows; raises as ``made``."""
    tags = Tags(stem_title(job.order.title, name), job.order.performer, job.order.title, track)
    await audio_files.encode(result.stems_of(name), path, rung.format, bitrate_kbps=rung.bitrate_kbps, tags=tags)

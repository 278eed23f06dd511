"""Looking into songs and encoding stems, from an event loop (import-light): each in a short-lived child process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spectacles_engine.errors import NotAudioError, OutputError, TooLongError
from spectacles_engine.messages import Tags
from spectacles_engine.short_child import ChildDied, ChildFailed, ask

ENCODE_DEADLINE_S = 1800.0
"""Many times what an hour of four stems takes."""
OPENING_S = 60
"""Songs are open at once. Only with half a million tags FFmpeg takes hours, for it compares each with all others."""

_PROGRAM = "spectacles_engine.audio"


@dataclass(frozen=True)
class Inspected:
    """What there is to know of a song before it is separated.

    ``audio``: SHA-256 (hex) of its rate, channels and decoded samples, the same for all files with the same sound to
    the last bit. ``title`` and ``performer`` are what its tags say, of no great length.
    """

    audio: str
    seconds: float
    sample_rate: int
    channels: int
    title: str | None
    performer: str | None
    warnings: tuple[str, ...]


async def inspect(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """Decodes the whole file, in another process; raises InputError, NotAudioError or TooLongError.

    A file that brings down its decoder is "not an audio file"; OSError, of a machine that starts no process, and
    ChildFailed, of a decoder that does not start or has a mistake, are no fault of the file.
    """
    question = {"do": "inspect", "path": _absolute(path), "longest_s": longest_s, "opening_s": OPENING_S}
    try:
        answer = await ask(_PROGRAM, question, deadline_s=deadline_s)
    except ChildDied as died:
        raise NotAudioError("not an audio file") from died
    except TimeoutError:
        raise TooLongError("took too long to decode") from None
    return Inspected(**answer | {"warnings": tuple(answer["warnings"])})


async def encode(
    stems: Sequence[Path],
    out: Path,
    format: str,
    *,
    bitrate_kbps: int | None = None,
    tags: Tags = Tags(),  # noqa: B008  frozen
) -> None:
    """Writes the sum of ``stems`` (as the engine wrote them) to ``out``, in another process; raises OutputError.

    Rate, channels and length are the stems', as far as ``format`` knows that rate. A sum that would clip is turned down
    by one gain. A file that is there is whole.
    """
    question = {
        "do": "encode",
        "stems": [_absolute(stem) for stem in stems],
        "format": format,
        "bitrate_kbps": bitrate_kbps,
        "tags": asdict(tags),
    }
    try:
        # What a killed child leaves half done lies in there.
        with tempfile.TemporaryDirectory(prefix=".encode-", dir=out.parent) as folder:
            part = Path(folder) / out.name
            await ask(_PROGRAM, question | {"path": _absolute(part)}, deadline_s=ENCODE_DEADLINE_S)
            os.replace(part, out)
    except (ChildFailed, TimeoutError, OSError) as error:
        raise OutputError(f"{out.name} could not be written") from error


def _absolute(path: Path) -> str:
    return str(path.absolute())

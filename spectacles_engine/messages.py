"""What crosses the border of the engine: plain frozen values, free of torch and numpy.

The command line prints them as JSON, the process boundary pickles them, the bots turn them into sentences.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from spectacles_engine.errors import SpecTaclesError

STEMS = ("vocals", "drums", "bass", "other")
"""The four stems, in the order of every array's stem axis."""

MIXES = {("karaoke" if stem == "vocals" else f"no-{stem}"): stem for stem in STEMS}
"""Name of a mix, which is the sum of all stems but one → the one that is left out."""


def stems_meant(named: Collection[str], mix: str | None) -> tuple[str, ...]:
    """The named stems, in order. If none is named: all four, or none where a mix is asked for."""
    return tuple(stem for stem in STEMS if stem in named) or (() if mix else STEMS)


FORMATS = ("wav", "flac", "mp3", "ogg", "opus", "m4a")
Preset = Literal["lite", "studio"]
PRESETS: tuple[str, ...] = get_args(Preset)
Blend = Literal["stemmixer", "stemmixer-paper", "average", "demucs", "mdx"]
BLENDS: tuple[str, ...] = get_args(Blend)
"""The last two are base models, which every preset has."""

WEAK_SPOTS = 3
"""Passages that one note points at."""

SAMPLE_RATE_HZ = 44_100
"""Rate of all audio inside the engine."""


@dataclass(frozen=True)
class SeparationRequest:
    """What a person wants to have of one song: single ``stems``, and/or one ``mix`` of all but one."""

    stems: tuple[str, ...] = STEMS
    mix: str | None = None
    format: str = "wav"
    preset: str = "lite"
    blend: str = "stemmixer"

    def __post_init__(self) -> None:
        """Raises ValueError for anything that is not in the lists above, and for a request for nothing."""
        known = set(self.stems) <= set(STEMS) and self.mix in (None, *MIXES)
        if not known or self.format not in FORMATS or self.preset not in PRESETS or self.blend not in BLENDS:
            raise ValueError(f"there is no such thing to ask for: {self}")
        if not self.stems and not self.mix:
            raise ValueError("neither a stem nor a mix is asked for")


@dataclass(frozen=True)
class StemQuality:
    """Estimated SDR of one stem in dB, with the range that is right 80 % of the time.

    A stem without figures is ``silent``, or one that the estimator has nothing to say about (``unknown``).
    """

    grade: str
    estimated_sdr_db: float | None = None
    low_db: float | None = None
    high_db: float | None = None


@dataclass(frozen=True)
class WeakSpot:
    """A passage of the song in which a stem is estimated to be clearly worse than elsewhere."""

    stem: str
    from_s: float
    to_s: float


@dataclass(frozen=True)
class QualityNote:
    """The estimate that goes with every song.

    ``stems``: of every stem that was separated, and of the mixes that leave one of these out. ``residual_db``: energy
    of mixture − Σ stems against the mixture. ``weak_spots``: the longest first.
    """

    stems: dict[str, StemQuality]
    residual_db: float | None
    weak_spots: tuple[WeakSpot, ...] = ()

    def of(self, names: Collection[str]) -> QualityNote:
        """What it says of these stems and mixes. A mix is weak where the stem is that it leaves out."""
        stems = {name: quality for name, quality in self.stems.items() if name in names}
        told = {MIXES.get(name, name) for name in names}
        spots = [spot for spot in self.weak_spots if spot.stem in told]
        return replace(self, stems=stems, weak_spots=tuple(spots[:WEAK_SPOTS]))


@dataclass(frozen=True)
class SeparationResult:
    """All there is to say about a song that was separated.

    ``files``: name of a stem or mix → the path of its file. ``warnings`` are about the song, ``shortages`` about this
    machine: who runs it should know, who sent a song need not.
    """

    song: str
    seconds: float
    sample_rate: int
    preset: str
    blend: str
    device: str
    elapsed_s: float
    peak_rss_mb: int
    files: dict[str, str]
    note: QualityNote
    warnings: tuple[str, ...] = ()
    shortages: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``separate --json`` prints."""
        return {
            "song": self.song,
            "status": "done",
            "seconds": round(self.seconds, 3),
            "sample_rate": self.sample_rate,
            "preset": self.preset,
            "blend": self.blend,
            "device": self.device,
            "elapsed_s": round(self.elapsed_s, 1),
            "peak_rss_mb": self.peak_rss_mb,
            "stems": {name: {"path": path, **_given(self.note.stems[name])} for name, path in self.files.items()},
            "residual_db": self.note.residual_db,
            "weak_spots": [asdict(spot) for spot in self.note.of(self.files).weak_spots],
            "warnings": [*self.warnings, *self.shortages],
        }


@dataclass(frozen=True)
class Tags:
    """What a player shows of a file. ``track``: its number within the album."""

    title: str | None = None
    performer: str | None = None
    album: str | None = None
    track: int | None = None

    def named(self, **names: str) -> dict[str, str]:
        """Those that there are, under the names that a container has for them."""
        values = {name: getattr(self, field) for field, name in names.items()}
        return {name: str(value) for name, value in values.items() if value}


@dataclass(frozen=True)
class Limits:
    """What a song may cost: its length, and the time that decoding it may take."""

    longest_s: float = 3600.0
    decode_deadline_s: float = 600.0


@dataclass(frozen=True)
class EngineOptions:
    """What a child process needs to become an engine.

    ``models``: folder of the fetched models. ``device``: ``auto``, ``cpu`` or ``cuda``; ``gpu``: which of them.
    ``mixer`` and ``quality``: files of somebody's own for the preset, see ``Manifest.with_own``.
    """

    models: Path
    preset: str = "lite"
    blend: str = "stemmixer"
    device: str = "auto"
    gpu: int = 0
    mixer: Path | None = None
    quality: Path | None = None
    limits: Limits = Limits()


@dataclass(frozen=True)
class Separate:
    """To the child: a job."""

    job_id: str
    song: Path
    out: Path
    request: SeparationRequest


@dataclass(frozen=True)
class Cancel:
    """To the child: end this job between two chunks; nothing happens if it is not the one that runs."""

    job_id: str


@dataclass(frozen=True)
class Close:
    """To the child: leave, after the running chunk."""


@dataclass(frozen=True)
class Ready:
    """From the child: the models are loaded and warm. ``gpus``: how many of them torch sees on this machine."""

    gpus: int


@dataclass(frozen=True)
class Progress:
    """From the child, between chunks: it lives, and this share (0–1) of the job is done."""

    share: float


@dataclass(frozen=True)
class Done:
    """From the child: the job's result."""

    result: SeparationResult


@dataclass(frozen=True)
class Failed:
    """From the child: the job failed, or its start did. ``traceback``: if the mistake is ours."""

    error: SpecTaclesError
    traceback: str = ""


ToChild = Separate | Cancel | Close
FromChild = Ready | Progress | Done | Failed


def failed_json(song: str, error: str) -> dict[str, str]:
    """The object that ``separate --json`` prints for a song that could not be separated."""
    return {"song": song, "status": "failed", "error": error}


def _given(quality: StemQuality) -> dict[str, Any]:
    return {key: value for key, value in asdict(quality).items() if value is not None}

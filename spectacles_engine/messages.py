"""What crosses the border of the engine: plain frozen values, free of torch and numpy.

The command line prints them as JSON, the process boundary pickles them, the bots turn them into sentences.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

STEMS = ("vocals", "drums", "bass", "other")
"""The four stems, in the order of every array's stem axis."""

MIXES = {
    ("karaoke" if left_out == "vocals" else f"no-{left_out}"): tuple(s for s in STEMS if s != left_out)
    for left_out in STEMS
}
"""Name of a mix → the stems that are summed in it: all but one."""

FORMATS = ("wav", "flac", "mp3", "ogg", "opus", "m4a")
BLENDS = ("stemmixer", "stemmixer-paper", "average", "demucs", "mdx")
PRESETS = ("lite", "studio")

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
    """The estimate that goes with every song. ``residual_db``: energy of mixture − Σ stems against the mixture."""

    stems: dict[str, StemQuality]
    residual_db: float | None
    weak_spots: tuple[WeakSpot, ...] = ()


@dataclass(frozen=True)
class SeparatedFile:
    """One written file, a stem or a mix, and its quality."""

    path: str
    quality: StemQuality


@dataclass(frozen=True)
class SeparationResult:
    """All there is to say about a song that was separated."""

    song: str
    seconds: float
    sample_rate: int
    preset: str
    blend: str
    device: str
    elapsed_s: float
    peak_rss_mb: int
    files: dict[str, SeparatedFile]
    note: QualityNote
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The object that ``separate --json`` prints (CONTRACT: the command line)."""
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
            "stems": {name: {"path": file.path, **_given(file.quality)} for name, file in self.files.items()},
            "residual_db": self.note.residual_db,
            "weak_spots": [asdict(spot) for spot in self.note.weak_spots],
            "warnings": list(self.warnings),
        }


def failed_json(song: str, error: str) -> dict[str, str]:
    """The object that ``separate --json`` prints for a song that could not be separated."""
    return {"song": song, "status": "failed", "error": error}


def _given(quality: StemQuality) -> dict[str, Any]:
    return {key: value for key, value in asdict(quality).items() if value is not None}

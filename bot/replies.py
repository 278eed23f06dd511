"""The sentences that people read. Pure: values in, text out."""

from __future__ import annotations

from spectacles_engine.messages import STEMS, QualityNote, StemQuality, WeakSpot

AUDIBLE_RESIDUAL_DB = -20.0
"""Above this, what no stem took is worth a sentence."""


def quality_note(note: QualityNote) -> str:
    """The estimate of every stem, the weakest passages, and what was left over if it can be heard."""
    order = [*(stem for stem in STEMS if stem in note.stems), *(name for name in note.stems if name not in STEMS)]
    sentences = []
    if order and all(note.stems[name].grade == "unknown" for name in order):
        sentences.append("There is no estimate of the quality for this blend.")
    elif order:
        grades = " · ".join(_grade(name, note.stems[name]) for name in order)
        sentences.append(f"Estimated quality (dB SDR, 80 % range): {grades}.")
    if note.weak_spots:
        sentences.append(f"Weakest: {', '.join(map(_passage, note.weak_spots))}.")
    if note.residual_db is not None and note.residual_db > AUDIBLE_RESIDUAL_DB:
        sentences.append(f"What is in no stem: {_db(note.residual_db)} dB against the mixture.")
    return " ".join(sentences)


def clock(seconds: float) -> str:
    """``72`` → ``1:12``, ``3725`` → ``1:02:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def figures(quality: StemQuality) -> str:
    """``6.1 (4.7–7.4)``, or an empty string where nothing is estimated."""
    if quality.estimated_sdr_db is None:
        return ""
    if quality.low_db is None or quality.high_db is None:
        return _db(quality.estimated_sdr_db)
    # A dash between two minus signs cannot be read.
    dash = " to " if quality.low_db < 0 else "–"
    return f"{_db(quality.estimated_sdr_db)} ({_db(quality.low_db)}{dash}{_db(quality.high_db)})"


def _grade(name: str, quality: StemQuality) -> str:
    if quality.grade == "silent":
        return f"{name} silent"
    if quality.estimated_sdr_db is None:
        return f"{name}: no estimate"
    return f"{name} {figures(quality)} {quality.grade}"


def _passage(spot: WeakSpot) -> str:
    return f"{spot.stem} at {clock(spot.from_s)}–{clock(spot.to_s)}"


def _db(value: float) -> str:
    rounded = round(value, 1) + 0.0  # no minus before a zero
    return f"{rounded:.1f}".replace("-", "−")

"""The quality note in words: the one sentence that people read of a song's estimate. Pure: values in, text out."""

from __future__ import annotations

from bot.words import ENGLISH, sentence
from spectacles_engine.messages import STEMS, QualityNote, StemQuality, WeakSpot

AUDIBLE_RESIDUAL_DB = -20.0
"""Above this, what no stem took is worth a sentence."""


def quality_note(note: QualityNote, language: str = ENGLISH) -> str:
    """The estimate of every stem, the weakest passages, and what was left over if it can be heard."""
    order = [*(stem for stem in STEMS if stem in note.stems), *(name for name in note.stems if name not in STEMS)]
    sentences = []
    figured = [name for name in order if note.stems[name].estimated_sdr_db is not None]
    silent = [name for name in order if note.stems[name].grade == "silent"]
    if order and not figured and len(silent) < len(order):
        sentences.append(sentence("note.unknown", language))
        if silent:
            names = ", ".join(_stem(name, language) for name in silent)
            sentences.append(sentence("note.silent", language, names=names))
    elif order:
        grades = " · ".join(_grade(name, note.stems[name], language) for name in order)
        sentences.append(sentence("note.estimated", language, grades=grades))
    if note.weak_spots:
        passages = ", ".join(_passage(spot, language) for spot in note.weak_spots)
        sentences.append(sentence("note.weakest", language, passages=passages))
    if note.residual_db is not None and note.residual_db > AUDIBLE_RESIDUAL_DB:
        sentences.append(sentence("note.residual", language, db=_db(note.residual_db, language)))
    return " ".join(sentences)


def clock(seconds: float) -> str:
    """``72`` → ``1:12``, ``3725`` → ``1:02:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def figures(quality: StemQuality, language: str = ENGLISH) -> str:
    """``6.1 (4.7–7.4)``, or an empty string where nothing is estimated."""
    if quality.estimated_sdr_db is None:
        return ""
    if quality.low_db is None or quality.high_db is None:
        return _db(quality.estimated_sdr_db, language)
    # A dash between two minus signs cannot be read.
    dash = f" {sentence('note.to', language)} " if quality.low_db < 0 else "–"
    low_and_high = dash.join(_db(bound, language) for bound in (quality.low_db, quality.high_db))
    return f"{_db(quality.estimated_sdr_db, language)} ({low_and_high})"


def _grade(name: str, quality: StemQuality, language: str) -> str:
    stem = _stem(name, language)
    if quality.grade == "silent":
        return f"{stem} {sentence('grade.silent', language)}"
    if quality.estimated_sdr_db is None:
        return sentence("note.no_estimate", language, stem=stem)
    return f"{stem} {figures(quality, language)} {sentence(f'grade.{quality.grade}', language)}"


def _passage(spot: WeakSpot, language: str) -> str:
    start, end = clock(spot.from_s), clock(spot.to_s)
    return sentence("note.passage", language, stem=_stem(spot.stem, language), start=start, end=end)


def _stem(name: str, language: str) -> str:
    return name if language == ENGLISH or name not in STEMS else sentence(f"stem.{name}", language)


def _db(value: float, language: str) -> str:
    rounded = round(value, 1) + 0.0  # no minus before a zero
    text = f"{rounded:.1f}".replace("-", "−")
    return text if language == ENGLISH else text.replace(".", ",")

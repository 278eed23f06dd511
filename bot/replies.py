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


# Refused, or failed: what the service says. Whole sentences, and the way out where there is one.


def as_sentence(text: str) -> str:
    """``not an audio file`` → ``Not an audio file.``"""
    return text if text.endswith((".", "!", "?")) else f"{text[:1].upper()}{text[1:]}."


def chat_not_allowed() -> str:
    """To a chat that is not on the allow-list."""
    return "This chat is not on the list of chats that I work for."


def bot_is_stopping() -> str:
    """To an order that comes while the bot ends."""
    return "I am being shut down just now. Please send the song again in a few minutes."


def file_too_large(most_mb: float) -> str:
    """A file beyond ``limits.largest_file_mb``."""
    return f"That file is too large: I take files up to {most_mb:g} MB. As MP3 or M4A it may fit."


def song_too_long(most_minutes: float) -> str:
    """A song beyond ``limits.longest_song_minutes``."""
    return f"That song is too long: I take up to {most_minutes:g} minutes."


def too_many_waiting(most: int, *, whole_chat: bool) -> str:
    """``most``: how many unfinished jobs a person or a chat may have."""
    whose = "This chat has" if whole_chat else "You have"
    return f"{whose} {most} songs in work already. Please wait until one of them is done, or /cancel one."


def minutes_used_up(most_minutes: float, free_in_s: float | None, *, whole_chat: bool) -> str:
    """``free_in_s``: seconds until the first of the minutes count no more; None if that would not help."""
    whose = "this chat's" if whole_chat else "your"
    if free_in_s is None:
        return f"That song alone is more than {whose} {most_minutes:g} minutes of audio within 24 hours."
    wait = f"{free_in_s / 3600:.0f} hours" if free_in_s > 5400 else f"{max(free_in_s / 60, 1):.0f} minutes"
    return (
        f"That would be more than {whose} {most_minutes:g} minutes of audio within 24 hours. "
        f"The first of them are free again in {wait}."
    )


def disk_full() -> str:
    """No room, after all results that could go have gone."""
    return "There is no room left on my disk. Please try again later, or tell whoever runs me."


def disk_in_trouble() -> str:
    """A folder that cannot be written."""
    return "I cannot write to my disk. Please tell whoever runs me."


def store_in_trouble() -> str:
    """The database is locked, damaged or full."""
    return "I cannot reach my list of songs just now. Please try again in a minute."


def engine_in_trouble() -> str:
    """No engine can be started."""
    return "What separates the songs does not start. Please try again later, or tell whoever runs me."


def fetch_failed() -> str:
    """The platform gave the song in no way that we know of."""
    return "I could not download that song. Please send it again."


def delivery_failed() -> str:
    """The platform did not take the stems, and did not say why."""
    return "The stems are ready, but I could not send them. Ask for them again: they are kept for a while."


def mistake_of_ours() -> str:
    """An error that nobody expected; a log has the rest."""
    return "Something went wrong in SpecTacles itself. Please send the song again."

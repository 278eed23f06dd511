from __future__ import annotations

from typing import Any

import pytest

from bot import refusals, replies
from bot.jobs import Forgotten, Job, Order, Place, Standing, State, Wish
from bot.names import song_title
from spectacles_engine.messages import QualityNote, StemQuality


def _standing(state: State, **changes: Any) -> Standing:
    order = Order(Place("telegram", "1", "2"), Wish(), {}, "Clair\nde Lune")
    error = changes.pop("error", None)
    return Standing(Job("1", order, state, 0.0, error=error), **changes)


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (_standing(State.PREPARING), "Clair de Lune: I am listening to it."),
        (_standing(State.PREPARING, position=3), "Clair de Lune: place 3 in the queue; I am listening to it."),
        (_standing(State.QUEUED, position=2, eta_s=110), "Clair de Lune: place 2 in the queue, about 2 minutes to go."),
        (_standing(State.QUEUED, position=1), "Clair de Lune: place 1 in the queue."),
        (
            _standing(State.RUNNING, share=0.42, eta_s=20),
            "Clair de Lune: separating, 42 %, less than a minute to go.",
        ),
        (_standing(State.FAILED, error="not an audio file"), "Clair de Lune: Not an audio file."),
        (_standing(State.CANCELLED), "Clair de Lune: cancelled."),
    ],
)
def test_a_status_is_one_line(standing: Standing, text: str) -> None:
    assert replies.status(standing, "en") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "less than a minute"), (60, "1 minute"), (61, "2 minutes"), (5400, "1.5 hours"), (86400, "24 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert refusals.duration(seconds) == text


def test_a_note_keeps_within_its_limit_by_whole_sentences() -> None:
    note = QualityNote({"vocals": StemQuality("good", 6.1, 4.7, 7.4)}, -38.2)
    warnings = ["input is mono", "x" * 2000]
    text = replies.result_note("Song", 72, note, warnings, 1024, "en")
    assert text.startswith("Song (1:12)\nEstimated quality")
    assert text.endswith("Note: input is mono.")
    assert len(replies.result_note("Song" * 999, 72, note, warnings, 100, "en")) <= 100


def test_long_lists_fit_into_a_message_and_say_how_many_more_there_are() -> None:
    standings = [_standing(State.QUEUED, position=place, eta_s=999) for place in range(1, 51)]
    lines = replies.queue(standings, "en").splitlines()
    assert len("\n".join(lines)) < 2000 / 1.5  # a title may hold markup, which is escaped
    assert lines[-1] == f"and {50 - len(lines) + 1} more"
    assert lines[0] == replies.status(standings[0], "en")
    assert len(replies.cancelled([standing.job for standing in standings * 9], "en")) < 2000 / 1.5
    assert replies.queue(standings[:3], "en").count("\n") == 2
    assert replies.queue([], "en") == replies.cancelled([], "en")


@pytest.mark.parametrize(
    ("what", "language", "text"),
    [
        (Forgotten(0, 0, 0.0), "en", "There is nothing stored."),
        (Forgotten(1, 0, 0.0), "en", "Deleted: 1 song."),
        (Forgotten(1, 1, 34.6), "en", "Deleted: 1 song, and all stems (35 MB)."),
        (Forgotten(3, 2, 0.2), "en", "Deleted: 3 songs, and the stems of 2 (less than 1 MB)."),
        (Forgotten(0, 0, 0.0), "de", "Es ist nichts gespeichert."),
        (Forgotten(1, 1, 34.6), "de", "Gelöscht: 1 Lied und alle Spuren (35 MB)."),
        (Forgotten(3, 2, 0.2), "de", "Gelöscht: 3 Lieder und die Spuren von 2 (weniger als 1 MB)."),
    ],
)
def test_what_was_forgotten_is_what_is_said(what: Forgotten, language: str, text: str) -> None:
    assert replies.forgotten(what, language) == text


def test_a_title_cannot_turn_what_follows() -> None:
    assert song_title("a\u202eb\x00\nc") == "ab c"
    assert replies.stem_title("\u202ea", "vocals") == "a – vocals"
    assert song_title("👩\u200d🎤") == "👩\u200d🎤"


@pytest.mark.parametrize(("free_in_s", "time"), [(20, "less than a minute"), (60, "1 minute"), (7200, "2 hours")])
def test_when_minutes_are_free_again(free_in_s: float, time: str) -> None:
    assert refusals.minutes_used_up(300, free_in_s, whole_chat=False).endswith(f"free again in {time}.")


def test_one_song_is_no_songs() -> None:
    assert refusals.too_many_waiting(1, whole_chat=False).startswith("You have a song in progress already.")
    assert refusals.too_many_waiting(2, whole_chat=True).startswith("This chat has 2 songs in progress already.")


@pytest.mark.parametrize("language", ["en", "de"])
def test_help_has_five_lines(language: str) -> None:
    assert replies.help_text(language).count("\n") == replies.help_on_discord(language).count("\n") == 4
    assert replies.help_text(language, in_group=True) != replies.help_text(language)


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (_standing(State.PREPARING, position=3), "Clair de Lune: Platz 3 in der Warteschlange; ich höre hinein."),
        (
            _standing(State.QUEUED, position=2, eta_s=50),
            "Clair de Lune: Platz 2 in der Warteschlange, noch weniger als ",
        ),
        (_standing(State.QUEUED, eta_s=7000), "Clair de Lune: in der Warteschlange, noch etwa 1,9 Stunden."),
        (_standing(State.RUNNING, share=0.42, eta_s=60), "Clair de Lune: wird zerlegt, 42 %, noch etwa eine Minute."),
        (_standing(State.FAILED, error="not an audio file"), "Clair de Lune: Keine Audiodatei."),
        (_standing(State.FAILED), "Clair de Lune: In SpecTacles selbst ging etwas schief."),
    ],
)
def test_a_status_in_german(standing: Standing, text: str) -> None:
    assert replies.status(standing, "de").startswith(text)


def test_a_note_in_german() -> None:
    note = QualityNote({"vocals": StemQuality("good", 6.1, 4.7, 7.4)}, -38.2)
    text = replies.result_note("Song", 72, note, ["the input is mono"], 1024, "de")
    assert text == (
        "Song (1:12)\nGeschätzte Qualität (dB SDR, 80-%-Bereich): Gesang 6,1 (4,7–7,4) gut.\n"
        "Hinweis: Die Aufnahme ist mono."
    )
    assert replies.smaller_format("mp3", 128, 10_000_000, "de").startswith("Gesendet als MP3 mit 128 kbit/s, denn")


def test_how_long_stems_stay_in_german() -> None:
    assert "bleiben 24 Stunden, damit" in replies.privacy(24, "de")
    assert "bleiben 7 Tage, damit" in replies.privacy(168, "de")
    assert "bleiben 2,5 Tage, damit" in replies.privacy(60, "de")


def test_a_title_is_no_template_and_is_not_translated() -> None:
    order = Order(Place("telegram", "1", "2"), Wish(), {}, "{song} 7.5")
    assert replies.cancelled([Job("1", order, State.CANCELLED, 0.0)], "de") == "Abgebrochen: {song} 7.5."

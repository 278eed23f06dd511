from __future__ import annotations

from typing import Any

import pytest

from bot import replies
from bot.jobs import Forgotten, Job, Order, Place, Standing, State, Wish
from bot.replies import clock, figures, quality_note
from spectacles_engine.messages import STEMS, QualityNote, StemQuality, WeakSpot


def test_the_note_of_the_contract() -> None:
    note = QualityNote(
        stems={
            "other": StemQuality("fair", 2.4, 1.0, 3.9),
            "vocals": StemQuality("good", 6.1, 4.7, 7.4),
            "drums": StemQuality("good", 5.2, 3.9, 6.6),
            "bass": StemQuality("fair", 3.0, 1.2, 4.9),
        },
        residual_db=-38.2,
        weak_spots=(WeakSpot("vocals", 72.0, 90.0),),
    )
    assert quality_note(note) == (
        "Estimated quality (dB SDR, 80 % range): vocals 6.1 (4.7–7.4) good · drums 5.2 (3.9–6.6) good · "
        "bass 3.0 (1.2–4.9) fair · other 2.4 (1.0–3.9) fair. Weakest: vocals at 1:12–1:30."
    )


def test_a_blend_without_a_calibration_says_so_once() -> None:
    note = QualityNote(dict.fromkeys(STEMS, StemQuality("unknown")), -40.0)
    assert quality_note(note) == "There is no estimate of the quality for this blend."


def test_silent_and_unknown_stems_and_a_loud_residual() -> None:
    note = QualityNote(
        stems={
            "vocals": StemQuality("silent"),
            "bass": StemQuality("poor", -1.24, -3.0, 0.5),
            "other": StemQuality("unknown"),
        },
        residual_db=-12.34,
        weak_spots=(WeakSpot("bass", 0.0, 8.0), WeakSpot("bass", 3600.0, 3608.0)),
    )
    assert quality_note(note) == (
        "Estimated quality (dB SDR, 80 % range): vocals silent · bass −1.2 (−3.0 to 0.5) poor · other: no estimate. "
        "Weakest: bass at 0:00–0:08, bass at 1:00:00–1:00:08. Part of the song is in none of the stems (−12.3 dB)."
    )


def test_what_was_not_asked_for_is_left_out_of_the_note() -> None:
    good, fair = StemQuality("good", 6.1, 4.7, 7.4), StemQuality("fair", 3.0, 1.2, 4.9)
    spots = (WeakSpot("bass", 0.0, 20.0), WeakSpot("vocals", 72.0, 90.0), WeakSpot("drums", 5.0, 15.0))
    note = QualityNote({"vocals": fair, "drums": good, "bass": fair, "other": fair, "karaoke": good}, -40.0, spots)
    start = "Estimated quality (dB SDR, 80 % range): "
    assert quality_note(note.of(("drums",))) == f"{start}drums 6.1 (4.7–7.4) good. Weakest: drums at 0:05–0:15."
    assert quality_note(note.of(("karaoke",))) == f"{start}karaoke 6.1 (4.7–7.4) good. Weakest: vocals at 1:12–1:30."


def test_a_note_about_nothing_is_empty() -> None:
    assert quality_note(QualityNote(stems={}, residual_db=None)) == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (72, "1:12"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_figures_have_no_minus_zero_and_need_no_range() -> None:
    assert figures(StemQuality("poor", -0.04, -0.01, 3.0)) == "0.0 (0.0 to 3.0)"
    assert figures(StemQuality("fair", 3.0)) == "3.0"
    assert figures(StemQuality("silent")) == ""


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
    assert replies.status(standing) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "less than a minute"), (60, "1 minute"), (61, "2 minutes"), (5400, "1.5 hours"), (86400, "24 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert replies.duration(seconds) == text


def test_a_note_keeps_within_its_limit_by_whole_sentences() -> None:
    note = QualityNote({"vocals": StemQuality("good", 6.1, 4.7, 7.4)}, -38.2)
    warnings = ["input is mono", "x" * 2000]
    text = replies.result_note("Song", 72, note, warnings, 1024)
    assert text.startswith("Song (1:12)\nEstimated quality")
    assert text.endswith("Note: input is mono.")
    assert len(replies.result_note("Song" * 999, 72, note, warnings, 100)) <= 100


def test_long_lists_fit_into_a_message_and_say_how_many_more_there_are() -> None:
    standings = [_standing(State.QUEUED, position=place, eta_s=999) for place in range(1, 51)]
    lines = replies.queue(standings).splitlines()
    assert len("\n".join(lines)) < 2000 / 1.5  # a title may hold markup, which is escaped
    assert lines[-1] == f"and {50 - len(lines) + 1} more"
    assert lines[0] == replies.status(standings[0])
    assert len(replies.cancelled([standing.job for standing in standings * 9])) < 2000 / 1.5
    assert replies.queue(standings[:3]).count("\n") == 2
    assert replies.queue([]) == replies.cancelled([])


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (Forgotten(0, 0, 0.0), "There is nothing stored."),
        (Forgotten(1, 0, 0.0), "Deleted: 1 song."),
        (Forgotten(1, 1, 34.6), "Deleted: 1 song, and all stems (35 MB)."),
        (Forgotten(3, 2, 0.2), "Deleted: 3 songs, and the stems of 2 (less than 1 MB)."),
    ],
)
def test_what_was_forgotten_is_what_is_said(what: Forgotten, text: str) -> None:
    assert replies.forgotten(what) == text


def test_a_title_cannot_turn_what_follows() -> None:
    assert replies.song_title("a\u202eb\x00\nc") == "ab c"
    assert replies.stem_title("\u202ea", "vocals") == "a – vocals"
    assert replies.song_title("👩\u200d🎤") == "👩\u200d🎤"


@pytest.mark.parametrize(("free_in_s", "time"), [(20, "less than a minute"), (60, "1 minute"), (7200, "2 hours")])
def test_when_minutes_are_free_again(free_in_s: float, time: str) -> None:
    assert replies.minutes_used_up(300, free_in_s, whole_chat=False).endswith(f"free again in {time}.")


def test_one_song_is_no_songs() -> None:
    assert replies.too_many_waiting(1, whole_chat=False).startswith("You have a song in progress already.")
    assert replies.too_many_waiting(2, whole_chat=True).startswith("This chat has 2 songs in progress already.")


def test_help_has_five_lines() -> None:
    assert replies.help_text().count("\n") == 4
    assert "Reply" in replies.help_text(in_group=True)
    assert replies.help_text(in_group=True) in replies.welcome(in_group=True)

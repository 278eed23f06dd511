from __future__ import annotations

from typing import Any

import pytest

from bot import refusals, replies
from bot.jobs import Forgotten, Job, Order, Place, Standing, State, Wish
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
    assert replies.status(standing) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "less than a minute"), (60, "1 minute"), (61, "2 minutes"), (5400, "1.5 hours"), (86400, "24 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert refusals.duration(seconds) == text


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
    assert refusals.minutes_used_up(300, free_in_s, whole_chat=False).endswith(f"free again in {time}.")


def test_one_song_is_no_songs() -> None:
    assert refusals.too_many_waiting(1, whole_chat=False).startswith("You have a song in progress already.")
    assert refusals.too_many_waiting(2, whole_chat=True).startswith("This chat has 2 songs in progress already.")


def test_help_has_five_lines() -> None:
    assert replies.help_text().count("\n") == replies.help_on_discord().count("\n") == 4
    assert "Reply" in replies.help_text(in_group=True)

from __future__ import annotations

import pytest

from bot.quality_note import clock, figures, quality_note
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
    assert quality_note(note) == "How good this is could not be estimated."


def test_a_blend_without_a_calibration_names_what_is_silent_and_promises_no_figures() -> None:
    note = QualityNote(dict.fromkeys(STEMS, StemQuality("unknown")) | {"other": StemQuality("silent")}, -40.0)
    assert quality_note(note) == "How good this is could not be estimated. Silent: other."
    assert quality_note(note, "de").endswith(" Still: Sonstiges.")


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

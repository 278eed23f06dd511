from __future__ import annotations

import re

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.input_check import InputCheck
from spectacles_engine.messages import SAMPLE_RATE_HZ


def _warnings(song: Array) -> list[str]:
    check = InputCheck()
    for block in np.array_split(song, 7, axis=1):
        check.add(block)
    return check.warnings()


def _song(seconds: int = 10) -> Array:
    noise = np.random.default_rng(0).standard_normal((2, seconds * SAMPLE_RATE_HZ))
    return (noise * 0.1).astype(np.float32)


def _low_passed(song: Array, cut_hz: float) -> Array:
    spectrum = np.fft.rfft(song)
    spectrum[:, np.fft.rfftfreq(song.shape[1], 1 / SAMPLE_RATE_HZ) > cut_hz] = 0
    return np.fft.irfft(spectrum, song.shape[1]).astype(np.float32)


def test_an_ordinary_song_gives_no_warning() -> None:
    assert _warnings(_song()) == []
    assert _warnings(_song() * np.float32(1e-3)) == []  # quiet, not silent


def test_a_song_cut_at_16_khz_as_by_an_mp3_is_ordinary() -> None:
    assert _warnings(_low_passed(_song(), 16_000)) == []


def test_each_fault_is_named() -> None:
    song = _song()
    mono = np.repeat(song[:1], 2, axis=0)
    assert _warnings(mono) == ["the input is mono"]
    assert _warnings(mono + song * np.array([[0], [0.01]], np.float32)) == []
    (wide,) = _warnings(_low_passed(song, 7900))  # all of a voice note at 16 kHz
    assert re.fullmatch(r"the input has nothing above 8\.[01] kHz, like a voice note or a call", wide)
    (narrow,) = _warnings(_low_passed(song, 3400))
    assert re.fullmatch(r"the input has nothing above 3\.[45] kHz, like a voice note or a call", narrow)
    assert _warnings(song[:, : 2 * SAMPLE_RATE_HZ]) == ["the input is very short (2.0 s)"]
    assert _warnings(song * 0) == ["the input is silent"]
    assert _warnings(song * 0 + np.array([[0.1], [0.2]], np.float32)) == []
    assert _warnings(song * np.array([[1], [0]], np.float32)) == ["the input has sound in one channel only"]
    assert _warnings(song / np.abs(song).max() * 4) == [
        "the input passes full scale by 12 dB; the stems are turned down where it does"
    ]


def test_a_song_out_of_phase_is_heard_in_full() -> None:
    """As a karaoke machine makes them: their mean has next to nothing, and that in the bass alone."""
    song = _song()[:1]
    opposite = np.concatenate([song, -song])
    assert _warnings(opposite) == ["left and right are out of phase: in mono nothing would be heard"]
    assert _warnings(opposite + 0.1 * _low_passed(np.repeat(song, 2, axis=0), 200)) == []

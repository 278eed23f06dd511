from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from spectacles_engine.chunking import Array, rebatch
from spectacles_engine.conditioning import LOOK_AHEAD_S, LOW_HZ, TOLERATED_DB, balanced, in_channels, without_offset
from spectacles_engine.messages import SAMPLE_RATE_HZ

SECOND = SAMPLE_RATE_HZ
QUARTER = np.float32(0.25)


def _noise(seconds: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(round(seconds * SECOND)).astype(np.float32) * np.float32(0.1)


def _tone(seconds: float, hz: float) -> Array:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * SECOND)) / SECOND).astype(np.float32) * np.float32(0.1)


def _song(seconds: float) -> Array:
    """In stereo: a middle, and a little on either side."""
    middle = _noise(seconds)
    return np.stack([middle + _noise(seconds, 1) / 4, middle + _noise(seconds, 2) / 4])


def _related(share: float) -> Array:
    """So much of each channel's energy is in the other one, too; the right one is 6 dB quieter."""
    common, own = np.float32(share**0.5), np.float32((1 - share) ** 0.5)
    return np.stack([common * _noise(5) + own * _noise(5, k) for k in (1, 2)]) * np.array([[1], [0.5]], np.float32)


def _of_two_bands(bass: Array, rest: Array) -> Array:
    """(2, n), of which what is low is of the one, and what is not of the other."""
    spectra = np.fft.rfft([bass, rest])
    low = np.fft.rfftfreq(bass.shape[-1], 1 / SECOND) < LOW_HZ
    return np.fft.irfft(np.where(low, *spectra), bass.shape[-1]).astype(np.float32)


def _apart(right: float = 1.0, crosstalk: float = 0.0) -> Array:
    """Two players, each in one channel, or nearly so."""
    left_player, right_player = _tone(1, 330), _tone(1, 1000) * np.float32(right)
    leak = np.float32(crosstalk)
    return np.stack([left_player + leak * right_player, right_player + leak * left_player])


def _levels_db(song: Array) -> Array:
    levels: Array = 10 * np.log10(np.square(song).mean(axis=-1))
    return levels


def _balanced(song: Array) -> tuple[Array, Array]:
    heard, gains = np.concatenate(list(balanced(rebatch([song], SECOND))), axis=-1)
    np.testing.assert_allclose(heard, song * gains, atol=1e-7)
    return heard, gains


class _Ear:
    """A network for two stems that notes what it hears. No network answers the same left and right: the mean counts."""

    def __init__(self) -> None:
        self.heard: list[Array] = []

    def __call__(self, chunks: Array) -> Array:
        self.heard.append(chunks)
        return chunks[:, [0, 0]] * np.array([[0.5], [0]], np.float32)


@pytest.mark.parametrize("song", [_apart(), _apart(crosstalk=0.2), _apart(right=0.1)])
def test_hard_panned_channels_are_heard_one_by_one_and_stay_where_they_are(song: Array) -> None:
    ear = _Ear()
    answers = in_channels(ear, song[None, None])
    (pair,) = ear.heard
    np.testing.assert_array_equal(pair[:, 0], np.stack([song[[0, 0]], song[[1, 1]]]))
    np.testing.assert_allclose(answers, np.stack([song, song])[None] * QUARTER, atol=1e-7)


def test_what_is_next_to_nothing_beside_the_other_channel_is_not_heard() -> None:
    ear, song = _Ear(), _apart(right=0.003)
    answers = in_channels(ear, song[None, None])
    np.testing.assert_array_equal(ear.heard, song[[0, 0]][None, None, None])
    assert not answers[:, :, 1].any()


def test_silence_is_heard_as_it_is() -> None:
    ear, silence = _Ear(), np.zeros((2, 1, 2, SECOND), np.float32)
    in_channels(ear, silence)
    np.testing.assert_array_equal(ear.heard, silence[None])


def test_of_several_chunks_those_in_ordinary_stereo_are_heard_together() -> None:
    chunks = np.stack([_song(1), _apart(), np.zeros((2, SECOND), np.float32), _song(1)[:, ::-1]])[:, None]
    swapped = in_channels(lambda heard: heard[..., ::-1, :].copy(), chunks)
    # what crosses the channels does so where both are heard; one that is heard alone is in both
    np.testing.assert_allclose(swapped[[0, 2, 3]], chunks[[0, 2, 3], :, ::-1], atol=1e-7)
    np.testing.assert_allclose(swapped[1], chunks[1], atol=1e-7)


def test_a_quiet_chunk_beside_loud_ones_is_heard_all_the_same() -> None:
    chunks = np.stack([_apart(), _apart() * np.float32(0.003)])[:, None]
    np.testing.assert_array_equal(in_channels(lambda heard: heard, chunks), chunks)


def test_of_what_is_given_with_the_mixture_each_channel_is_heard_alone_as_well() -> None:
    song = _apart()
    heard = np.stack([song, song / 2, song / 4])[None]
    answers = in_channels(lambda chunks: chunks[:, 1:], heard)
    np.testing.assert_allclose(answers, heard[:, 1:], atol=1e-7)


def test_an_ordinary_song_is_left_as_it_is() -> None:
    song = _song(40) * np.array([[1], [0.97]], np.float32)
    heard, gains = _balanced(song)
    np.testing.assert_array_equal(gains, np.ones_like(song))
    np.testing.assert_array_equal(heard, song)


def test_a_dc_offset_is_not_taken_for_what_the_channels_differ_in() -> None:
    song = _song(4) * np.float32(0.1)
    offset = np.array([[0.02], [-0.02]], np.float32)
    _, gains = _balanced(song + offset)
    np.testing.assert_array_equal(gains, np.ones_like(song))
    one_sided = (song + np.maximum(offset, 0))[None, None]
    np.testing.assert_array_equal(in_channels(lambda heard: heard[..., ::-1, :], one_sided), one_sided[..., ::-1, :])


@pytest.mark.parametrize("quieter_db", [-3, -6, -20])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_channel_that_is_too_quiet_or_upside_down_is_put_right(quieter_db: float, channel: int, sign: int) -> None:
    song = _song(40)
    song[channel] *= np.float32(sign * 10 ** (quieter_db / 20))
    heard, _ = _balanced(song)
    left_db, right_db = _levels_db(heard)
    assert abs(left_db - right_db) < 0.7
    assert np.vdot(*heard) > 0.8 * np.linalg.norm(heard[0]) * np.linalg.norm(heard[1])


def test_what_is_put_right_later_comes_without_a_step_that_would_be_heard() -> None:
    song = _song(60)
    song[0, 40 * SECOND :] *= 4
    _, gains = _balanced(song)
    assert (gains[:, 0] == 1).all()
    assert gains[1, -1] > 3 * gains[0, -1]
    assert np.abs(np.diff(gains)).max() < 1e-3


def test_one_instrument_on_one_side_is_no_fault_even_if_it_begins_alone() -> None:
    song = _song(60)
    song[0] += _tone(60, 800) * 3
    song[:, : 10 * SECOND] = 0
    song[1, : 10 * SECOND] = _noise(10, 3)
    song[0, : 10 * SECOND] = song[1, : 10 * SECOND] / 10
    _, gains = _balanced(song)
    np.testing.assert_array_equal(gains, np.ones_like(song))


@pytest.mark.parametrize(
    ("bass", "rest"),
    [((1, 1), (1, 0.5)), ((1, 0.5), (1, 1)), ((1, 0.5), (0.5, 1)), ((1, -1), (1, 1)), ((1, 1), (1, -1))],
)
def test_what_is_so_in_the_bass_or_in_the_rest_alone_is_no_fault(
    bass: tuple[float, float], rest: tuple[float, float]
) -> None:
    song = _song(5)
    levels = np.array([bass, rest], np.float32)[..., None]
    _, gains = _balanced(_of_two_bands(*(song * levels)))
    np.testing.assert_array_equal(gains, np.ones_like(song))


@pytest.mark.parametrize("levels", [(0.5, 0.7), (0.7, 0.5)])
def test_where_bass_and_rest_are_off_balance_the_lesser_fault_is_put_right(levels: tuple[float, float]) -> None:
    bass, rest = (_song(5) * np.array([[1], [level]], np.float32) for level in levels)
    _, (left, right) = _balanced(_of_two_bands(bass, rest))
    np.testing.assert_allclose(20 * np.log10(right / left), -20 * np.log10(0.7) - TOLERATED_DB, atol=0.3)


def test_levels_of_two_recordings_are_left_as_they_are_also_if_they_differ_in_the_bass_alone() -> None:
    upside_down = np.array([[1], [-1]], np.float32)
    for song in (_related(0.3), _related(0.3) * upside_down, _of_two_bands(_related(0.0), _related(1.0))):
        _, gains = _balanced(song)
        np.testing.assert_array_equal(gains, np.ones_like(song))
    _, gains = _balanced(_related(0.7))
    assert (gains[0] < gains[1]).all()


def test_no_more_of_a_song_is_held_than_is_looked_ahead() -> None:
    read: list[Array] = []

    def seconds() -> Iterator[Array]:
        while len(read) < 100:
            read.append(np.zeros((2, SECOND), np.float32))
            yield read[-1]

    for given, _ in enumerate(balanced(seconds()), 1):
        assert len(read) <= given + LOOK_AHEAD_S


@pytest.mark.parametrize("samples", [1, 100, SECOND + 1])
def test_the_shortest_songs_come_out_whole(samples: int) -> None:
    heard, _ = _balanced(_song(2)[:, :samples])
    assert heard.shape == (2, samples)
    assert np.isfinite(heard).all()


def test_silence_stays_silent() -> None:
    heard, gains = _balanced(np.zeros((2, 3 * SECOND), np.float32))
    assert not heard.any()
    np.testing.assert_array_equal(gains, np.ones_like(heard))


def test_the_mean_of_a_short_low_note_is_no_offset() -> None:
    chunk = np.zeros((1, 2, 4 * SECOND), np.float32)
    chunk[..., :13_230] = np.sin(2 * np.pi * 41.2 * np.arange(13_230) / SECOND + 0.5)  # of 0.3 s
    assert (without_offset(chunk) == chunk).all()
    long = np.roll(chunk, SECOND, axis=-1) + np.float32(0.5)
    assert np.abs(without_offset(long).mean()) < 1e-3

from __future__ import annotations

import numpy as np
import pytest

from spectacles_engine.chunking import Array, rebatch
from spectacles_engine.conditioning import balanced, in_channels
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


def _apart() -> Array:
    """Two players, each in one channel."""
    return np.stack([_tone(1, 330), _tone(1, 1000)])


def _levels_db(song: Array) -> Array:
    levels: Array = 10 * np.log10(np.square(song).mean(axis=-1))
    return levels


def _balanced(song: Array) -> tuple[Array, Array]:
    heard, gains = np.concatenate(list(balanced(rebatch([song], SECOND))), axis=-1)
    np.testing.assert_allclose(heard, song * gains, atol=1e-7)
    return heard, gains


def test_hard_panned_channels_are_heard_one_by_one_and_stay_where_they_are() -> None:
    heard = []

    def listen(chunks: Array) -> Array:
        heard.append(chunks)
        return chunks[:, [0, 0]] * QUARTER

    song = _apart()
    answers = in_channels(listen, song[None, None])
    (pair,) = heard
    np.testing.assert_array_equal(pair[:, 0], np.stack([song[[0, 0]], song[[1, 1]]]))
    np.testing.assert_allclose(answers, np.stack([song, song])[None] * QUARTER, atol=1e-7)


def test_of_several_chunks_those_in_ordinary_stereo_are_heard_together() -> None:
    chunks = np.stack([_song(1), _apart(), np.zeros((2, SECOND), np.float32), _song(1)[:, ::-1]])[:, None]
    swapped = in_channels(lambda heard: heard[..., ::-1, :].copy(), chunks)
    # what crosses the channels does so where both are heard; one that is heard alone is in both
    np.testing.assert_allclose(swapped[[0, 2, 3]], chunks[[0, 2, 3], :, ::-1], atol=1e-7)
    np.testing.assert_allclose(swapped[1], chunks[1], atol=1e-7)


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
    heard, gains = _balanced(song)
    left_db, right_db = _levels_db(heard)
    assert abs(left_db - right_db) < 0.7
    assert np.vdot(*heard) > 0.8 * np.linalg.norm(heard[0]) * np.linalg.norm(heard[1])
    # no step that would be heard
    assert np.abs(np.diff(gains)).max() < 1e-3


def test_one_instrument_on_one_side_is_no_fault_even_if_it_begins_alone() -> None:
    song = _song(60)
    song[0] += _tone(60, 800) * 3
    song[:, : 10 * SECOND] = 0
    song[1, : 10 * SECOND] = _noise(10, 3)
    song[0, : 10 * SECOND] = song[1, : 10 * SECOND] / 10
    _, gains = _balanced(song)
    np.testing.assert_array_equal(gains, np.ones_like(song))


@pytest.mark.parametrize("samples", [1, 100, SECOND + 1])
def test_the_shortest_songs_come_out_whole(samples: int) -> None:
    heard, _ = _balanced(_song(2)[:, :samples])
    assert heard.shape == (2, samples)
    assert np.isfinite(heard).all()


def test_silence_stays_silent() -> None:
    heard, gains = _balanced(np.zeros((2, 3 * SECOND), np.float32))
    assert not heard.any()
    np.testing.assert_array_equal(gains, np.ones_like(heard))

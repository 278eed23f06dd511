"""Every song goes through these windows: what they lose or add, every stem loses or has."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectacles_engine.chunking import Array, ChunkGrid, in_chunks, overlap_add, rebatch, shared, split
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.spectrogram import Stft

CHUNK = 64


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def blocks_of(song: Array, samples: int) -> Iterator[Array]:
    return (song[..., k : k + samples] for k in range(0, song.shape[-1], samples))


def joined(blocks: Iterator[Array]) -> Array:
    return np.concatenate([np.zeros((2, 0), np.float32), *blocks], axis=-1)


@settings(max_examples=400, deadline=None)
@given(
    chunks=st.integers(0, 5),
    beyond=st.integers(-3, 3),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9]),
    margin=st.sampled_from([0, 1, 7, 31]),
    batch=st.integers(1, 4),
    block=st.sampled_from([1, 5, 63, 64, 65, 1000]),
    edge=st.sampled_from(["chunk", "usable", "chunk_hop"]),
)
def test_the_identity_is_exact_at_every_length_around_an_edge(
    chunks: int, beyond: int, overlap: float, margin: int, batch: int, block: int, edge: str
) -> None:
    length = getattr(ChunkGrid(CHUNK, overlap, margin), f"{edge}_samples")
    song = noise(2, max(0, chunks * length + beyond))
    out = in_chunks(
        blocks_of(song, block), np.copy, chunk_samples=CHUNK, overlap=overlap, margin_samples=margin, batch=batch
    )
    np.testing.assert_allclose(joined(out), song, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("margin", "overlap"), [(0, 0.25), (5, 0.1), (5, 0.75)])
def test_every_length_from_nothing_to_several_chunks_is_kept(margin: int, overlap: float) -> None:
    for length in range(4 * CHUNK):
        song = noise(2, length)
        out = in_chunks([song], np.copy, chunk_samples=CHUNK, overlap=overlap, margin_samples=margin)
        np.testing.assert_allclose(joined(out), song, rtol=0, atol=1e-6)


@given(length=st.integers(0, 300), overlap=st.sampled_from([0.0, 0.3, 0.6]), margin=st.sampled_from([0, 9]))
def test_split_and_overlap_add_are_inverse_and_no_chunk_is_wasted(length: int, overlap: float, margin: int) -> None:
    grid = ChunkGrid(CHUNK, overlap, margin)
    song = noise(2, length)
    chunks = list(split([song], grid))
    np.testing.assert_allclose(joined(overlap_add(chunks, grid)), song, rtol=0, atol=1e-6)
    assert {chunk.samples.shape for chunk in chunks} <= {(2, CHUNK)}
    overlapping = grid.usable_samples - grid.chunk_hop_samples
    assert all(chunk.length > overlapping for chunk in chunks[1:])


def test_a_last_chunk_is_filled_with_music_and_only_a_short_song_with_zeros() -> None:
    grid = ChunkGrid(CHUNK, 0.25)
    *_, last = split([np.ones((2, 3 * CHUNK + 1), np.float32)], grid)
    assert last.samples.min() == 1
    (only,) = split([np.ones((2, 10), np.float32)], grid)
    assert only.samples.sum() == 20


def test_silence_stays_silence() -> None:
    silence = np.zeros((2, 1000), np.float32)
    out = joined(in_chunks([silence], np.copy, chunk_samples=CHUNK, overlap=0.25, margin_samples=8, batch=2))
    assert out.shape == silence.shape
    assert not out.any()


def test_a_transform_may_add_axes_and_sees_no_more_than_a_batch() -> None:
    batches: list[int] = []

    def four_stems(chunks: Array) -> Array:
        batches.append(len(chunks))
        return np.stack([k * chunks for k in range(4)], axis=1)

    song = noise(2, 10 * CHUNK)
    out = list(in_chunks([song], four_stems, chunk_samples=CHUNK, overlap=0.0, batch=4))
    np.testing.assert_allclose(np.concatenate(out, axis=-1), [k * song for k in range(4)], atol=1e-5)
    assert batches == [4, 4, 2]


def test_what_is_final_is_handed_on_before_the_song_has_been_read() -> None:
    read: list[int] = []

    def song() -> Iterator[Array]:
        for k in range(100):
            read.append(k)
            yield noise(2, CHUNK)

    first = next(in_chunks(song(), np.copy, chunk_samples=CHUNK, overlap=0.25))
    assert first.shape == (2, 48)
    assert len(read) <= 4


def test_chunks_that_disagree_are_faded_into_one_another() -> None:
    """Chunk k answers the constant k: no step may be larger than that of the linear fade."""
    count = iter(range(100))

    def numbered(chunks: Array) -> Array:
        return np.full_like(chunks, next(count))

    out = joined(in_chunks([noise(2, 5000)], numbered, chunk_samples=1000, overlap=0.25, margin_samples=100))
    assert out[0, 0] == 0
    assert out.max() >= 5
    assert np.abs(np.diff(out)).max() <= 1 / 200 + 1e-5


@pytest.mark.parametrize(("overlap", "margin"), [(0.25, 0), (0.25, 512), (0.1, 2048)])
def test_no_chunk_border_is_heard_in_a_sweep_through_a_spectral_gain(overlap: float, margin: int) -> None:
    """Beside the sweep there is no more energy than if the whole song had been one chunk."""
    whole = tilted(sweep()[np.newaxis])[0]
    out = joined(
        in_chunks(blocks_of(sweep(), 5000), tilted, chunk_samples=32_768, overlap=overlap, margin_samples=margin)
    )
    assert beside_the_sweep_db(out) < beside_the_sweep_db(whole) + 0.5


def test_a_chunk_border_would_be_heard_without_a_cross_fade() -> None:
    out = joined(in_chunks([sweep()], tilted, chunk_samples=32_768, overlap=0.0))
    assert beside_the_sweep_db(out) > -60


def sweep() -> Array:
    """5 s of stereo, from 200 Hz to 7.7 kHz."""
    time_s = np.arange(5 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * (200 * time_s + 750 * time_s**2)).astype(np.float32)
    return np.stack([tone, tone])


def tilted(chunks: Array) -> Array:
    """A gain that falls with frequency, on the STFT of each chunk."""
    stft = Stft(1024, 256)
    gain = torch.linspace(1, 0.2, stft.bins)[:, None]
    filtered: Array = stft.inverse(stft.forward(torch.tensor(chunks)) * gain, chunks.shape[-1]).numpy()
    return filtered


def beside_the_sweep_db(song: Array) -> float:
    """The loudest frame's energy more than 40 bins off its peak, in dB below it, leaving out the two ends."""
    power = Stft(4096, 512).forward(torch.tensor(song[0])).abs().numpy()[:, 8:-8] ** 2
    distance = np.abs(np.arange(len(power))[:, None] - power.argmax(axis=0))
    beside = np.where(distance > 40, power, 0).sum(axis=0)
    return float(10 * np.log10(beside / power.max(axis=0)).max())


def test_an_hour_needs_no_more_memory_than_a_minute() -> None:
    def peak_bytes(blocks: int) -> int:
        song = (np.zeros((2, 4410), np.float32) for _ in range(blocks))
        tracemalloc.start()
        for _ in in_chunks(song, np.copy, chunk_samples=SAMPLE_RATE_HZ, overlap=0.25, margin_samples=2048, batch=2):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(2000) < 1.1 * peak_bytes(100)


@given(lengths=st.lists(st.integers(0, 40)), samples=st.integers(1, 50))
def test_rebatch_keeps_the_song_and_gives_equal_blocks(lengths: list[int], samples: int) -> None:
    song = noise(2, sum(lengths))
    blocks = np.split(song, np.cumsum(lengths)[:-1], axis=-1) if lengths else []
    regrouped = list(rebatch(blocks, samples))
    np.testing.assert_array_equal(joined(iter(regrouped)), song)
    assert all(block.shape[-1] == samples for block in regrouped[:-1])
    assert all(0 < block.shape[-1] <= samples for block in regrouped)


@pytest.mark.parametrize(("overlap", "margin"), [(1.0, 0), (-0.1, 0), (0.25, 32), (0.25, -1)])
def test_an_impossible_grid_is_refused(overlap: float, margin: int) -> None:
    with pytest.raises(ValueError, match=r"chunk|overlap"):
        ChunkGrid(CHUNK, overlap, margin)


def test_a_shared_stream_is_read_at_each_ones_pace_and_kept_no_longer_than_needed() -> None:
    made: list[weakref.ref[Array]] = []

    def blocks() -> Iterator[Array]:
        for number in range(200):
            block = np.full(10, number, np.float32)
            made.append(weakref.ref(block))
            yield block

    first, second = shared(blocks())
    for number in range(100):
        assert next(first)[0] == number
        if number >= 3:
            assert next(second)[0] == number - 3
    gc.collect()
    assert sum(reference() is not None for reference in made) <= 5
    assert [block[0] for block in second] == list(range(97, 200))
    assert [block[0] for block in first] == list(range(100, 200))


def test_a_stream_that_waits_keeps_no_chunk_that_is_done() -> None:
    answers: list[weakref.ref[Array]] = []

    def transform(chunks: Array) -> Array:
        answer = chunks * 2
        answers.append(weakref.ref(answer))
        return answer

    stream = in_chunks((np.ones((2, 300), np.float32) for _ in range(20)), transform, chunk_samples=1000, overlap=0.1)
    for done in range(1, 4):
        next(stream)
        assert [answer() for answer in answers] == [None] * done

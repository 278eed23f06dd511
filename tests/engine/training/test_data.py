from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.training.augment import MixtureSource
from spectacles_engine.training.data import decode, decoded_song, find_loose, find_songs, read_song, recordings


def _write(path: Path, seconds: float, frequency_hz: float, *, channels: int = 2, rate: int = SAMPLE_RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        _write(tmp_path / "songs" / name / "drums.wav", 6, 200)
        _write(tmp_path / "songs" / name / "other.flac", 6, 400, channels=1)
    _write(tmp_path / "songs" / "first" / "mixture.wav", 6, 1000)
    _write(tmp_path / "loose" / "vocals" / "singer.ogg", 6, 800)
    _write(tmp_path / "loose" / "bass" / "line_01.wav", 6, 60, rate=22_050)
    return tmp_path


def test_songs_and_loose_stems_are_found_and_can_be_left_out_by_name(folder: Path) -> None:
    assert [song.name for song in find_songs([folder])] == ["first", "second"]
    assert sorted(find_songs([folder])[0].stems) == ["drums", "other"]
    assert [song.name for song in find_songs([folder], skip=["fir*"])] == ["second"]
    assert [song.name for song in find_songs([folder], only=["fir*"])] == ["first"]
    loose = find_loose([folder], skip=["line_*"])
    assert [path.name for path in loose["vocals"]] == ["singer.ogg"]
    assert loose["bass"] == []


def test_an_absent_stem_is_silent_and_mono_becomes_stereo(folder: Path) -> None:
    references = read_song(find_songs([folder])[0])
    assert references.shape == (len(STEMS), 2, 6 * SAMPLE_RATE_HZ)
    assert [bool(stem.any()) for stem in references] == [False, True, False, True]
    np.testing.assert_array_equal(references[3, 0], references[3, 1])


def test_a_file_is_decoded_once_and_then_mapped(folder: Path, tmp_path: Path) -> None:
    path = folder / "loose" / "bass" / "line_01.wav"
    first = decode(path, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    second = decode(path, tmp_path / "cache")
    assert cached.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.samples, second.samples)
    assert abs(first.samples.shape[1] - 6 * SAMPLE_RATE_HZ) <= 1
    assert list(first.active_s) == [0, 1, 2, 3, 4, 5]


def _source(folder: Path, cache: Path, seed: int) -> MixtureSource:
    songs = [decoded_song(song, cache) for song in find_songs([folder])]
    return MixtureSource(songs, recordings(find_loose([folder]), cache), 44_100, seed)


def test_the_same_seed_draws_the_same_mixtures_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    first, again, other = (_source(folder, tmp_path / "cache", seed) for seed in (0, 0, 1))
    drawn = [first.draw() for _ in range(4)]
    for one, two in zip(drawn, [again.draw() for _ in range(4)], strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(drawn[0], other.draw())


def test_mixtures_are_four_stereo_stems_that_do_not_clip_and_every_stem_turns_up(folder: Path, tmp_path: Path) -> None:
    source = _source(folder, tmp_path / "cache", 2)
    drawn = np.stack([source.draw() for _ in range(40)])
    assert drawn.shape == (40, len(STEMS), 2, 44_100)
    assert np.isfinite(drawn).all()
    assert np.abs(drawn.sum(axis=1)).max() <= 1 + 1e-5
    sounding = drawn.any(axis=(2, 3))
    assert sounding.any(axis=0).all()
    assert not sounding.all()  # silence is drawn too

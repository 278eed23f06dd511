from __future__ import annotations

import os
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine import demo
from spectacles_engine.errors import InputError, NoNetworkError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.training import musdb18
from spectacles_engine.training.augment import Material, MixtureSource
from spectacles_engine.training.data import (
    SoundFile,
    decode,
    decoded_song,
    find_loose,
    find_songs,
    read_song,
    read_stereo,
    recordings,
)
from tests.engine.fakes import served
from tests.limits import limited


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
    assert [file.path.name for file in loose["vocals"]] == ["singer.ogg"]
    assert loose["bass"] == []


def test_an_absent_stem_is_silent_and_mono_becomes_stereo(folder: Path) -> None:
    references, mixture = read_song(find_songs([folder])[1])
    np.testing.assert_array_equal(mixture, references.sum(axis=0))
    assert references.shape == (len(STEMS), 2, 6 * SAMPLE_RATE_HZ)
    assert [bool(stem.any()) for stem in references] == [False, True, False, True]
    np.testing.assert_array_equal(references[3, 0], references[3, 1])


def test_a_mixture_that_is_there_is_taken_as_it_is(folder: Path) -> None:
    references, mixture = read_song(find_songs([folder])[0])
    spectrum = np.abs(np.fft.rfft(mixture[0]))
    assert np.argmax(spectrum) == 6 * 1000  # its own tone, not those of its stems
    assert mixture.shape == references.shape[1:]
    _write(folder / "songs" / "first" / "mixture.wav", 5, 1000)
    references, mixture = read_song(find_songs([folder])[0])
    assert mixture.shape == references.shape[1:]
    assert np.flatnonzero(mixture[0])[[0, -1]] == pytest.approx([1, 5 * SAMPLE_RATE_HZ - 1], abs=1)


def test_songs_are_found_whatever_their_names_look_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "elsewhere" / "linked" / "bass.WAV", 1, 100)
    _write(tmp_path / "songs" / "own" / "bass.wav", 1, 100)
    (tmp_path / "songs" / "own" / "._bass.wav").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "songs" / "._x.stem.mp4").write_bytes(b"and here")
    (tmp_path / "songs" / "link").symlink_to(tmp_path / "elsewhere" / "linked", target_is_directory=True)
    (tmp_path / "songs" / "loop").symlink_to(tmp_path / "songs", target_is_directory=True)
    assert [song.name for song in find_songs([tmp_path / "songs"])] == ["link", "own"]
    monkeypatch.chdir(tmp_path / "songs" / "own")
    assert [song.name for song in find_songs([Path()])] == ["own"]


def test_a_sound_that_holds_no_numbers_is_a_sentence(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), SAMPLE_RATE_HZ, "FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE_HZ)
    for name, sentence in (("nan", "holds samples that are no numbers"), ("empty", "is empty")):
        with pytest.raises(InputError, match=rf"{name}\.wav {sentence}"):
            read_stereo(SoundFile(tmp_path / f"{name}.wav"))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_stem_that_broke_off_is_not_taken_for_silence(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"vocals.{suffix}"
    _write(path, 3, 440)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"ends early|cannot be read"):
        read_stereo(SoundFile(path))


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    _write(tmp_path / "song" / "vocals.wav", 3, 440)
    (tmp_path / "song").rename(tmp_path / os.fsdecode(b"Bj\xf6rk"))
    (song,) = find_songs([tmp_path])
    assert read_song(song)[1].any()
    assert decoded_song(song, tmp_path / "cache")["vocals"].active_s.size == 3


def test_what_the_disk_did_not_take_does_not_stay_in_the_cache(folder: Path, tmp_path: Path) -> None:
    (song, *_) = find_songs([folder])
    with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(OSError, match="npy"):
        decoded_song(song, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        find_songs([tmp_path / "nowhere"])


@pytest.fixture
def stem_file() -> Path:
    """A song in the format of MUSDB18, which the stempeg package ships."""
    return demo._installed()


def test_a_stem_file_of_musdb18_is_a_song_with_a_mixture_of_its_own(stem_file: Path) -> None:
    (song,) = find_songs([stem_file.parent], only=["The Easton*"])
    assert song.name == "The Easton Ellises - Falcon 69"
    references, mixture = read_song(song)
    assert references.shape == (len(STEMS), 2, mixture.shape[1])
    assert 6 < mixture.shape[1] / SAMPLE_RATE_HZ < 6.5
    true_stems = demo.references()
    first = round(demo.CUT_S[0] * SAMPLE_RATE_HZ)
    for stem, reference in zip(STEMS, references, strict=True):
        np.testing.assert_allclose(reference[:, first : first + 1000], true_stems[stem][:, :1000], atol=1e-6)
    middle = slice(2 * SAMPLE_RATE_HZ, 4 * SAMPLE_RATE_HZ)
    apart = mixture[:, middle] - references.sum(axis=0)[:, middle]
    assert 0 < np.sqrt(np.mean(apart**2)) < 0.1 * np.sqrt(np.mean(mixture[:, middle] ** 2))


def test_the_streams_of_a_stem_file_are_cached_one_by_one(stem_file: Path, tmp_path: Path) -> None:
    (song,) = find_songs([stem_file.parent], only=["The Easton*"])
    decoded = decoded_song(song, tmp_path)
    assert set(decoded) == set(STEMS)
    assert len(list(tmp_path.iterdir())) == len(STEMS)
    assert not np.array_equal(decoded["drums"].samples, decoded["bass"].samples)


def test_a_file_that_is_no_stem_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "song.stem.mp4").write_bytes(b"no mp4")
    with pytest.raises(InputError, match=r"song\.stem\.mp4 cannot be read as a stem file"):
        read_song(find_songs([tmp_path])[0])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path) as address:
        yield address


def test_musdb18_7s_is_fetched_once_and_then_read(
    stem_file: Path, tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        archive.write(stem_file, f"train/{stem_file.name}")
        archive.write(stem_file, f"test/{stem_file.name}")
    monkeypatch.setenv("MUSDB_PATH", str(tmp_path / "home"))
    monkeypatch.setattr(musdb18, "ADDRESS", f"{site}/sample.zip")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", lambda archive, to: _stop_after_one(archive, to))
        with pytest.raises(KeyboardInterrupt):
            musdb18.folder(Path("musdb18-7s"))
    home = musdb18.folder(Path("musdb18-7s"))
    assert len(find_songs([home])) == 2
    assert sorted(path.name for path in home.iterdir()) == ["test", "train"]
    monkeypatch.setattr(musdb18, "ADDRESS", f"{site}/gone.zip")
    assert musdb18.folder(Path("musdb18-7s")) == home
    monkeypatch.setenv("MUSDB_PATH", str(tmp_path / "elsewhere"))
    with pytest.raises(NoNetworkError, match=r"could not be fetched: .* 404 .*; unpack .*gone\.zip in .*elsewhere"):
        musdb18.folder(Path("musdb18-7s"))


def test_what_is_no_archive_is_a_sentence_and_is_not_kept(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.zip").write_text("<html>please log in</html>")
    monkeypatch.setenv("MUSDB_PATH", str(tmp_path / "home"))
    monkeypatch.setattr(musdb18, "ADDRESS", f"{site}/page.zip")
    with pytest.raises(InputError, match=r"what came from .*page\.zip is no zip file"):
        musdb18.folder(Path("musdb18-7s"))
    assert list((tmp_path / "home").iterdir()) == []


def _stop_after_one(archive: zipfile.ZipFile, to: Path) -> None:
    archive.extract(archive.namelist()[0], to)
    raise KeyboardInterrupt


def test_a_file_is_decoded_once_and_then_mapped(folder: Path, tmp_path: Path) -> None:
    path = SoundFile(folder / "loose" / "bass" / "line_01.wav")
    first = decode(path, tmp_path / "cache", "line_01")
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    second = decode(path, tmp_path / "cache", "line_01")
    assert cached.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.samples, second.samples)
    assert abs(first.samples.shape[1] - 6 * SAMPLE_RATE_HZ) <= 1
    assert list(first.active_s) == [0, 1, 2, 3, 4, 5]
    loud_then_silent = np.repeat([1.5, 0.0], SAMPLE_RATE_HZ)
    soundfile.write(path.path, loud_then_silent, SAMPLE_RATE_HZ, "FLOAT")
    changed = decode(path, tmp_path / "cache", "line_01")
    assert (changed.samples.min(), changed.samples.max()) == (0, 32767)
    assert list(changed.active_s) == [0]
    for cached in (tmp_path / "cache").iterdir():
        cached.write_bytes(cached.read_bytes()[:100])  # as after a power cut
    assert list(decode(path, tmp_path / "cache", "line_01").active_s) == [0]


def test_songs_of_one_name_are_told_apart_whatever_else_there_is(tmp_path: Path) -> None:
    for name in ("A/song", "B/song", "B/aaa"):
        _write(tmp_path / name / "bass.wav", 1, 100)
    assert [song.name for song in find_songs([tmp_path / "A", tmp_path / "B"])] == ["aaa", "song", "song-2"]
    chosen = find_songs([tmp_path / "A", tmp_path / "B"], skip=["aaa"])
    assert [song.name for song in chosen] == ["song", "song-2"]


def test_a_song_may_have_the_longest_name_that_there_is(tmp_path: Path) -> None:
    _write(tmp_path / ("長" * 85) / "bass.wav", 1, 100)
    assert decoded_song(find_songs([tmp_path])[0], tmp_path / "cache")["bass"].samples.any()


def _source(folder: Path, cache: Path, seed: int) -> MixtureSource:
    songs = [decoded_song(song, cache) for song in find_songs([folder])]
    return MixtureSource([Material(songs, recordings(find_loose([folder]), cache))], 44_100, seed)


def test_the_same_seed_draws_the_same_mixtures_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    first, again, other = (_source(folder, tmp_path / "cache", seed) for seed in (0, 0, 1))
    drawn = [first.draw().references for _ in range(4)]
    for one, two in zip(drawn, [again.draw().references for _ in range(4)], strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(drawn[0], other.draw().references)


def test_mixtures_are_four_stereo_stems_that_do_not_clip_and_every_stem_turns_up(folder: Path, tmp_path: Path) -> None:
    source = _source(folder, tmp_path / "cache", 2)
    drawn = np.stack([source.draw().references for _ in range(40)])
    assert drawn.shape == (40, len(STEMS), 2, 44_100)
    assert np.isfinite(drawn).all()
    assert np.abs(drawn.sum(axis=1)).max() <= 1 + 1e-5
    sounding = drawn.any(axis=(2, 3))
    assert sounding.any(axis=0).all()
    assert not sounding.all()  # silence is drawn too


def test_a_mixture_says_what_can_be_heard_in_it(folder: Path, tmp_path: Path) -> None:
    source = _source(folder, tmp_path / "cache", 3)
    for _ in range(20):
        drawn = source.draw()
        assert set(drawn.sources) == set(STEMS)
        assert set(drawn.sources["vocals"]) <= {"singer"}
        assert set(drawn.sources["drums"]) <= {"first", "second"}
        for stem, reference in zip(STEMS, drawn.references, strict=True):
            assert reference.any() or not drawn.sources[stem]
            assert drawn.sources[stem] or stem == "bass" or not reference.any()  # a bass may be made up

"""The real preset `lite`, from file to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine import demo
from spectacles_engine.chunking import Array
from spectacles_engine.errors import CancelledError, NotAudioError, OutputError, TooLongError
from spectacles_engine.manifest import Manifest
from spectacles_engine.messages import MIXES, STEMS, Limits, SeparationRequest, SeparationResult
from spectacles_engine.mixers import StemMixers
from spectacles_engine.models import ModelStore
from spectacles_engine.separation import SongSeparator
from tests.engine.fakes import write_mixer


@pytest.fixture(scope="module")
def separator(tmp_path_factory: pytest.TempPathFactory) -> SongSeparator:
    return SongSeparator(ModelStore(tmp_path_factory.mktemp("models")), "cpu", Limits())


@pytest.fixture(scope="module")
def excerpt(separator: SongSeparator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SeparationResult]:
    """The excerpt of `demo`, separated."""
    folder = tmp_path_factory.mktemp("excerpt")
    demo.write_mixture(demo.references(), folder / "mixture.wav")
    return folder, separator.separate(folder / "mixture.wav", folder / "stems", SeparationRequest())


def _read(path: str | Path) -> Array:
    samples: Array = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    return samples


def test_real_music_comes_apart(excerpt: tuple[Path, SeparationResult]) -> None:
    _, result = excerpt
    references = demo.references()
    true_db = demo.true_sdr_db(references, {stem: Path(result.files[stem]) for stem in STEMS})
    untouched_db = demo.mixture_sdr_db(references)
    assert true_db["vocals"] >= 4.8
    for stem in ("drums", "bass", "other"):
        assert true_db[stem] >= untouched_db[stem] + 4, stem


def test_every_stem_lies_over_the_mixture_to_the_sample_and_their_sum_is_what_the_residual_says(
    excerpt: tuple[Path, SeparationResult],
) -> None:
    folder, result = excerpt
    mixture = _read(folder / "mixture.wav")
    stems = np.stack([_read(result.files[stem]) for stem in STEMS])
    assert stems.shape[1:] == mixture.shape
    residual = mixture - stems.sum(axis=0)
    residual_db = 10 * np.log10((residual**2).sum() / (mixture**2).sum())
    assert result.note.residual_db is not None
    assert max(residual_db, result.note.residual_db) < -80


def test_the_note_estimates_every_stem_with_a_range_or_says_nothing(excerpt: tuple[Path, SeparationResult]) -> None:
    _, result = excerpt
    assert set(result.note.stems) == {*STEMS, *MIXES}
    assert any(quality.estimated_sdr_db is not None for quality in result.note.stems.values())
    for quality in result.note.stems.values():
        if quality.estimated_sdr_db is None:
            assert quality.grade in ("unknown", "silent")
        else:
            assert quality.low_db is not None
            assert quality.high_db is not None
            assert quality.low_db < quality.estimated_sdr_db < quality.high_db


@pytest.mark.parametrize("blend", ["stemmixer", "average"])
def test_a_stem_that_is_asked_for_alone_is_the_same_as_among_four(
    separator: SongSeparator, tmp_path: Path, blend: str
) -> None:
    song = tmp_path / "song.wav"
    demo.write_mixture({stem: part[:, :80_000] for stem, part in demo.references().items()}, song)
    four = separator.separate(song, tmp_path / "four", SeparationRequest(blend=blend))
    alone = separator.separate(song, tmp_path / "alone", SeparationRequest(stems=("bass",), blend=blend))
    np.testing.assert_allclose(_read(alone.files["bass"]), _read(four.files["bass"]), atol=1e-6)


def test_so_it_is_with_a_mixer_of_ones_own_that_has_no_estimator(tmp_path: Path) -> None:
    song, mixer = tmp_path / "song.wav", write_mixer(tmp_path / "own.safetensors", mixture=0, demucs=0.3)
    demo.write_mixture({stem: part[:, :80_000] for stem, part in demo.references().items()}, song)
    store = ModelStore(tmp_path, Manifest.load().with_own("lite", mixer, None))
    separator = SongSeparator(store, "cpu", Limits())
    four = separator.separate(song, tmp_path / "four", SeparationRequest())
    alone = separator.separate(song, tmp_path / "alone", SeparationRequest(stems=("bass",)))
    np.testing.assert_allclose(_read(alone.files["bass"]), _read(four.files["bass"]), atol=1e-6)


def test_a_mono_voice_note_at_16_khz_comes_back_as_such(separator: SongSeparator, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000 * 3 + 7 + 20) * 0.1
    voice = np.convolve(noise, np.hanning(22)[1:-1] / 10, "valid")[: 16_000 * 3 + 7]  # nothing near 8 kHz
    soundfile.write(tmp_path / "note.wav", voice, 16_000)
    request = SeparationRequest(stems=("vocals",), mix="karaoke", format="flac")
    result = separator.separate(tmp_path / "note.wav", tmp_path / "out", request)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["karaoke.flac", "vocals.flac"]
    for path in (tmp_path / "out").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames) == (16_000, 1, len(voice))
        assert soundfile.SoundFile(path).title == path.stem
    together = _read(tmp_path / "out" / "vocals.flac") + _read(tmp_path / "out" / "karaoke.flac")
    assert np.abs(together[0] - voice).max() < 0.02
    assert result.seconds == len(voice) / 16_000
    assert "the input is mono" in result.warnings


@pytest.mark.parametrize("blend", ["stemmixer", "mdx"])
def test_a_stem_and_the_mix_without_it_are_the_song_in_whatever_order_stems_are_named(
    separator: SongSeparator, tmp_path: Path, blend: str
) -> None:
    song = tmp_path / "song.wav"
    demo.write_mixture(demo.references(), song)
    request = SeparationRequest(stems=("bass", "vocals"), mix="no-bass", blend=blend)
    result = separator.separate(song, tmp_path / "out", request)
    bass, without, mixture = _read(result.files["bass"]), _read(result.files["no-bass"]), _read(song)
    np.testing.assert_allclose(bass + without, mixture, atol=1e-5)
    assert list(result.files) == ["vocals", "bass", "no-bass"]
    # the calibration is that of the stemmixer's stems
    known = {quality.grade for quality in result.note.stems.values()} - {"unknown", "silent"}
    assert bool(known) == (blend == "stemmixer")


def test_what_is_too_loud_is_turned_down_and_all_that_is_odd_is_told(separator: SongSeparator, tmp_path: Path) -> None:
    loud = np.clip(np.random.default_rng(0).standard_normal((44_100, 2)) * 2, -1, 1)
    soundfile.write(tmp_path / "song.wav", 3 * loud, 44_100, "FLOAT")
    for format, told in (("wav", []), ("opus", ["opus cannot store 44100 Hz: the files have 48000 Hz"])):
        request = SeparationRequest(stems=(), mix="karaoke", format=format, blend="mdx")
        result = separator.separate(tmp_path / "song.wav", tmp_path / "out", request)
        loudness = "the input passes full scale by 10 dB; the stems are turned down where it does"
        short, clipped = "the input is very short (1.0 s)", "the input is clipped in places"
        assert list(result.warnings) == [short, loudness, clipped, *told]
    # a limiter leaves no flat tops, as cutting off does
    assert 0.9 < np.abs(_read(tmp_path / "out" / "karaoke.wav")).max() < 0.9995


def test_a_gpu_that_was_too_small_for_a_mixer_is_tried_again_with_the_next_song(
    separator: SongSeparator, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((44_100, 2)), 44_100)
    mixer = separator.load("lite", "stemmixer-paper")[0].mixer
    assert isinstance(mixer, StemMixers)
    mixer.placement.warnings = ["the GPU's memory ran out"]  # of the song before
    request = SeparationRequest(blend="stemmixer-paper")
    assert separator.separate(tmp_path / "song.wav", tmp_path / "out", request).shortages == ()
    assert mixer.placement.warnings == []


def test_silence_gives_silent_stems_and_no_figures(separator: SongSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((44_100 * 3, 2)), 44_100)
    result = separator.separate(tmp_path / "silence.wav", tmp_path / "out", SeparationRequest())
    assert {quality.grade for quality in result.note.stems.values()} == {"silent"}
    assert all(not _read(result.files[stem]).any() for stem in STEMS)


@pytest.mark.parametrize("samples", [1, 100, 44_100])
def test_however_short_it_is_it_comes_back_as_long(separator: SongSeparator, tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "short.wav", np.full((samples, 2), 0.25), 44_100)
    result = separator.separate(tmp_path / "short.wav", tmp_path / "out", SeparationRequest(stems=("bass",)))
    assert _read(result.files["bass"]).shape == (2, samples)


def test_what_is_no_audio_leaves_nothing_behind(separator: SongSeparator, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_text("la la la")
    with pytest.raises(NotAudioError, match="not an audio file"):
        separator.separate(tmp_path / "song.mp3", tmp_path / "out", SeparationRequest())
    assert not (tmp_path / "out").exists()


def test_a_separation_that_is_stopped_leaves_no_file(separator: SongSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).standard_normal((44_100 * 8, 2)) * 0.1, 44_100)

    def stop(share: float) -> None:
        raise CancelledError("cancelled")

    for before in (False, True):
        if before:
            (tmp_path / "out").mkdir()
        with pytest.raises(CancelledError):
            separator.separate(tmp_path / "song.wav", tmp_path / "out", SeparationRequest(), on_progress=stop)
        assert (tmp_path / "out").exists() == before
    assert not list((tmp_path / "out").iterdir())


def test_a_song_that_is_too_long_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((16_000, 1)), 8_000)
    separator = SongSeparator(ModelStore(tmp_path / "models"), "cpu", Limits(longest_s=1.5))
    with pytest.raises(TooLongError, match=r"^longer than 1\.5 seconds$"):
        separator.separate(tmp_path / "song.wav", tmp_path / "out", SeparationRequest())


def test_where_one_file_cannot_be_written_none_is(separator: SongSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((100, 2)), 44_100)
    (tmp_path / "out" / "bass.wav").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"^bass\.wav could not be written"):
        separator.separate(tmp_path / "song.wav", tmp_path / "out", SeparationRequest())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bass.wav"]


def test_a_song_is_never_overwritten_by_its_own_stems(separator: SongSeparator, tmp_path: Path) -> None:
    song = tmp_path / "drums.wav"
    soundfile.write(song, np.zeros((100, 2)), 44_100)
    before = song.read_bytes()
    (tmp_path / "link.wav").symlink_to(song)
    for name in ("drums.wav", "link.wav"):
        with pytest.raises(OutputError, match="would overwrite it"):
            separator.separate(tmp_path / name, tmp_path, SeparationRequest())
    assert {path.name for path in tmp_path.iterdir()} == {"drums.wav", "link.wav"}
    assert song.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_a_sentence(separator: SongSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((100, 2)), 44_100)
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="could not be made"):
        separator.separate(tmp_path / "song.wav", tmp_path / "out", SeparationRequest())

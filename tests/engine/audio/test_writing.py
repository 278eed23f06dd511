"""Any file out: every format lines up with what came in, to the sample, or says why it cannot be written."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectacles_engine.audio import StemWriter, open_song, written_rate
from spectacles_engine.errors import OutputError
from spectacles_engine.messages import FORMATS, Tags
from tests.engine.audio.sounds import (
    encode,
    error_db,
    lag,
    noise,
    write_sound,
)
from tests.limits import limited


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 96_001, 192_000])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_lines_up_to_the_sample(tmp_path: Path, format: str, rate: int) -> None:
    samples = int(1.2 * rate) + 137
    sound = noise(int(samples * 44_100 / rate + 0.5), 2, min(rate, 44_100))
    path = encode(tmp_path / f"a.{format}", sound, samples=samples, rate=rate)
    with open_song(path) as song:
        heard = np.concatenate(list(song.blocks()), axis=1)
        assert (song.sample_rate, song.warnings) == (written_rate(format, rate), [])
        assert song.samples == round(samples * song.sample_rate / rate)
    assert abs(heard.shape[1] - sound.shape[1]) <= 1
    assert lag(sound, heard) == 0


def test_a_rate_that_a_format_lacks_becomes_its_next_higher_one_or_its_highest() -> None:
    rates = (8_000, 22_050, 37_800, 44_100, 65_535, 96_001, 384_000)
    assert {format: [written_rate(format, rate) for rate in rates] for format in FORMATS} == {
        "wav": list(rates),
        "flac": [8_000, 22_050, 37_800, 44_100, 65_535, 96_010, 384_000],
        "mp3": [8_000, 22_050, 44_100, 44_100, 48_000, 48_000, 48_000],
        "ogg": [8_000, 22_050, 37_800, 44_100, 65_535, 96_001, 192_000],
        "opus": [8_000, 24_000, 48_000, 48_000, 48_000, 48_000, 48_000],
        "m4a": [8_000, 22_050, 44_100, 44_100, 88_200, 96_000, 96_000],
    }


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_at_the_edges(tmp_path: Path, format: str, channels: int) -> None:
    for samples in (1, 2, 1_023, 1_024, 44_099, 44_100, 44_101):
        sound = 0.5 * np.ones((2, samples), np.float32)
        path = encode(tmp_path / f"{samples}.{format}", sound, samples=samples, rate=44_100, channels=channels)
        with open_song(path) as song:
            assert sum(block.shape[1] for block in song.blocks()) == round(song.samples * 44_100 / song.sample_rate)
            assert song.samples == max(1, round(samples * song.sample_rate / 44_100))
            assert song.channels == channels


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_identity_from_file_to_file(tmp_path: Path, rate: int, channels: int) -> None:
    sound = noise(int(2.3 * rate) + 11, channels, rate)
    source = write_sound(tmp_path / "a.wav", sound, rate, "FLOAT")
    with open_song(source) as song, StemWriter(tmp_path / "b.wav", "wav", sample_rate=rate, channels=channels) as out:
        for block in song.blocks():
            out.write(block)
        out.finish(song.samples)
    back, written = soundfile.read(tmp_path / "b.wav", dtype="float32", always_2d=True)
    assert (back.T.shape, written) == (sound.shape, rate)
    assert error_db(sound, back.T) < (-120 if rate == 44_100 else -60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.sampled_from([1, 2, 3, 1_023, 4_095, 4_096, 4_097, 7_999, 8_000, 8_001, 44_099, 44_100, 44_101, 99_991]),
    rate=st.sampled_from([8_000, 11_025, 16_000, 37_800, 44_100, 48_000, 192_000]),
    block=st.sampled_from([1_000, 44_100, 70_001]),
)
def test_every_length_comes_back(tmp_path: Path, samples: int, rate: int, block: int) -> None:
    sound = 0.25 * np.ones((1, samples), np.float32)
    with open_song(write_sound(tmp_path / "a.wav", sound, rate)) as song:
        heard = np.concatenate(list(song.blocks()), axis=1)
        assert song.samples == samples
    assert heard.shape[1] == pytest.approx(max(1, samples * 44_100 / rate), abs=0.51)
    encode(tmp_path / "b.flac", heard, samples=samples, rate=rate, channels=1, block=block)
    info = soundfile.info(tmp_path / "b.flac")
    assert (info.frames, info.samplerate, info.channels) == (samples, rate, 1)


def test_finish_cuts_and_fills(tmp_path: Path) -> None:
    sound = noise(44_100 * 3, 2, 44_100)
    for samples in (44_100 * 2 + 5, 44_100 * 6):
        encode(tmp_path / "a.flac", sound, samples=samples, rate=44_100)
        back, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
        kept = min(samples, sound.shape[1])
        assert len(back) == samples
        np.testing.assert_allclose(back[:kept].T, sound[:, :kept], atol=2**-23)
        assert not back[kept:].any()
    with pytest.raises(ValueError, match="too many"):
        encode(tmp_path / "b.flac", sound, samples=44_100, rate=44_100)
    assert not (tmp_path / "b.flac").exists()


def test_mono_is_the_mean_and_loud_is_clipped_not_wrapped(tmp_path: Path) -> None:
    sound = np.stack([np.full(500, 0.5, np.float32), np.full(500, -0.25, np.float32)])
    encode(tmp_path / "a.wav", sound, samples=500, rate=44_100, channels=1)
    np.testing.assert_allclose(soundfile.read(tmp_path / "a.wav")[0], 0.125, atol=2**-23)
    encode(tmp_path / "b.wav", 3 * np.ones((2, 500), np.float32), samples=500, rate=44_100)
    assert soundfile.read(tmp_path / "b.wav")[0].min() > 0.99


@pytest.mark.parametrize(
    ("format", "asked", "kbps"),
    [
        *((format, kbps, kbps) for format, kbps in (("mp3", 128), ("ogg", 96), ("opus", 96), ("m4a", 96))),
        *((format, None, kbps) for format, kbps in (("mp3", 320), ("ogg", 256), ("opus", 192), ("m4a", 256))),
    ],
)
def test_bitrate_and_title(tmp_path: Path, format: str, asked: int | None, kbps: int) -> None:
    sound = np.random.default_rng(0).standard_normal((2, 44_100 * 4)).astype(np.float32) * np.float32(0.1)
    if format == "mp3":
        sound[:, 44_100:] = 0  # as large where nothing sounds
    path = tmp_path / f"a.{format}"
    title = "Größe: vocals"
    tagged = Tags(title)
    with StemWriter(path, format, sample_rate=48_000, channels=2, bitrate_kbps=asked, tags=tagged) as writer:
        writer.write(sound)
        writer.finish(48_000 * 4)
    assert path.stat().st_size * 8 / 4_000 == pytest.approx(kbps, rel=0.3)
    with av.open(str(path)) as container:
        tags = {**container.metadata, **container.streams.audio[0].metadata}
    assert title in tags.values()


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^a.wav could not be written \(no such file or directory\)$"):
        StemWriter(tmp_path / "none" / "a.wav", "wav", sample_rate=44_100, channels=2)


@pytest.mark.parametrize("format", FORMATS)
def test_an_abandoned_stem_leaves_nothing(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"a.{format}"
    path.write_text("an older stem")
    with pytest.raises(ZeroDivisionError), StemWriter(path, format, sample_rate=44_100, channels=2) as writer:
        writer.write(noise(44_100 * 3, 2, 44_100))
        raise ZeroDivisionError
    assert path.read_text() == "an older stem"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("full_at", [0.0, 0.97])
@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_never_passes_for_a_stem(
    tmp_path: Path, format: str, full_at: float, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = noise(44_100 * 3, 2, 44_100)
    path = tmp_path / f"a.{format}"
    size = encode(path, sound, samples=44_100 * 3, rate=44_100).stat().st_size
    path.unlink()
    old_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with (
            limited(resource.RLIMIT_FSIZE, int(size * full_at)),
            pytest.raises(OutputError, match=rf"^a.{format} could not be written \(.*\)$"),
        ):
            encode(path, sound, samples=44_100 * 3, rate=44_100)
    finally:
        signal.signal(signal.SIGXFSZ, old_signal)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_wav_beyond_4_gb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectacles_engine.audio.writing._MOST_WAV_BYTES", 44_100 * 6)
    with pytest.raises(
        OutputError, match=r"^a.wav would be larger than 4 GB, more than a WAV file holds; ask for flac$"
    ):
        encode(tmp_path / "a.wav", noise(44_100 * 3, 2, 44_100), samples=44_100 * 3, rate=44_100)
    assert not list(tmp_path.iterdir())


def test_no_more_than_a_few_seconds_are_in_memory(tmp_path: Path) -> None:
    """The decoder is drawn from as blocks are asked for, and the writer hands on all but a second."""
    path = write_sound(tmp_path / "a.flac", np.zeros((1, 44_100 * 30), np.float32), 44_100)
    with open_song(path) as song:
        assert song.samples < 44_100 * 3
        next(blocks := song.blocks())
        assert song.samples < 44_100 * 4
        with StemWriter(tmp_path / "b.wav", "wav", sample_rate=44_100, channels=2) as writer:
            for block in blocks:
                writer.write(block)
            part = next(tmp_path.glob(".*.part"))
            assert part.stat().st_size > 44_100 * 6 * 26

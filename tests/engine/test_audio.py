"""Any file in, any file out: rates, lengths and instants must survive, and nothing but the file may be opened."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import http.server
import os
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from spectacles_engine.audio import StemWriter, open_song, written_rate
from spectacles_engine.audio.decoder import downmix_weights
from spectacles_engine.errors import CancelledError, InputError, NotAudioError, OutputError, TooLongError
from spectacles_engine.messages import FORMATS, Tags
from tests.limits import limited

Sound = NDArray[np.float32]


@functools.cache
def noise(samples: int, channels: int, rate: int) -> Sound:
    """(channels, samples) of noise from 100 Hz to a quarter of the rate, faded at both ends, peaking at 0.5."""
    raw = np.random.default_rng(0).standard_normal((channels, samples + 400))
    sections = butter(6, [100, 0.25 * min(rate, 44_100)], "band", fs=rate, output="sos")
    band = sosfiltfilt(sections, raw)[:, 200 : 200 + samples]
    fade = np.minimum(1, np.minimum(np.arange(samples) + 1, np.arange(samples, 0, -1)) / (0.02 * rate))
    band = band * fade
    sound: Sound = (0.5 * band / np.abs(band).max()).astype(np.float32)
    sound.flags.writeable = False
    return sound


def decode(path: Path, longest_s: float = 3600.0, deadline_s: float = 600.0) -> tuple[Sound, int, list[str]]:
    """All of a file at 44.1 kHz, its length in its own samples, and the warnings."""
    with open_song(path, longest_s=longest_s, deadline_s=deadline_s) as song:
        blocks = list(song.blocks())
        assert all(block.dtype == np.float32 and block.shape[0] == 2 for block in blocks)
        assert all(block.shape[1] <= 2.1 * 44_100 for block in blocks)
        return np.concatenate(blocks, axis=1), song.samples, song.warnings


def encode(path: Path, sound: Sound, *, samples: int, rate: int, channels: int = 2, block: int = 30_000) -> Path:
    """Write 44.1 kHz ``sound`` as ``path``'s suffix says."""
    with StemWriter(path, path.suffix[1:], sample_rate=rate, channels=channels) as writer:
        for start in range(0, sound.shape[1], block):
            writer.write(sound[:, start : start + block])
        writer.finish(samples)
    return path


def lag(a: Sound, b: Sound) -> int:
    """Samples by which ``b`` comes after ``a``, by cross-correlation of their first channels."""
    size = 2 * max(a.shape[1], b.shape[1])
    correlation = np.fft.irfft(np.conj(np.fft.rfft(a[0], size)) * np.fft.rfft(b[0], size), size)
    peak = int(np.argmax(correlation))
    return peak if peak < size // 2 else peak - size


def error_db(truth: Sound, answer: Sound) -> float:
    return float(10 * np.log10(np.mean((truth - answer) ** 2) / np.mean(truth**2) + 1e-30))


def write_sound(path: Path, sound: Sound, rate: int, subtype: str | None = None) -> Path:
    soundfile.write(path, sound.T, rate, subtype=subtype)
    return path


def write_av(path: Path, codec: str, sound: Sound, rate: int, *, start: int = 0, has_length: bool = True) -> Path:
    """``start`` in samples; ``has_length``: of an MP3, whether it says how long it is."""
    layout = {1: "mono", 2: "stereo", 4: "4.0", 6: "5.1"}[sound.shape[0]]
    with av.open(str(path), "w", options={} if has_length else {"write_xing": "0"}) as output:
        stream = cast("av.AudioStream", output.add_stream(codec, rate=rate, layout=layout))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate, frame.pts = rate, start
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def wav_bytes(data: bytes, *, promised: int | None = None, rate: int = 44_100, channels: int = 2) -> bytes:
    size = len(data) if promised is None else promised
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    riff = struct.pack("<I", min(36 + size, 0xFFFFFFFF))
    return b"RIFF" + riff + b"WAVEfmt " + layout + b"data" + struct.pack("<I", size) + data


# ---------------------------------------------------------------------------------------------------- what comes in


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"])
def test_wav_of_every_depth(tmp_path: Path, subtype: str) -> None:
    sound = noise(50_000, 2, 44_100)
    heard, samples, warnings = decode(write_sound(tmp_path / "a.wav", sound, 44_100, subtype))
    assert (samples >= 50_000, warnings) == (True, [])
    worst = {"PCM_U8": -26, "ULAW": -26, "IMA_ADPCM": -10, "PCM_16": -74}.get(subtype, -120)
    assert error_db(sound, heard[:, :50_000]) < worst


@pytest.mark.parametrize("name", ["a.aiff", "a.flac", "a.ogg", "a.mp3", "a.caf", "a.au", "a.w64", "a.rf64"])
def test_other_sound_files(tmp_path: Path, name: str) -> None:
    sound = noise(60_001, 2, 44_100)
    path = tmp_path / name
    soundfile.write(path, sound.T, 44_100)
    heard, samples, warnings = decode(path)
    assert (samples, heard.shape[1], warnings, lag(sound, heard)) == (60_001, 60_001, [], 0)


@pytest.mark.parametrize(
    ("codec", "name", "lossy_tail"),
    [
        ("aac", "a.m4a", 1024),
        ("alac", "a.m4a", 0),
        ("pcm_s16le", "a.mov", 0),
        ("pcm_u8", "a.mov", 0),
        ("pcm_s64le", "a.wav", 0),
        ("libmp3lame", "a.mp3", 0),
        ("aac", "a.mkv", 1024),
        ("libopus", "a.webm", 0),
        ("flac", "a.mka", 0),
        ("aac", "a.mp4", 1024),
        ("mp2", "a.mpg", 2304),
        ("ac3", "a.avi", 3072),
    ],
)
def test_sound_that_only_ffmpeg_reads(tmp_path: Path, codec: str, name: str, lossy_tail: int) -> None:
    sound = noise(96_137, 2, 48_000)
    path = write_av(tmp_path / name, codec, sound, 48_000)
    with open_song(path) as song:
        heard = np.concatenate(list(song.blocks()), axis=1)
        assert (song.sample_rate, song.channels, song.warnings) == (48_000, 2, [])
        assert -16 <= song.samples - 96_137 <= lossy_tail
    truth, _, _ = decode(write_sound(tmp_path / "truth.wav", sound, 48_000, "FLOAT"))
    assert abs(lag(truth, heard)) <= (0 if lossy_tail < 2000 else 1200)
    assert np.linalg.norm(heard) == pytest.approx(np.linalg.norm(truth), rel=0.05)


@pytest.mark.parametrize("default", [None, 0, 1])
def test_of_several_sounds_in_a_video_the_default_one_is_heard_else_the_first(
    tmp_path: Path, default: int | None
) -> None:
    sound = noise(48_000, 2, 48_000)
    with av.open(str(tmp_path / "a.mka"), "w") as output:
        streams = [output.add_stream("flac", rate=48_000, layout="stereo") for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for stream, samples in zip(streams, (sound, 0 * sound), strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48_000, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    assert decode(tmp_path / "a.mka")[0].any() == (default != 1)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (22_050, 2)])
def test_sound_that_changes_its_format_midway_is_read_to_its_end(tmp_path: Path, rate: int, channels: int) -> None:
    """As a jingle and a song, in one MP3."""
    jingle = write_av(tmp_path / "jingle.mp3", "libmp3lame", noise(rate * 2, channels, rate), rate).read_bytes()
    song = write_av(tmp_path / "song.mp3", "libmp3lame", noise(44_100 * 2, 2, 44_100), 44_100).read_bytes()
    (tmp_path / "a.mp3").write_bytes(jingle + song + jingle)
    with open_song(tmp_path / "a.mp3") as opened:
        heard = np.concatenate(list(opened.blocks()), axis=1)
        assert (opened.sample_rate, opened.channels, opened.warnings) == (rate, channels, [])
    assert heard.shape[1] == pytest.approx(44_100 * 6, abs=8_000)
    assert all(np.square(second).mean() > 1e-4 for second in np.array_split(heard, 6, axis=1))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 88_200, 96_000, 192_000])
def test_rates_come_in_at_the_same_instant(tmp_path: Path, rate: int) -> None:
    times = np.arange(int(1.5 * rate) + 7) / rate
    tone = np.sin(2 * np.pi * 997 * times)[None].astype(np.float32) * 0.5
    with open_song(write_sound(tmp_path / "a.wav", tone, rate, "FLOAT")) as song:
        heard = np.concatenate(list(song.blocks()), axis=1)
        assert (song.sample_rate, song.channels, song.samples) == (rate, 1, tone.shape[1])
    assert heard.shape[1] == pytest.approx(tone.shape[1] * 44_100 / rate, abs=0.51)
    truth = 0.5 * np.sin(2 * np.pi * 997 * np.arange(heard.shape[1]) / 44_100)
    inner = slice(2_000, -2_000)
    assert error_db(np.stack([truth, truth])[:, inner].astype(np.float32), heard[:, inner]) < -90


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_mixed_by_the_itu_weights(tmp_path: Path, channels: int) -> None:
    sound = np.eye(channels, dtype=np.float32).repeat(100, axis=1) * 0.5
    heard, _, _ = decode(write_sound(tmp_path / "a.wav", sound, 44_100, "FLOAT"))
    half, quarter = 0.5 * 2**-0.5, 0.25
    left, right, centre, nothing = (0.5, 0.0), (0.0, 0.5), (half, half), (0.0, 0.0)
    back = [(half, 0.0), (0.0, half)]
    expected = {
        1: [(0.5, 0.5)],
        2: [left, right],
        3: [left, right, centre],
        4: [left, right, *back],
        5: [left, right, centre, *back],
        6: [left, right, centre, nothing, *back],
        7: [left, right, centre, nothing, (quarter, quarter), *back],
        8: [left, right, centre, nothing, *back, *back],
    }[channels]
    np.testing.assert_allclose(heard[:, ::100].T, expected, atol=1e-7)


def test_vorbis_and_aac_surround_keep_their_own_channel_order(tmp_path: Path) -> None:
    centre_in_vorbis = np.zeros((6, 44_100), np.float32)
    centre_in_vorbis[1] = noise(44_100, 1, 44_100)
    heard, _, _ = decode(write_sound(tmp_path / "a.ogg", centre_in_vorbis, 44_100))
    assert error_db(centre_in_vorbis[[1, 1]] * np.float32(2**-0.5), heard) < -6
    centre_in_aac = np.roll(centre_in_vorbis, 1, axis=0)
    heard, _, _ = decode(write_av(tmp_path / "a.m4a", "aac", centre_in_aac, 44_100))
    assert error_db(centre_in_aac[[2, 2], :40_000] * np.float32(2**-0.5), heard[:, :40_000]) < -6
    assert downmix_weights(("FL", "FR")) is None


@pytest.mark.parametrize("channels", range(3, 9))
def test_every_speaker_of_vorbis_is_heard_where_it_stands(tmp_path: Path, channels: int) -> None:
    """A tenth of a second of noise from each in turn."""
    sound = np.zeros((channels, 4_410 * channels), np.float32)
    for k in range(channels):
        sound[k, 4_410 * k : 4_410 * (k + 1)] = noise(4_410, 1, 44_100)
    heard, _, _ = decode(write_sound(tmp_path / "a.ogg", sound, 44_100))
    levels = np.sqrt(np.square(heard.reshape(2, channels, -1)[..., 800:-800]).mean(axis=-1))
    levels /= np.sqrt(np.square(noise(4_410, 1, 44_100)[:, 800:-800]).mean())
    half = 2**-0.5
    left, right, centre, back, nothing = (1, 0), (0, 1), (half, half), [(half, 0), (0, half)], (0, 0)
    expected = {
        3: [left, centre, right],
        4: [left, right, *back],
        5: [left, centre, right, *back],
        6: [left, centre, right, *back, nothing],
        7: [left, centre, right, *back, (0.5, 0.5), nothing],
        8: [left, centre, right, *back, *back, nothing],
    }[channels]
    np.testing.assert_allclose(levels.T, expected, atol=0.1)


def test_a_video_says_which_speakers_its_channels_are(tmp_path: Path) -> None:
    """Three in front and one behind, where four channels of a WAV would be two and two."""
    for speaker, expected in enumerate(((1, 0), (0, 1), (0.5**0.5, 0.5**0.5), (0.5, 0.5))):
        sound = np.zeros((4, 44_100), np.float32)
        sound[speaker] = noise(44_100, 1, 44_100)
        heard, _, _ = decode(write_av(tmp_path / "a.m4a", "aac", sound, 44_100))
        levels = np.linalg.norm(heard, axis=1) / np.linalg.norm(sound)
        np.testing.assert_allclose(levels, expected, atol=0.1)


def test_numbers_that_are_none_become_silence(tmp_path: Path) -> None:
    sound = noise(50_000, 2, 44_100)
    sound, broken = sound.copy(), sound.copy()
    broken[0, 100:103] = np.nan, np.inf, -np.inf
    broken[1, 40_000] = 1e30
    heard, _, warnings = decode(write_sound(tmp_path / "a.wav", broken, 44_100, "FLOAT"))
    sound[0, 100:103] = sound[1, 40_000] = 0
    np.testing.assert_array_equal(heard, sound)
    assert warnings == ["4 samples were not numbers and became silence"]
    heard, _, warnings = decode(write_sound(tmp_path / "b.wav", 32768 * sound, 44_100, "FLOAT"))  # by mistake
    np.testing.assert_array_equal(heard, 32768 * sound)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.rf64", "a.mka", "a.m4a"])
def test_a_truncated_file_goes_as_far_as_it_goes(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    sound = noise(48_000 * 6, 2, 48_000)
    whole = tmp_path / name
    if name == "a.mka":
        write_av(whole, "aac", sound, 48_000)
    elif name == "a.m4a":
        write_fast_start(whole, sound)
    elif name == "a.opus":
        soundfile.write(whole, sound.T, 48_000, format="OGG", subtype="OPUS")
    else:
        write_sound(whole, sound, 48_000)
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    heard, _, warnings = decode(whole)
    truth, _, _ = decode(write_sound(tmp_path / "truth.wav", sound, 48_000, "FLOAT"))
    assert 1.9 < heard.shape[1] / 44_100 < 3.6
    assert lag(truth[:, : heard.shape[1]], heard) == 0
    assert warnings == ["the file ends early; separated as far as it goes"]
    assert capfd.readouterr() == ("", "")


def write_fast_start(path: Path, sound: Sound) -> None:
    """An MP4 whose index comes first, as on the web."""
    layout = "stereo"
    with av.open(str(path), "w", format="ipod", options={"movflags": "faststart"}) as output:
        stream = output.add_stream("aac", rate=48_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound, "fltp", layout)
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_a_damaged_middle_is_left_out(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.m4a", "aac", noise(48_000 * 4, 2, 48_000), 48_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = np.random.default_rng(1).bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    _, samples, warnings = decode(path)
    assert samples > 48_000
    assert warnings == ["parts of the file are damaged and were left out"]


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFF0000])
def test_a_recording_streamed_without_a_size(tmp_path: Path, promised: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(b"\1\2" * 2 * 60_000, promised=promised))
    _, samples, warnings = decode(path)
    assert (samples, warnings) == (60_000, [])


def test_tags_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.mka", "flac", noise(44_100, 1, 44_100), 44_100)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"ENCODER", b"ENC\xff\xfeER"))
    assert decode(path)[1] == 44_100


# ------------------------------------------------------------------------------------------------------- bad inputs


def _garbage(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(2).bytes(50_000))
    return path


def _bytes(data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return make


BAD_INPUTS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "zero bytes": ("a.mp3", _bytes(b""), "not an audio file"),
    "text": ("a.mp3", _bytes(b"dear diary, no song today\n" * 999), "not an audio file"),
    "garbage": ("a.ogg", _garbage, "not an audio file"),
    "headerless": ("a.raw", _bytes(bytes(range(256)) * 400), "not an audio file"),
    "named as headerless": ("a.gsm", _garbage, "not an audio file"),
    "mp3 sync and garbage": ("a.mp3", _bytes(b"\xff\xfb\x90\x64" + os.urandom(9_000)), "not an audio file"),
    "picture": ("a.png", _bytes(b"\x89PNG\r\n\x1a\n" + bytes(999)), "not an audio file"),
    "video without sound": ("a.mp4", write_silent_video, "no sound in this video"),
    "wav without samples": ("a.wav", _bytes(wav_bytes(b"")), "no sound in this file"),
    "wav that promises 4 GB": (
        "a.wav",
        _bytes(wav_bytes(b"\1\2" * 999, promised=0xFFFFFFF0)),
        "not an audio file (its header promises sound that is not there)",
    ),
    "wav that streams nothing": (
        "a.wav",
        _bytes(wav_bytes(b"\1\2" * 999, promised=0xFFFFFFFF)),
        "not an audio file (its header promises sound that is not there)",
    ),
    "1 Hz": ("a.wav", _bytes(wav_bytes(bytes(4_000), rate=1)), "not an audio file (a sample rate of 1 Hz)"),
    "10 MHz": (
        "a.wav",
        _bytes(wav_bytes(bytes(4_000), rate=10_000_000)),
        "not an audio file (a sample rate of 10000000 Hz)",
    ),
    "9 channels": (
        "a.wav",
        _bytes(wav_bytes(bytes(3_600), channels=9)),
        "9 channels, and at most 8 can be mixed to stereo",
    ),
    "no length of time": ("a.flac", _bytes(b"fLaC" + bytes(100)), "not an audio file"),
}


def test_an_mp4_that_was_cut_off_says_so(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.m4a", "aac", noise(96_137, 2, 48_000), 48_000)
    path.write_bytes(path.read_bytes()[:-8_000])
    with pytest.raises(NotAudioError, match="the file is incomplete: its index is missing"):
        open_song(path)


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_a_bad_input_is_one_sentence(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, make, sentence = BAD_INPUTS[case]
    with pytest.raises(NotAudioError) as raised:
        open_song(make(tmp_path / name))
    assert str(raised.value) == sentence
    assert capfd.readouterr() == ("", "")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["a.wav", "a.flac", "a.mp3", "a.caf", "a.m4a"]), seed=st.integers(0, 2**32))
def test_a_mangled_file_is_decoded_or_refused(tmp_path: Path, name: str, seed: int) -> None:
    """Whatever is broken: the lengths still belong together, or it is one of our sentences."""
    whole = tmp_path / name
    if not whole.exists():
        sound = noise(48_000, 2, 48_000)
        write_av(whole, "aac", sound, 48_000) if name == "a.m4a" else write_sound(whole, sound, 48_000)
    chance = np.random.default_rng(seed)
    data = bytearray(whole.read_bytes())
    for _ in range(chance.integers(1, 8)):
        data[chance.integers(min(len(data), chance.choice([60, 600, len(data)])))] = chance.integers(256)
    broken = tmp_path / f"broken-{name}"
    broken.write_bytes(data)
    with contextlib.suppress(InputError), open_song(broken, longest_s=60) as song:
        heard = sum(block.shape[1] for block in song.blocks())
        assert heard == pytest.approx(max(1, song.samples * 44_100 / song.sample_rate), abs=0.51)


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot be read \(no such file or directory\)$"):
        open_song(tmp_path / "nothing.mp3")
    with pytest.raises(NotAudioError, match=r"^not an audio file$"):
        open_song(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp3")
    with pytest.raises(NotAudioError, match=r"^not an audio file$"):
        open_song(tmp_path / "pipe.mp3")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file whose first byte cannot be read")
def test_a_disk_that_reads_no_more_is_no_mistake_of_ours() -> None:
    with pytest.raises(InputError, match=r"^cannot be read \(input/output error\)$"):
        open_song(Path("/proc/self/mem"))


def test_the_longest_song_counts_decoded_samples(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 4, 1, 44_100), 44_100)
    with pytest.raises(TooLongError, match=r"^longer than 3 seconds$"):
        open_song(path, longest_s=3)
    assert decode(path, longest_s=4)[1] == 44_100 * 4
    # STREAMINFO's length lies at bits 108 … 143 of its body: a header that plays down is found out on the way.
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0]) + (44_100).to_bytes(4, "big")
    path.write_bytes(data)
    with open_song(path, longest_s=120) as song:
        assert song.duration_s == 1.0
    with pytest.raises(TooLongError, match=r"^longer than 2 minutes$"):
        open_song(write_sound(tmp_path / "b.wav", np.zeros((1, 8_000 * 121), np.float32), 8_000), longest_s=120)


def test_measuring_a_song_can_be_ended_between_two_blocks(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(8_000 * 20, 1, 8_000), 8_000)
    blocks = []

    def stop() -> None:
        blocks.append("a block")
        raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        open_song(path, longest_s=10, between_blocks=stop)
    assert blocks == ["a block"]


def test_songs_in_a_row_as_web_radio_sends_them_are_read_to_the_end(tmp_path: Path) -> None:
    one = write_sound(tmp_path / "one.ogg", noise(44_100 * 2, 2, 44_100), 44_100).read_bytes()
    soundfile.write(tmp_path / "other.ogg", noise(44_100, 2, 44_100).T, 44_100)
    (tmp_path / "two.ogg").write_bytes(one + (tmp_path / "other.ogg").read_bytes())
    heard, samples, warnings = decode(tmp_path / "two.ogg")
    assert (abs(samples - 44_100 * 3) <= 256, warnings) == (True, [])
    assert lag(noise(44_100 * 2, 2, 44_100), heard) == 0


def test_a_wav_that_was_never_finished_is_read_to_the_end(tmp_path: Path) -> None:
    sound = noise(44_100 * 2, 2, 44_100)
    data = bytearray(write_sound(tmp_path / "a.wav", sound, 44_100, "PCM_16").read_bytes())
    data[4:8] = bytes(4)
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    (tmp_path / "a.wav").write_bytes(data)
    heard, samples, _ = decode(tmp_path / "a.wav")
    assert samples == 44_100 * 2
    assert error_db(sound, heard) < -70


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_a_clipped_song_is_told_at_every_rate(tmp_path: Path, rate: int) -> None:
    sound = noise(rate * 2, 2, rate)
    clipped = write_sound(tmp_path / "a.wav", np.clip(4 * sound, -1, 1), rate, "PCM_24")
    assert decode(clipped)[2] == ["the input is clipped in places"]
    once = 1.9 * sound
    once[:, 1000:1003] = 1
    assert decode(write_sound(tmp_path / "b.wav", once, rate, "PCM_24"))[2] == []


def test_bytes_after_the_end_of_a_whole_file_are_no_fault(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.rf64", noise(60_001, 2, 44_100).T, 44_100)
    with (tmp_path / "a.rf64").open("ab") as file:
        file.write(bytes(5_000))
    assert decode(tmp_path / "a.rf64")[1:] == (60_001, [])


def ape_tag(cover: bytes) -> bytes:
    item = struct.pack("<II", len(cover), 2) + b"Cover Art (Front)\0" + cover
    head, foot = (struct.pack("<8s4I8x", b"APETAGEX", 2000, len(item) + 32, 1, flags) for flags in (5 << 29, 1 << 31))
    return head + item + foot


@pytest.mark.parametrize(
    "tag",
    [ape_tag(np.random.default_rng(0).bytes(100_000)), b"LYRICSBEGIN" + b"[00:01]la" * 50 + b"LYRICSEND"],
    ids=["ape", "lyrics3"],
)
@pytest.mark.parametrize("has_length", [True, False])
def test_a_tag_behind_an_mp3_is_no_fault(tmp_path: Path, tag: bytes, has_length: bool) -> None:
    path = write_av(tmp_path / "a.mp3", "libmp3lame", noise(44_100 * 8, 2, 44_100), 44_100, has_length=has_length)
    _, samples, warnings = decode(path)
    path.write_bytes(path.read_bytes() + tag)
    _, tagged, still_none = decode(path)
    assert tagged == pytest.approx(samples, abs=1_152)
    assert warnings == still_none == []


def test_an_mp3_in_a_wav_is_whole(tmp_path: Path) -> None:
    write_av(tmp_path / "a.wav", "libmp3lame", noise(44_100 * 3, 2, 44_100), 44_100)
    _, samples, warnings = decode(tmp_path / "a.wav")
    assert samples == pytest.approx(44_100 * 3, abs=2_304)
    assert warnings == []


def test_a_recording_that_begins_late_on_its_clock_is_whole(tmp_path: Path) -> None:
    """As of a live stream that was joined, whose duration counts from zero."""
    write_av(tmp_path / "a.webm", "libopus", noise(48_000 * 3, 2, 48_000), 48_000, start=48_000 * 600)
    _, samples, warnings = decode(tmp_path / "a.webm")
    assert (samples, warnings) == (48_000 * 3, [])


def test_a_picture_that_begins_midway_does_no_harm(tmp_path: Path) -> None:
    """As subtitles and further languages do on a DVD."""
    path = write_av(tmp_path / "a.flv", "aac", noise(48_000 * 8, 2, 48_000), 48_000)
    tag = b"\x09" + (5).to_bytes(3) + (8_000).to_bytes(3) + bytes(4) + b"\x12abcd"
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4))
    _, samples, warnings = decode(path)
    assert samples == pytest.approx(48_000 * 8, abs=4_096)
    assert warnings == []


def test_a_header_that_exaggerates_is_not_believed(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 2, 1, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[22:26] = (2**32 - 1).to_bytes(4, "big")
    path.write_bytes(data)
    with open_song(path, longest_s=3600) as song:
        assert song.duration_s == pytest.approx(2.0, abs=0.1)
        assert sum(block.shape[1] for block in song.blocks()) == song.samples
        assert song.warnings == ["the file ends early; separated as far as it goes"]


def test_a_flac_streamed_without_a_length(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 2, 1, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0]) + bytes(4)
    path.write_bytes(data)
    with open_song(path) as song:
        assert song.duration_s == pytest.approx(2.0, abs=0.03)
    assert decode(path)[1:] == (88_200, [])


def test_decoding_has_a_deadline(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 20, 2, 44_100), 44_100)
    with pytest.raises(TooLongError, match=r"^took longer than 0.001 seconds to decode$"):
        decode(path, deadline_s=0.001)


def test_the_deadline_is_for_the_decoder_alone_from_its_opening_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=0.0)
    clock.monotonic = lambda: clock.now_s

    class Slow:
        sample_rate, speakers, duration_s, title, performer = 8_000, ("FC",), 9.0, "", ""
        warnings: ClassVar[list[str]] = []

        def __init__(self, path: Path) -> None:
            clock.now_s += 2

        def blocks(self) -> Iterator[Sound]:
            for _ in range(9):
                clock.now_s += 1
                yield np.ones((1, 8_000), np.float32)

        def close(self) -> None: ...

    monkeypatch.setattr("spectacles_engine.audio.song.time", clock)
    monkeypatch.setattr("spectacles_engine.audio.song.open_decoder", Slow)
    heard = []
    with open_song(Path("a.wav"), deadline_s=5) as song, pytest.raises(TooLongError, match="5 seconds to decode"):
        for second in song.seconds():
            heard.append(second)
            clock.now_s += 100  # of whoever listens
    assert len(heard) == 3


# -------------------------------------------------------------------------------- nothing that a file names is opened


class Canary:
    """Sees any opening of a local file (inotify) and any call on a loopback HTTP server."""

    def __init__(self, song: Path) -> None:
        self.song = song
        self.calls = 0
        libc = ctypes.CDLL(None)
        self._notify = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._notify, os.fsencode(song), 0x21) >= 0  # IN_ACCESS | IN_OPEN
        canary = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.calls += 1
                self.send_error(404)

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/song.mp3"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def was_touched(self) -> bool:
        try:
            return bool(os.read(self._notify, 4_096))
        except BlockingIOError:
            return self.calls > 0

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        os.close(self._notify)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    if sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    bird = Canary(write_sound(tmp_path / "secret.wav", noise(44_100, 1, 44_100), 44_100))
    yield bird
    bird.close()


def test_the_canary_sings(canary: Canary) -> None:
    assert not canary.was_touched()
    canary.song.read_bytes()
    assert canary.was_touched()


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:6,\n{}\n#EXT-X-ENDLIST\n"
PLAYLISTS = {
    "hls": HLS,
    "m3u": "{}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", ["song.mp3", "list.m3u8", "list.ffconcat"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_not_an_audio_file(tmp_path: Path, canary: Canary, kind: str, name: str) -> None:
    for target in (canary.song.name, str(canary.song), canary.song.as_uri(), canary.url):
        (tmp_path / name).write_text(PLAYLISTS[kind].format(target))
        with pytest.raises(NotAudioError, match=r"^not an audio file$"):
            open_song(tmp_path / name)
    assert not canary.was_touched()


def test_a_movie_that_keeps_its_sound_elsewhere(tmp_path: Path, canary: Canary) -> None:
    path = write_av(tmp_path / "a.mov", "pcm_s16le", noise(44_100, 1, 44_100), 44_100)
    path.write_bytes(with_external_reference(path.read_bytes(), canary.song))
    try:
        with open_song(path) as song:
            assert list(song.blocks())
    except NotAudioError:
        pass
    assert not canary.was_touched()


def with_external_reference(movie: bytes, target: Path) -> bytes:
    """The movie with its data reference turned into a Mac alias of ``target``; its index must come after its data."""
    name = os.fsencode(target.name)
    absolute = os.fsencode(target)
    absolute += b"\0" * (len(absolute) % 2)
    alias = bytes(10) + bytes([3]) + b"abc".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(absolute)) + absolute + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = movie.index(b"url \0\0\0\1", movie.index(b"moov")) - 4
    if at < movie.index(b"moov"):
        raise AssertionError("the index comes first")
    data = bytearray(movie[:at] + entry + movie[at + 12 :])
    for atom in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        size_at = movie.rindex(atom, 0, at) - 4
        size = int.from_bytes(data[size_at : size_at + 4], "big")
        data[size_at : size_at + 4] = (size + len(entry) - 12).to_bytes(4, "big")
    return bytes(data)


# --------------------------------------------------------------------------------------------------- what goes out


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


# --------------------------------------------------------------------------------------------- when it can't be written


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

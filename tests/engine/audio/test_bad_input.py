"""Files that are none, or not whole: one sentence, or as much as there is."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectacles_engine.audio import open_song
from spectacles_engine.errors import CancelledError, InputError, NotAudioError, TooLongError
from tests.engine.audio.sounds import (
    Sound,
    decode,
    error_db,
    lag,
    noise,
    wav_bytes,
    write_av,
    write_silent_video,
    write_sound,
)


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


def test_an_ogg_that_is_cut_in_the_header_of_a_page_ends_early(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.ogg", noise(44_100 * 2, 2, 44_100), 44_100)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS") + 4])
    assert decode(path)[2] == ["the file ends early; separated as far as it goes"]


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


def test_an_mp4_whose_header_plays_down_is_read_to_the_end(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.m4a", "aac", noise(96_137, 2, 48_000), 48_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdhd") + 20
    data[at : at + 4] = struct.pack(">I", 48_000)
    path.write_bytes(data)
    assert decode(path)[1] == pytest.approx(96_137, abs=1_024)


def test_a_flac_goes_on_behind_a_damaged_frame(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 4, 1, 44_100), 44_100)
    whole, _, _ = decode(path)
    data = bytearray(path.read_bytes())
    for at in (0.1, 0.4, 0.7):
        damaged = data.copy()
        damaged[int(len(data) * at)] ^= 0x55
        path.write_bytes(damaged)
        heard, samples, warnings = decode(path)
        assert samples == pytest.approx(44_100 * 4, abs=2 * 4_096)
        np.testing.assert_array_equal(heard[:, -40_000:], whole[:, -40_000:])  # nothing else is left out
        assert warnings == ["parts of the file are damaged and were left out"]
    path.write_bytes(data[: len(data) // 2])
    _, samples, warnings = decode(path)
    assert samples == pytest.approx(44_100 * 2, rel=0.1)
    assert warnings == ["the file ends early; separated as far as it goes"]


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_flac_whose_header_names_other_channels_is_a_sentence(tmp_path: Path, channels: int) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 2, 2, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[20] = data[20] & 0b1111_0001 | (channels - 1) << 1
    path.write_bytes(data)
    with pytest.raises(NotAudioError, match=r"^no sound in this file$"):
        decode(path)


def test_a_flac_streamed_without_a_length(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", noise(44_100 * 2, 1, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0]) + bytes(4)
    path.write_bytes(data)
    with open_song(path) as song:
        assert song.duration_s == pytest.approx(2.0, abs=0.03)
    assert decode(path)[1:] == (88_200, [])
    # of a rate of next to nothing a few samples would become minutes
    soundfile.write(tmp_path / "low.flac", noise(400, 1, 44_100)[0], 100)
    path.write_bytes(data + (tmp_path / "low.flac").read_bytes())
    assert decode(path)[1:] == (88_200, ["parts of the file are damaged and were left out"])


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

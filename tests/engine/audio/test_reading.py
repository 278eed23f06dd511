"""Any file in: rates, speakers, lengths and instants must survive."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from spectacles_engine.audio import open_song
from spectacles_engine.audio.decoder import downmix_weights
from tests.engine.audio.sounds import (
    Sound,
    decode,
    error_db,
    lag,
    noise,
    wav_bytes,
    write_av,
    write_sound,
)


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
    other = write_av(tmp_path / "other.mp3", "libmp3lame", noise(32_000 * 2, 2, 32_000), 32_000).read_bytes()
    (tmp_path / "a.mp3").write_bytes(jingle + song + other + jingle)
    with open_song(tmp_path / "a.mp3") as opened:
        heard = np.concatenate(list(opened.blocks()), axis=1)
        assert (opened.sample_rate, opened.channels, opened.warnings) == (rate, channels, [])
    assert heard.shape[1] == pytest.approx(44_100 * 8, abs=10_000)
    assert all(np.square(second).mean() > 1e-4 for second in np.array_split(heard, 8, axis=1))


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


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (0x00B, "l r -"),  # 2.1
        (0x00F, "l r c -"),
        (0x107, "l r c b"),  # 4.0
        (0x10F, "l r c - b"),
        (0x033, "l r L R"),
        (0x0C3, "l r L R"),  # between centre and corner: by their number
        (0x60F, "l r c - L R"),
        (0x063F0, "l r c - b L R"),  # speakers of which nothing is known: by their number
    ],
)
def test_wav_says_which_speakers_it_has(tmp_path: Path, mask: int, expected: str) -> None:
    half = 0.5 * 2**-0.5
    front = {"l": (0.5, 0), "r": (0, 0.5), "c": (half, half), "-": (0, 0)}
    of = front | {"b": (0.25, 0.25), "L": (half, 0), "R": (0, half)}
    speakers = expected.split()
    path = tmp_path / "a.wav"
    soundfile.write(path, np.eye(len(speakers)).repeat(100, axis=0) * 0.5, 44_100, format="WAVEX")
    content = bytearray(path.read_bytes())
    content[40:44] = mask.to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_allclose(decode(path)[0][:, 50::100].T, [of[speaker] for speaker in speakers], atol=1e-3)


def test_eight_channels_of_a_video_are_read(tmp_path: Path) -> None:
    left = np.concatenate([noise(44_100, 1, 44_100), np.zeros((7, 44_100), np.float32)])
    with av.open(str(tmp_path / "a.m4a"), "w") as output:
        stream = output.add_stream("aac", rate=44_100, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(left.T).reshape(1, -1), "flt", "7.1")
        frame.sample_rate, frame.pts = 44_100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    heard, _, _ = decode(tmp_path / "a.m4a")
    assert heard[0].std() == pytest.approx(left[0].std(), rel=0.1)
    assert np.abs(heard[1]).max() < 0.05


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.wav"])
def test_sound_behind_the_tag_of_a_large_cover_is_read(tmp_path: Path, name: str) -> None:
    sound = noise(44_100, 2, 44_100)
    soundfile.write(tmp_path / name, sound.T, 44_100)
    cover = 1_200_000
    size = bytes((cover >> bits) & 0x7F for bits in (21, 14, 7, 0))
    (tmp_path / name).write_bytes(b"ID3\x04\0\0" + size + bytes(cover) + (tmp_path / name).read_bytes())
    heard, samples, warnings = decode(tmp_path / name)
    assert (samples, lag(sound, heard), warnings) == (44_100, 0, [])


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


@pytest.mark.parametrize(
    "name", ["a.wav", "a.aiff", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.rf64", "a.au", "a.mka", "a.m4a"]
)
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


@pytest.mark.parametrize("name", ["a.mp3", "a.aac"])
def test_a_length_that_is_only_guessed_is_no_promise(tmp_path: Path, name: str) -> None:
    """FFmpeg reckons with the bit rate of the beginning, which is low in silence."""
    path, silence = tmp_path / name, np.zeros((2, 44_100 * 4), np.float32)
    sound = np.concatenate([silence, noise(44_100 * 4, 2, 44_100)], axis=1)
    if name == "a.aac":
        write_av(path, "aac", sound, 44_100)
    else:
        soundfile.write(path, sound.T, 44_100, bitrate_mode="VARIABLE", compression_level=0.2)
        data = path.read_bytes()
        path.write_bytes(data[data.index(b"\xff\xfb", 4) :])  # without the first frame, which tells the length
    _, samples, warnings = decode(path)
    assert (abs(samples - sound.shape[1]) < 5000, warnings) == (True, [])


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


@pytest.mark.parametrize(("codec", "name"), [("aac", "a.m4a"), ("pcm_f32le", "a.mov")])
def test_a_burst_that_no_music_has_is_damage_where_a_lossy_codec_made_it(tmp_path: Path, codec: str, name: str) -> None:
    sound = noise(48_000 * 3, 2, 48_000).copy()
    sound[:, 70_000:70_256] *= 10_000
    heard, _, warnings = decode(write_av(tmp_path / name, codec, sound, 48_000))
    if codec == "aac":
        assert np.abs(heard).max() < 30
        assert warnings == ["parts of the file are damaged and were left out"]
    else:
        assert np.abs(heard).max() > 1000
        assert warnings == []
    before, after = heard[:, :60_000], heard[:, 80_000:140_000]
    assert np.linalg.norm(before) == pytest.approx(np.linalg.norm(after), rel=0.1)


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

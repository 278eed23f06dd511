from __future__ import annotations

import asyncio
import errno
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from spectacles_engine import audio_files
from spectacles_engine.audio import __main__ as program
from spectacles_engine.audio_files import Inspected, encode, inspect
from spectacles_engine.chunking import Array
from spectacles_engine.errors import InputError, NotAudioError, OutputError, TooLongError
from spectacles_engine.messages import FORMATS, Tags
from spectacles_engine.short_child import ChildFailed


def noise(samples: int, channels: int = 2, seed: int = 0) -> Array:
    """(samples, channels) at a tenth of full scale, on the grid of 16 bits."""
    steps = np.random.default_rng(seed).integers(-3276, 3276, (samples, channels))
    return (steps / 32768).astype(np.float32)


async def look(path: Path) -> Inspected:
    return await inspect(path, longest_s=60, deadline_s=60)


def read(path: Path) -> Array:
    samples: Array = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


async def test_what_a_song_is_and_what_its_tags_say(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 48_000, 1) as file:
        file.title, file.artist = "A title", "x" * 1000
        file.write(noise(72_000, 1))
    seen = await look(path)
    assert (seen.seconds, seen.sample_rate, seen.channels) == (1.5, 48_000, 1)
    assert (seen.title, seen.performer) == ("A title", "x" * 200)
    assert seen.warnings == ()
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # three people and two joiners, as one sign
    with av.open(str(tmp_path / "a.mka"), "w") as output:
        output.metadata.update({"title": family, "artist": "Somebody"})  # Matroska writes them in capitals
        stream = output.add_stream("flac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    seen = await look(tmp_path / "a.mka")
    assert (seen.title, seen.performer) == (family, "Somebody")


async def test_a_machine_that_starts_no_process_does_not_say_that_a_song_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    soundfile.write(tmp_path / "a.wav", noise(44_100), 44_100)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    with pytest.raises(OSError, match="Too many open files"):
        await look(tmp_path / "a.wav")
    with pytest.raises(OutputError):
        await encode([tmp_path / "a.wav"], tmp_path / "a.mp3", "mp3")


async def test_equal_sound_has_equal_names_and_other_sound_has_not(tmp_path: Path) -> None:
    sound = noise(100_000)
    soundfile.write(tmp_path / "a.wav", sound, 44_100)
    soundfile.write(tmp_path / "a.flac", sound, 44_100)
    soundfile.write(tmp_path / "rate.wav", sound, 48_000)
    soundfile.write(tmp_path / "mono.wav", sound.reshape(-1), 44_100)
    sound[77_777, 1] += np.float32(1 / 32768)
    soundfile.write(tmp_path / "step.wav", sound, 44_100)
    names = {path.name: (await look(path)).audio for path in tmp_path.iterdir()}
    assert names["a.wav"] == names["a.flac"]
    assert len(set(names.values())) == 4


async def test_the_same_sound_from_both_decoders_has_the_same_name(tmp_path: Path) -> None:
    # more than a second: the decoders part it in different places
    soundfile.write(tmp_path / "a.wav", noise(150_000), 44_100)
    # a FLAC of unknown length is read by FFmpeg
    soundfile.write(tmp_path / "a.flac", noise(150_000), 44_100)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21:26] = bytes([data[21] & 0xF0]) + bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    with av.open(str(tmp_path / "a.mka"), "w") as output:
        stream = output.add_stream("flac", rate=44_100, layout="stereo")
        frame = av.AudioFrame.from_ndarray((noise(150_000) * 32768).astype(np.int16).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = 44_100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert len({(await look(path)).audio for path in tmp_path.iterdir()}) == 1


async def test_bad_songs_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("la la la")
    soundfile.write(tmp_path / "long.wav", noise(3 * 8000), 8000)
    with pytest.raises(NotAudioError, match=r"^not an audio file$"):
        await look(tmp_path / "text.mp3")
    with pytest.raises(InputError, match="no such file"):
        await look(tmp_path / "missing.mp3")
    with pytest.raises(TooLongError, match=r"^longer than 2 seconds$"):
        await inspect(tmp_path / "long.wav", longest_s=2, deadline_s=60)
    with pytest.raises(TooLongError, match=r"^took too long to decode$"):
        await inspect(tmp_path / "long.wav", longest_s=60, deadline_s=0.001)


async def test_a_file_that_kills_its_decoder_is_not_an_audio_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "_PROGRAM", "tests.bad_child")
    with pytest.raises(NotAudioError, match=r"^not an audio file$"):
        await look(tmp_path / "die.mp3")


async def test_a_file_that_takes_for_ever_to_open_is_not_an_audio_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "OPENING_S", 1)
    tags = b"".join(b"TXXX" + struct.pack(">IHB", 20, 0, 0) + b"k%09d" % i + b"\0" + bytes(8) for i in range(300_000))
    size = bytes(len(tags) >> shift & 127 for shift in (21, 14, 7, 0))
    path = tmp_path / "a.mp3"
    soundfile.write(tmp_path / "plain.mp3", noise(44_100), 44_100)
    path.write_bytes(b"ID3\3\0\0" + size + tags + (tmp_path / "plain.mp3").read_bytes())
    with pytest.raises(NotAudioError):
        await look(path)


def test_only_until_a_song_is_open_it_is_timed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(44_100), 44_100)
    program.inspect(str(tmp_path / "a.wav"), longest_s=60, opening_s=50)
    assert signal.alarm(0) == 0  # none is left: it would end the decoding of a long song


async def test_a_decoder_that_does_not_start_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "_PROGRAM", "tests.nothing_of_that_name")
    with pytest.raises(ChildFailed):
        await look(tmp_path / "a.mp3")
    with pytest.raises(OutputError, match=r"^a.mp3 could not be written$"):
        await encode([], tmp_path / "a.mp3", "mp3")


@pytest.mark.parametrize("format", FORMATS)
async def test_an_encoded_stem_has_its_length_its_rate_and_its_tags(tmp_path: Path, format: str) -> None:
    soundfile.write(tmp_path / "drums.flac", noise(66_000), 48_000, "PCM_24")
    out = tmp_path / f"out.{format}"
    tags = Tags("Söng – drums", "Ørchestra", "Söng", 2)
    await encode([tmp_path / "drums.flac"], out, format, tags=tags)
    seen = await look(out)
    assert (seen.seconds, seen.sample_rate, seen.channels) == (66_000 / 48_000, 48_000, 2)
    with av.open(str(out)) as container:
        found = {
            key.lower(): value for key, value in [*container.metadata.items(), *container.streams[0].metadata.items()]
        }
    assert Tags(found["title"], found["artist"], found["album"], int(found["track"])) == tags


@pytest.mark.parametrize("format", FORMATS)
async def test_tags_are_read_back_in_every_writing_and_length(tmp_path: Path, format: str) -> None:
    soundfile.write(tmp_path / "drums.flac", noise(4_000), 44_100, "PCM_24")
    for title, performer in (("Für – “Élise” 🎵", "עברית 日本語"), ("é" * 150 + " – drums", "a=b; c\\d")):
        out = tmp_path / f"out.{format}"
        await encode([tmp_path / "drums.flac"], out, format, tags=Tags(title, performer))
        seen = await look(out)
        assert (seen.title, seen.performer) == (title, performer)


async def test_a_lower_bitrate_makes_a_smaller_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(200_000), 44_100)
    sizes = []
    for kbps in (320, 128):
        await encode([tmp_path / "a.flac"], tmp_path / "a.mp3", "mp3", bitrate_kbps=kbps)
        sizes.append((tmp_path / "a.mp3").stat().st_size)
    assert sizes[1] == pytest.approx(sizes[0] * 128 / 320, rel=0.1)


@pytest.mark.parametrize("channels", [1, 2])
async def test_a_mix_is_the_sum_of_its_stems(tmp_path: Path, channels: int) -> None:
    stems = [tmp_path / f"{k}.flac" for k in range(3)]
    for k, stem in enumerate(stems):
        soundfile.write(stem, noise(100_000, channels, seed=k), 22_050, "PCM_24")
    await encode(stems, tmp_path / "mix.wav", "wav")
    assert soundfile.info(tmp_path / "mix.wav").samplerate == 22_050
    assert np.abs(read(tmp_path / "mix.wav") - sum(read(stem) for stem in stems)).max() < 2**-22


async def test_a_sum_that_would_clip_is_turned_down_as_a_whole(tmp_path: Path) -> None:
    loud = noise(100_000) * 8
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.flac", loud, 44_100, "PCM_24")
    await encode([tmp_path / "a.flac", tmp_path / "b.flac"], tmp_path / "mix.wav", "wav")
    mix = read(tmp_path / "mix.wav")
    assert np.abs(mix).max() == pytest.approx(0.999, abs=1e-3)
    gain = 0.999 / (2 * np.abs(loud).max())
    assert np.abs(mix - 2 * gain * loud).max() < 1e-5


IN_ANY_LOCALE = """
import sys
from pathlib import Path
from spectacles_engine import demo
from spectacles_engine.audio.__main__ import encode
stems, mixture = demo.references(), Path(sys.argv[1], "mixture.wav")
demo.write_mixture(stems, mixture)
assert demo.true_sdr_db(stems, {"vocals": mixture})["vocals"] < 0
encode([str(mixture)] * 2, str(mixture.with_name("mix.mp3")), "mp3", None, {})
"""


def test_files_are_found_below_any_name_in_any_locale(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", IN_ANY_LOCALE, tmp_path / "für"], cwd=root, env=os.environ | locale, check=True
    )
    assert (tmp_path / "für" / "mix.mp3").stat().st_size


async def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(1000), 44_100)
    with pytest.raises(OutputError, match=r"^b.mp3 could not be written"):
        await encode([tmp_path / "a.flac"], tmp_path / "nowhere" / "b.mp3", "mp3")
    with pytest.raises(OutputError, match=r"^b.mp3 could not be written"):
        await encode([tmp_path / "missing.flac"], tmp_path / "b.mp3", "mp3")
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


async def test_an_encoding_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_files, "_PROGRAM", "tests.bad_child")
    encoding = asyncio.create_task(encode([], tmp_path / "hang.mp3", "mp3"))
    while not list(tmp_path.glob("*/hang.mp3")):
        await asyncio.sleep(0.02)
    encoding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await encoding
    assert list(tmp_path.iterdir()) == []


def test_songs_and_stems_are_on_the_disk_before_anything_is_noted_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: dict[int, int] = {}

    def fsync(descriptor: int) -> None:
        about = os.stat(descriptor)
        settled[about.st_ino] = about.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    song, stem = tmp_path / "song.wav", tmp_path / "stem.flac"
    soundfile.write(song, noise(9_000), 44_100)
    program.inspect(str(song), 60.0, 60)
    program.encode([str(song)], str(stem), "flac", None, {})
    assert settled == {path.stat().st_ino: path.stat().st_size for path in (song, stem)}

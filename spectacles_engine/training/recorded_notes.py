"""Instruments of recorded notes, one file a note, that play the parts of made-up songs in place of a soundfont.

A folder holds ``tonejs-instrument-<name>-mp3/<note>.mp3``, as the packages of npm have them (``A2``, ``Fs3``: sharp).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from spectacles_engine.chunking import Array
from spectacles_engine.errors import InputError
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.training.data import SoundFile, read_stereo
from spectacles_engine.training.made_up_notes import SLIDE_S, Note, Part

PROGRAMS: Mapping[str, Sequence[int]] = {
    "piano": (0, 1, 2),
    "xylophone": (12, 13),
    "organ": (16, 17, 18, 19),
    "harmonium": (20, 21, 22),
    "guitar-nylon": (24,),
    "guitar-acoustic": (25,),
    "guitar-electric": (26, 27, 28, 29, 30),
    "contrabass": (32,),
    "bass-electric": (33, 34, 35, 36, 37),
    "violin": (40,),
    "cello": (42,),
    "harp": (46,),
    "trumpet": (56,),
    "trombone": (57,),
    "french-horn": (60,),
    "saxophone": (64, 65, 66, 67),
    "clarinet": (71,),
    "flute": (73,),
}
"""Instrument → the programs of General MIDI that it stands in for; driven guitars (29, 30) want an amplifier."""
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
RELEASE_S = 0.08


class RecordedInstrument:
    """The notes of one instrument; each is played from the recording that lies nearest."""

    def __init__(self, files: Mapping[int, Path]) -> None:
        """``files``: MIDI pitch → its recording."""
        self._files = files

    @cached_property
    def _notes(self) -> dict[int, Array]:
        notes = {pitch: read_stereo(SoundFile(path)).mean(axis=0) for pitch, path in self._files.items()}
        return {pitch: note / max(np.abs(note).max(), 1e-3) for pitch, note in notes.items()}

    def play(self, part: Part, seconds: float, tuning: float) -> Array:
        """A part as (2, samples), both channels the same, ``tuning`` semitones too high."""
        line = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)
        for note in part.notes:
            start = round(note.start_s * SAMPLE_RATE_HZ)
            sound = self._sound(note, tuning)[: len(line) - start]
            line[start : start + len(sound)] += sound
        return np.stack([line, line])

    def _sound(self, note: Note, tuning: float) -> Array:
        pitch = min(self._notes, key=lambda recorded: (abs(recorded - note.pitch), recorded))
        recorded, held_s = self._notes[pitch], note.length_s
        time_s = np.arange(round((held_s + RELEASE_S) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        away = note.slide * np.clip(1 - time_s / SLIDE_S, 0, 1) + note.pitch + tuning - pitch
        at = np.concatenate([[0], np.cumsum(2 ** (away / 12))[:-1]])
        sound = np.interp(at, np.arange(len(recorded)), recorded, right=0)
        released = np.clip(1 - (time_s - held_s) / RELEASE_S, 0, 1)
        heard: Array = (sound * released * (note.velocity / 127) ** 1.5).astype(np.float32)
        return heard


def find_instruments(folder: Path) -> dict[int, RecordedInstrument]:
    """General MIDI's program → the instrument that stands in for it; raises InputError where there is none."""
    found: dict[int, RecordedInstrument] = {}
    for name, programs in PROGRAMS.items():
        paths = sorted(folder.glob(f"tonejs-instrument-{name}-mp3/*.mp3"))
        files = {pitch: path for path in paths if (pitch := _pitch(path.stem)) is not None}
        if files:
            found |= dict.fromkeys(programs, RecordedInstrument(files))
    if not found:
        raise InputError(f"{folder} holds no tonejs-instrument-<name>-mp3/<note>.mp3")
    return found


def _pitch(name: str) -> int | None:
    """MIDI's number of a note such as ``Fs3`` (C4 is 60), None of what is no note."""
    match = re.fullmatch(r"([A-G])(s?)(\d)", name)
    if not match:
        return None
    letter, sharp, octave = match.groups()
    return SEMITONES[letter] + len(sharp) + 12 * (int(octave) + 1)

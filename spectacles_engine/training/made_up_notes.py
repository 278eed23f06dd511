"""Made-up pop and rock songs, as notes: a drum kit, a bass, and two to four players who accompany them.

Who these are and how they play is in ``made_up_players.py``, the tables of patterns in ``made_up_patterns.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from spectacles_engine.training import made_up_patterns as tables
from spectacles_engine.training.made_up_patterns import Lines
from spectacles_engine.training.made_up_players import (
    PLAYERS,
    STEPS,
    Bar,
    Chord,
    Player,
    Playing,
    Stroke,
    drawn,
    play_line,
)

BASS_RANGE = (28, 55)
"""Lowest and highest pitch (MIDI) of a bass."""
BASS_PROGRAMS = (33, 33, 33, 34, 34, 34, 32, 35, 36, 37, 38, 38, 39, 39)
"""General MIDI's basses, those that are common more than once."""
SLIDE_S = 0.1
"""How long a note that slides takes to reach its own pitch."""


@dataclass(frozen=True)
class Note:
    """A sounding note; ``pitch`` and ``velocity`` are MIDI's, ``slide`` is how many semitones away it begins."""

    start_s: float
    length_s: float
    pitch: int
    velocity: int
    slide: float = 0.0


@dataclass(frozen=True)
class Part:
    """What one instrument (General MIDI's ``program``) plays. ``amp``: a driven amplifier; ``pan``: −1 (left) to 1."""

    program: int
    notes: tuple[Note, ...]
    amp: bool = False
    pan: float = 0.0
    level_db: float = 0.0


@dataclass(frozen=True)
class Arrangement:
    """A song: its parts, and how far it is out of tune, in semitones."""

    seconds: float
    detune: float
    drums: Part
    bass: Part
    others: tuple[Part, ...]

    @property
    def kicks_s(self) -> list[float]:
        """When the kick drum is struck."""
        return [note.start_s for note in self.drums.notes if note.pitch in tables.VOICES["kick"]]


@dataclass(frozen=True)
class _Section:
    """How one kind of section (verse, chorus) goes: its chords bar by bar, and the patterns of drums and bass.

    ``energy``: how hard all is struck, 0–1. For each player: ``heard`` or not, and in ``turns`` how and what it plays.
    """

    chords: tuple[tuple[Chord, ...], ...]
    energy: float
    drums: Lines
    bass: str
    heard: tuple[bool, ...]
    turns: tuple[tuple[Playing, str], ...]


def arrange(seed: int, number: int, seconds: float) -> Arrangement:
    """A song of that length; the same one for the same numbers."""
    return _Arranger(np.random.default_rng([seed, number]), seconds).arrangement()


class _Arranger:
    def __init__(self, random: Generator, seconds: float) -> None:
        self._random, self._seconds = random, seconds
        self._groove = drawn(random, tuple(tables.GROOVES.values()))
        self._beat_s = 60 / random.uniform(*self._groove.tempo)
        self._swing = self._groove.swing if random.random() < 0.8 else 0.0
        self._beats = 3 if random.random() < 0.06 else 4
        self._mode = str(random.choice(list(tables.PROGRESSIONS), p=(0.4, 0.3, 0.15, 0.15)))
        self._key = int(random.integers(12))
        self._sevenths = random.random() < 0.25
        self._voices = {voice: drawn(random, pitches) for voice, pitches in tables.VOICES.items()}
        odds = np.array([player.odds for player in PLAYERS])
        picked = random.choice(len(PLAYERS), random.integers(2, 5), replace=False, p=odds / odds.sum())
        self._players = [PLAYERS[i] for i in picked]
        self._lows = [drawn(random, player.lows) for player in self._players]
        low = BASS_RANGE[0] + (0 if random.random() < 0.75 else int(random.integers(1, 8)))
        self._bass_low, self._bass_sustain = low, drawn(random, (0.45, 0.75, 0.95, 1.0))

    def arrangement(self) -> Arrangement:
        kinds = {name: self._section() for name in "ABC"}
        form, bar_s = drawn(self._random, tables.FORMS), self._beats * self._beat_s
        bars_each = 8 if bar_s < 1.6 else 4
        drums, bass = list[Stroke](), list[Stroke]()
        others: list[list[Stroke]] = [[] for _ in self._players]
        for number in range(int(np.ceil(self._seconds / bar_s))):
            section = kinds[form[number // bars_each % len(form)]]
            place = number % bars_each
            chords = section.chords[place % len(section.chords)]
            following = section.chords[(place + 1) % len(section.chords)][0]
            scale = frozenset((self._key + step) % 12 for step in tables.SCALES[self._mode])
            bar = Bar(number * self._beats, self._beats, chords, following, scale)
            struck = self._drums(bar, section, first=place == 0, last=place == bars_each - 1)
            kick = self._voices["kick"]
            kicks = sorted({round((s.start - bar.start) * STEPS) for s in struck if s.pitch == kick})
            bar = replace(bar, kicks=tuple(kicks))
            drums += struck
            bass += self._bass(bar, section)
            for strokes, heard, (play, pattern), low in zip(
                others, section.heard, section.turns, self._lows, strict=True
            ):
                if heard:
                    played = play(bar, pattern, low, self._random)
                    strokes += [replace(s, velocity=s.velocity * section.energy) for s in played]
        return Arrangement(
            self._seconds,
            float(self._random.uniform(-0.3, 0.3)),
            Part(drawn(self._random, tables.KITS), self._performed(drums, 0.004)),
            Part(drawn(self._random, BASS_PROGRAMS), self._performed(bass, 0.006)),
            tuple(
                part
                for player, strokes in zip(self._players, others, strict=True)
                if strokes
                for part in self._parts(player, strokes)
            ),
        )

    def _section(self) -> _Section:
        random = self._random
        lines = dict(drawn(random, self._groove.lines))
        lines |= tables.KEEPERS[drawn(random, self._groove.keepers)]
        if random.random() < 0.35:
            lines |= drawn(random, tables.EXTRAS)
        heard = random.random(len(self._players)) < 0.75
        heard[random.integers(len(heard))] = True
        turns = []
        for player in self._players:
            play, patterns = drawn(random, player.playing)
            turns.append((play, drawn(random, patterns)))
        progression = [self._chord(name) for name in drawn(random, tables.PROGRESSIONS[self._mode]).split()]
        # two chords in each bar, or one: four chords last as long as people are used to
        each = 2 if len(progression) % 2 == 0 and random.random() < 0.25 else 1
        chords = tuple(tuple(progression[i : i + each]) for i in range(0, len(progression), each))
        return _Section(
            chords,
            random.uniform(0.7, 1.0),
            lines,
            drawn(random, tables.BASSES),
            tuple(map(bool, heard)),
            tuple(turns),
        )

    def _chord(self, name: str) -> Chord:
        numeral = name.strip("b7")
        root = (self._key + tables.NUMERALS[numeral.upper()] - name.count("b")) % 12
        third = 4 if numeral.isupper() else 3
        if name.endswith("7"):
            return Chord(root, (0, third, 7, 10))
        own = 11 if third == 4 and numeral != "V" else 10
        return Chord(root, (0, third, 7, own) if self._sevenths else (0, third, 7))

    def _drums(self, bar: Bar, section: _Section, *, first: bool, last: bool) -> list[Stroke]:
        random, steps = self._random, bar.beats * STEPS
        fill: Lines = drawn(random, tables.FILLS) if last and random.random() < 0.85 else {}
        free = steps - drawn(random, (4, 8)) if fill else steps
        hits = [(voice, step, mark) for voice, line in section.drums.items() for step, mark in enumerate(line[:free])]
        hits += [(voice, steps - 8 + i, line[i]) for voice, line in fill.items() for i in range(free - steps + 8, 8)]
        if first:
            hits.append(("crash", 0, "X"))
        return [
            Stroke(bar.start + step / STEPS, 0.4, self._voices[voice], tables.STRENGTH[mark] * section.energy)
            for voice, step, mark in hits
            if mark != "." and (mark != "o" or random.random() < 0.5)
        ]

    def _bass(self, bar: Bar, section: _Section) -> list[Stroke]:
        strokes = []
        for stroke in play_line(bar, section.bass, self._bass_low, self._random):
            slide = drawn(self._random, (-5.0, -2.0, 2.0)) if self._random.random() < 0.04 else 0.0
            pitch = int(np.clip(stroke.pitch, *BASS_RANGE))
            length = stroke.length if stroke.length > 1 else stroke.length * self._bass_sustain
            velocity = stroke.velocity * (0.4 + 0.6 * section.energy)
            strokes.append(replace(stroke, pitch=pitch, length=length, velocity=velocity, slide=slide))
        return strokes

    def _parts(self, player: Player, strokes: Sequence[Stroke]) -> list[Part]:
        random = self._random
        program, amp = drawn(random, player.programs), random.random() < player.amp
        level_db = random.uniform(-8, 0) + (2 if player.melodic else 0)
        if random.random() < player.doubled:
            width = random.uniform(0.6, 1.0)
            return [Part(program, self._performed(strokes, 0.01), amp, pan, level_db) for pan in (-width, width)]
        pan = random.normal(0, 0.15 if player.melodic else 0.4)
        return [Part(program, self._performed(strokes, 0.01), amp, float(np.clip(pan, -1, 1)), level_db)]

    def _performed(self, strokes: Sequence[Stroke], jitter_s: float) -> tuple[Note, ...]:
        """As people play: swung, some milliseconds early or late, no two strokes of the same strength."""
        random, lag_s = self._random, self._random.normal(0, jitter_s)
        # the notes of one chord are late together
        late_s = {start: random.normal(0, jitter_s) for start in sorted({stroke.start for stroke in strokes})}
        notes = []
        for stroke in strokes:
            own_s = stroke.late_s + random.normal(0, jitter_s / 5)
            start_s = self._swung(stroke.start) * self._beat_s + lag_s + late_s[stroke.start] + own_s
            end_s = self._swung(stroke.start + stroke.length) * self._beat_s
            if start_s < self._seconds - 0.05:
                velocity = int(np.clip(stroke.velocity + random.normal(0, 6), 20, 127))
                length_s = max(end_s - start_s, 0.03)
                notes.append(Note(max(start_s, 0.0), length_s, stroke.pitch, velocity, stroke.slide))
        return tuple(sorted(notes, key=lambda note: note.start_s))

    def _swung(self, beat: float) -> float:
        whole, part = divmod(beat, 1)
        middle = self._swing or 0.5
        return whole + float(np.interp(part, [0, 0.5, 1], [0, middle, 1]))

"""Notes of made-up pop and rock songs: a drum kit, a bass, and two to four players who accompany them.

What they can play is in the tables of ``made_up_patterns.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from spectacles_engine.training import made_up_patterns as tables
from spectacles_engine.training.made_up_patterns import Lines

T = TypeVar("T")
STEPS = 4
"""Sixteenths in a beat."""
BASS_RANGE = (28, 55)
SLIDE_S = 0.1
"""Until a note that slides is where it is heading."""


@dataclass(frozen=True)
class Note:
    """A sounding note; ``slide`` is how many semitones away it begins, see ``SLIDE_S``."""

    start_s: float
    length_s: float
    pitch: int
    velocity: int
    slide: float = 0.0


@dataclass(frozen=True)
class Part:
    """What one instrument plays; ``amp``: through a driven amplifier. ``pan`` goes from −1 (left) to 1."""

    program: int
    notes: tuple[Note, ...]
    amp: bool = False
    pan: float = 0.0
    level_db: float = 0.0


@dataclass(frozen=True)
class Arrangement:
    """A song: its parts, when its sections begin, and how far it is out of tune, in semitones."""

    seconds: float
    sections_s: tuple[float, ...]
    detune: float
    drums: Part
    bass: Part
    others: tuple[Part, ...]

    @property
    def kicks_s(self) -> list[float]:
        """When the kick drum is struck."""
        return [note.start_s for note in self.drums.notes if note.pitch in tables.VOICES["kick"]]


@dataclass(frozen=True)
class Chord:
    """A root (0–11, C is 0) and the semitones above it."""

    root: int
    tones: tuple[int, ...]

    def degree(self, name: str) -> int:
        """Semitones above the root of a degree named as in the patterns."""
        third = 4 if 4 in self.tones else 3
        return {"R": 0, "3": third, "4": 5, "b": 6, "5": 7, "7": 10, "8": 12}[name]

    def near(self, low: int) -> list[int]:
        """The chord's pitches in the octave from ``low`` on."""
        return sorted(low + (self.root + tone - low) % 12 for tone in self.tones)


@dataclass(frozen=True)
class Bar:
    """A bar of a song: where it is, in beats, what is harmony there, and which chord comes after it."""

    start: float
    beats: int
    chords: tuple[Chord, ...]
    following: Chord
    scale: frozenset[int]
    kicks: tuple[int, ...] = ()

    def chord(self, step: int) -> Chord:
        """What sounds at a sixteenth."""
        return self.chords[step * len(self.chords) // (self.beats * STEPS)]

    def read(self, pattern: str) -> list[tuple[int, int, str]]:
        """(sixteenth, length in sixteenths, character) of what is struck; a held chord is struck anew as it changes."""
        pattern, found = pattern[: self.beats * STEPS], list[tuple[int, int, str]]()
        for step, mark in enumerate(pattern):
            if mark == "-" and found and self.chord(step) is self.chord(step - 1):
                found[-1] = (found[-1][0], step + 1 - found[-1][0], found[-1][2])
            elif mark not in "-.":
                found.append((step, 1, mark))
            elif mark == "-" and found:
                found.append((step, 1, found[-1][2]))
        return found


@dataclass(frozen=True)
class Stroke:
    """A written note: start and length in beats, and how much later it comes, in seconds (strummed strings)."""

    start: float
    length: float
    pitch: int
    velocity: float
    late_s: float = 0.0
    slide: float = 0.0


def _drawn(random: Generator, options: Sequence[T]) -> T:
    return options[int(random.integers(len(options)))]


Playing = Callable[[Bar, str, int, Generator], list[Stroke]]
"""(bar, pattern, lowest pitch, random) → strokes."""


def _chords(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    return [
        Stroke(bar.start + step / STEPS, length / STEPS, pitch, 85)
        for step, length, _ in bar.read(pattern)
        for pitch in bar.chord(step).near(low)
    ]


def _two_hands(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    strokes = _chords(bar, pattern, low, random)
    for step, length, _ in bar.read(_drawn(random, ("X-------X-------", "X---------------", "X-----X-X---X---"))):
        root = 36 + bar.chord(step).root
        strokes += [Stroke(bar.start + step / STEPS, length / STEPS, root + octave, 80) for octave in (0, 12)]
    return strokes


def _arpeggio(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    strokes, every = [], 1 + len(pattern) % 8 // 4  # four in a turn go in eighths, eight in sixteenths
    for i, step in enumerate(range(0, bar.beats * STEPS, every)):
        pitches = bar.chord(step).near(low)
        pitches = [*pitches, pitches[0] + 12][:4]
        pitch = pitches[int(pattern[i % len(pattern)]) % len(pitches)]
        strokes.append(Stroke(bar.start + step / STEPS, 2.5 * every / STEPS, pitch, 92 if i % 4 == 0 else 78))
    return strokes


def _strum(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    strokes, spread_s = [], random.uniform(0.008, 0.025) / 5
    for step, length, mark in bar.read(pattern):
        chord = bar.chord(step)
        root = 40 + (chord.root - 40) % 12
        strings = [root + s for s in (0, 7, 12, 12 + chord.degree("3"), 19, 24)][: 6 if root < 46 else 5]
        order = strings[: -4 if mark == "U" else None : -1] if mark == "U" else strings
        for i, pitch in enumerate(order):
            length_beats, velocity = (0.1, 55) if mark == "m" else (length / STEPS, 95 if mark == "D" else 75)
            strokes.append(Stroke(bar.start + step / STEPS, length_beats, pitch, velocity, i * spread_s))
    return strokes


def _power(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    return [
        Stroke(bar.start + step / STEPS, (0.6 if mark == "m" else length) / STEPS, pitch, 80 if mark == "m" else 105)
        for step, length, mark in bar.read(pattern)
        for root in [low + (bar.chord(step).root - low) % 12]
        for pitch in (root, root + 7, root + 12)
    ]


def _line(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    """A single voice of the chords' degrees: riffs and basses."""
    if pattern == "kick":
        steps = [int(step) for step in bar.kicks] or [0]
        ends = [*steps[1:], bar.beats * STEPS]
        read = [(step, end - step, "R") for step, end in zip(steps, ends, strict=True)]
    else:
        read = bar.read(pattern)
    strokes = []
    for step, length, mark in read:
        chord, target = bar.chord(step), bar.following
        pitch = low + ((target if mark == "a" else chord).root - low) % 12
        pitch += _drawn(random, (-1, 1)) if mark == "a" else chord.degree(mark)
        strokes.append(Stroke(bar.start + step / STEPS, length / STEPS, pitch, 100 if step % STEPS == 0 else 88))
    return strokes


def _melody(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    """A walk along the scale, to a note of the chord on the beat."""
    ladder = [pitch for pitch in range(low, low + 20) if pitch % 12 in bar.scale]
    at, strokes = int(random.integers(3, len(ladder) - 3)), []
    for step, length, _ in bar.read(pattern):
        at = int(np.clip(at + _drawn(random, (-2, -1, -1, 0, 1, 1, 2, 3)), 0, len(ladder) - 1))
        pitch, chord = ladder[at], bar.chord(step)
        if step % STEPS == 0:
            tones = [p for p in range(low, low + 20) if (p - chord.root) % 12 in chord.tones]
            pitch = min(tones, key=lambda tone: abs(tone - pitch))
        slide = _drawn(random, (-2.0, -1.0, 1.0)) if random.random() < 0.1 else 0.0
        strokes.append(Stroke(bar.start + step / STEPS, length / STEPS, pitch, random.uniform(80, 110), slide=slide))
    return strokes


@dataclass(frozen=True)
class Player:
    """A kind of instrument: General MIDI programs, ways to play and their patterns, from which pitch on, how common."""

    programs: tuple[int, ...]
    playing: tuple[tuple[Playing, tuple[str, ...]], ...]
    lows: tuple[int, ...]
    odds: float
    amp: float = 0.0
    doubled: float = 0.0
    melodic: bool = False


PLAYERS = (
    Player((24, 25, 25), ((_strum, tables.STRUMS),), (40,), 2.0, doubled=0.4),
    Player((24, 25), ((_arpeggio, tables.ORDERS),), (48, 52), 0.7),
    Player(
        (26, 27, 28),
        ((_arpeggio, tables.ORDERS), (_chords, tables.COMPING), (_strum, tables.STRUMS)),
        (50, 55, 59),
        1.8,
        doubled=0.15,
    ),
    Player((29, 30, 30, 30), ((_power, tables.CHUGS),), (36, 38, 40, 40), 2.0, doubled=0.6),
    Player(
        (25, 26, 27),
        ((_power, tables.CHUGS), (_line, tables.RIFFS), (_strum, tables.STRUMS)),
        (38, 40, 40),
        2.0,
        amp=1.0,
        doubled=0.5,
    ),
    Player((27, 29, 30), ((_line, tables.RIFFS),), (40, 45), 0.8, amp=0.5, doubled=0.3),
    Player((0, 1, 2, 3, 4, 5), ((_two_hands, tables.COMPING),), (53, 58), 2.2),
    Player((0, 0, 1, 2, 4, 5), ((_arpeggio, tables.ORDERS), (_chords, tables.COMPING)), (48, 57, 60), 1.8),
    Player((6, 7), ((_chords, tables.COMPING), (_line, tables.RIFFS)), (48, 57), 0.4),
    Player((16, 17, 18, 19, 20), ((_chords, tables.HELD), (_chords, tables.COMPING)), (48, 55, 60), 1.6),
    Player((21, 22, 23), ((_chords, tables.HELD), (_melody, tables.MELODIES)), (57, 60), 0.5),
    Player(
        (48, 49, 50, 51),
        ((_chords, tables.HELD), (_chords, tables.HELD), (_melody, tables.MELODIES)),
        (43, 55, 60, 67),
        1.8,
    ),
    Player((44, 45), ((_arpeggio, tables.ORDERS), (_chords, tables.HELD)), (55, 60), 0.4),
    Player((61, 62, 63), ((_chords, tables.STABS), (_chords, tables.HELD)), (53, 58, 62), 1.5),
    Player((88, 89, 90, 92, 93, 94, 95), ((_chords, tables.HELD),), (43, 50, 57), 1.2),
    Player((80, 81, 84, 86, 87, 90), ((_arpeggio, tables.ORDERS), (_chords, tables.COMPING)), (50, 60, 65), 1.2),
    Player((56, 64, 65, 66, 71, 73), ((_melody, tables.MELODIES),), (55, 60), 1.6, melodic=True),
    Player((40, 42, 60, 68, 110), ((_melody, tables.MELODIES),), (52, 57), 1.0, melodic=True),
    Player((26, 27, 29, 30), ((_melody, tables.MELODIES),), (55, 60), 1.2, amp=0.4, melodic=True),
    Player((80, 81, 82, 84), ((_melody, tables.MELODIES),), (57, 62), 0.8, melodic=True),
    Player((8, 9, 10, 11, 12, 13), ((_arpeggio, tables.ORDERS), (_melody, tables.MELODIES)), (60, 65, 72), 0.7),
    Player((15, 46, 104, 105, 107, 108), ((_arpeggio, tables.ORDERS),), (52, 60), 0.3),
)
BASS_PROGRAMS = (33, 33, 33, 34, 34, 34, 32, 35, 36, 37, 38, 38, 39, 39)


@dataclass(frozen=True)
class _Section:
    """How one kind of section goes: its harmony, its lines, and whether each player is heard."""

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
        self._groove = _drawn(random, tuple(tables.GROOVES.values()))
        self._beat_s = 60 / random.uniform(*self._groove.tempo)
        self._swing = self._groove.swing if random.random() < 0.8 else 0.0
        self._beats = 3 if random.random() < 0.06 else 4
        self._mode = str(random.choice(list(tables.PROGRESSIONS), p=(0.4, 0.3, 0.15, 0.15)))
        self._key = int(random.integers(12))
        self._sevenths = random.random() < 0.25
        self._voices = {voice: _drawn(random, pitches) for voice, pitches in tables.VOICES.items()}
        odds = np.array([player.odds for player in PLAYERS])
        picked = random.choice(len(PLAYERS), random.integers(2, 5), replace=False, p=odds / odds.sum())
        self._players = [PLAYERS[i] for i in picked]
        self._lows = [_drawn(random, player.lows) for player in self._players]
        low = BASS_RANGE[0] + (0 if random.random() < 0.75 else int(random.integers(1, 8)))
        self._bass_low, self._bass_sustain = low, _drawn(random, (0.45, 0.75, 0.95, 1.0))

    def arrangement(self) -> Arrangement:
        kinds = {name: self._section() for name in "ABC"}
        form, bar_s = _drawn(self._random, tables.FORMS), self._beats * self._beat_s
        bars_each = 8 if bar_s < 1.6 else 4
        drums, bass, starts_s = list[Stroke](), list[Stroke](), list[float]()
        others: list[list[Stroke]] = [[] for _ in self._players]
        for number in range(int(np.ceil(self._seconds / bar_s))):
            section = kinds[form[number // bars_each % len(form)]]
            place = number % bars_each
            chords = section.chords[place % len(section.chords)]
            following = section.chords[(place + 1) % len(section.chords)][0]
            scale = frozenset((self._key + step) % 12 for step in tables.SCALES[self._mode])
            bar = Bar(number * self._beats, self._beats, chords, following, scale)
            if place == 0:
                starts_s.append(number * bar_s)
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
            tuple(starts_s),
            float(self._random.uniform(-0.3, 0.3)),
            Part(_drawn(self._random, tables.KITS), self._performed(drums, 0.004)),
            Part(_drawn(self._random, BASS_PROGRAMS), self._performed(bass, 0.006)),
            tuple(
                part
                for player, strokes in zip(self._players, others, strict=True)
                if strokes
                for part in self._parts(player, strokes)
            ),
        )

    def _section(self) -> _Section:
        random = self._random
        lines = dict(_drawn(random, self._groove.lines))
        lines |= tables.KEEPERS[_drawn(random, self._groove.keepers)]
        if random.random() < 0.35:
            lines |= _drawn(random, tables.EXTRAS)
        heard = random.random(len(self._players)) < 0.75
        heard[random.integers(len(heard))] = True
        turns = []
        for player in self._players:
            play, patterns = _drawn(random, player.playing)
            turns.append((play, _drawn(random, patterns)))
        progression = [self._chord(name) for name in _drawn(random, tables.PROGRESSIONS[self._mode]).split()]
        # two chords in each bar, or one: four chords last as long as people are used to
        each = 2 if len(progression) % 2 == 0 and random.random() < 0.25 else 1
        chords = tuple(tuple(progression[i : i + each]) for i in range(0, len(progression), each))
        return _Section(
            chords,
            random.uniform(0.7, 1.0),
            lines,
            _drawn(random, tables.BASSES),
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
        fill: Lines = _drawn(random, tables.FILLS) if last and random.random() < 0.85 else {}
        free = steps - _drawn(random, (4, 8)) if fill else steps
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
        for stroke in _line(bar, section.bass, self._bass_low, self._random):
            slide = _drawn(self._random, (-5.0, -2.0, 2.0)) if self._random.random() < 0.04 else 0.0
            pitch = int(np.clip(stroke.pitch, *BASS_RANGE))
            length = stroke.length if stroke.length > 1 else stroke.length * self._bass_sustain
            velocity = stroke.velocity * (0.4 + 0.6 * section.energy)
            strokes.append(replace(stroke, pitch=pitch, length=length, velocity=velocity, slide=slide))
        return strokes

    def _parts(self, player: Player, strokes: Sequence[Stroke]) -> list[Part]:
        random = self._random
        program, amp = _drawn(random, player.programs), random.random() < player.amp
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

"""Who accompanies a made-up song, and how each of them plays a bar: chords, arpeggios, strums, riffs, melodies.

What they can play is in the tables of ``made_up_patterns.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from spectacles_engine.training import made_up_patterns as tables

T = TypeVar("T")
STEPS = 4
"""Sixteenths in a beat."""


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
    """A bar of a song: where it is, in beats, what is harmony there, and which chord comes after it.

    ``scale``: pitches of any octave (0–11); ``kicks``: the sixteenths on which the kick drum is struck.
    """

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


def drawn(random: Generator, options: Sequence[T]) -> T:
    """One of the options, all alike."""
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
    for step, length, _ in bar.read(drawn(random, ("X-------X-------", "X---------------", "X-----X-X---X---"))):
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
        order = strings[:-4:-1] if mark == "U" else strings  # up: the three highest strings, from the highest on
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


def play_line(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    """A single voice of the chords' degrees: riffs and basses."""
    if pattern == "kick":
        steps = bar.kicks or (0,)
        ends = [*steps[1:], bar.beats * STEPS]
        read = [(step, end - step, "R") for step, end in zip(steps, ends, strict=True)]
    else:
        read = bar.read(pattern)
    strokes = []
    for step, length, mark in read:
        chord, target = bar.chord(step), bar.following
        pitch = low + ((target if mark == "a" else chord).root - low) % 12
        pitch += drawn(random, (-1, 1)) if mark == "a" else chord.degree(mark)
        strokes.append(Stroke(bar.start + step / STEPS, length / STEPS, pitch, 100 if step % STEPS == 0 else 88))
    return strokes


def _melody(bar: Bar, pattern: str, low: int, random: Generator) -> list[Stroke]:
    """A walk along the scale, to a note of the chord on the beat."""
    ladder = [pitch for pitch in range(low, low + 20) if pitch % 12 in bar.scale]
    at, strokes = int(random.integers(3, len(ladder) - 3)), []
    for step, length, _ in bar.read(pattern):
        at = int(np.clip(at + drawn(random, (-2, -1, -1, 0, 1, 1, 2, 3)), 0, len(ladder) - 1))
        pitch, chord = ladder[at], bar.chord(step)
        if step % STEPS == 0:
            tones = [p for p in range(low, low + 20) if (p - chord.root) % 12 in chord.tones]
            pitch = min(tones, key=lambda tone: abs(tone - pitch))
        slide = drawn(random, (-2.0, -1.0, 1.0)) if random.random() < 0.1 else 0.0
        strokes.append(Stroke(bar.start + step / STEPS, length / STEPS, pitch, random.uniform(80, 110), slide=slide))
    return strokes


@dataclass(frozen=True)
class Player:
    """A kind of instrument: General MIDI programs, ways to play and their patterns, and from which pitches on.

    ``odds``: how common it is, against the others. ``amp``, ``doubled``: how often (0–1) with a driven amplifier, and
    recorded twice, left and right. ``melodic``: it leads, a little louder and in the middle.
    """

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
        ((_power, tables.CHUGS), (play_line, tables.RIFFS), (_strum, tables.STRUMS)),
        (38, 40, 40),
        2.0,
        amp=1.0,
        doubled=0.5,
    ),
    Player((27, 29, 30), ((play_line, tables.RIFFS),), (40, 45), 0.8, amp=0.5, doubled=0.3),
    Player((0, 1, 2, 3, 4, 5), ((_two_hands, tables.COMPING),), (53, 58), 2.2),
    Player((0, 0, 1, 2, 4, 5), ((_arpeggio, tables.ORDERS), (_chords, tables.COMPING)), (48, 57, 60), 1.8),
    Player((6, 7), ((_chords, tables.COMPING), (play_line, tables.RIFFS)), (48, 57), 0.4),
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

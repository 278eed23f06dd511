"""What made-up songs are made of: patterns of drums, basses and accompaniments, progressions of chords, scales, forms.

A pattern has one character a sixteenth: ``-`` holds, ``.`` rests, anything else strikes. A bar of three beats plays the
first twelve of sixteen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Lines = Mapping[str, str]
"""Voice of the drum kit → what it strikes: loudly ``X``, ``x``, softly ``g``, or ``o``, every other time."""

VOICES: Mapping[str, tuple[int, ...]] = {
    "kick": (36, 35), "snare": (38, 40), "stick": (37,), "clap": (39,), "hat": (42,), "pedal": (44,), "open": (46,),
    "ride": (51, 59), "bell": (53,), "crash": (49, 57), "china": (52,), "floor": (41, 43), "mid": (45, 47),
    "high": (48, 50), "tambourine": (54,), "cowbell": (56,), "shaker": (70, 69), "conga": (63, 64), "slap": (62,),
    "bongo": (60, 61), "timbale": (65, 66), "claves": (75, 76),
}  # fmt: skip
"""Voice → the notes of General MIDI's percussion, of which a song takes one."""
KITS = (0, 0, 0, 8, 8, 16, 16, 24, 25, 32, 40, 48)
STRENGTH = {"X": 112, "x": 88, "o": 80, "g": 45}


@dataclass(frozen=True)
class Groove:
    """What kick and snare play, the time-keepers that go with it, beats a minute, and the swing that it may have."""

    lines: tuple[Lines, ...]
    keepers: tuple[str, ...]
    tempo: tuple[float, float]
    swing: float = 0.0


BACKBEAT = "....X.......X..."
GROOVES: Mapping[str, Groove] = {
    "rock": Groove(
        (
            {"kick": "X.......X.x.....", "snare": "....X.......X..g"},
            {"kick": "X.....x.X.......", "snare": BACKBEAT},
            {"kick": "X..x....X.x....o", "snare": "....X..g.g..X..."},
            {"kick": "X.x.....x.x...o.", "snare": BACKBEAT},
        ),
        ("eighths", "loose", "ride", "crashes", "quarters", "bell"),
        (90, 170),
    ),
    "four": Groove(
        ({"kick": "X...X...X...X...", "snare": BACKBEAT}, {"kick": "X...X...X...X.o.", "clap": BACKBEAT}),
        ("offbeat", "sixteenths", "eighths", "offbeat"),
        (100, 140),
    ),
    "disco": Groove(({"kick": "X...X...X...X...", "snare": "....X..g....X.g."},), ("disco", "offbeat"), (105, 130)),
    "shuffle": Groove(
        ({"kick": "X.....x.X.....x.", "snare": BACKBEAT}, {"kick": "X...X...X...X...", "snare": "..g.X.g...g.X.g."}),
        ("eighths", "swing", "loose"),
        (80, 150),
        0.66,
    ),
    "half-time": Groove(
        (
            {"kick": "X.....x.........", "snare": "........X......."},
            {"kick": "X..x......x...x.", "snare": "........X.....g."},
        ),
        ("eighths", "sixteenths", "trap", "crashes", "ride"),
        (110, 180),
        0.58,
    ),
    "ballad": Groove(
        ({"kick": "X.......X.x.....", "stick": BACKBEAT}, {"kick": "X......xX.......", "snare": BACKBEAT}),
        ("eighths", "quarters", "ride", "sixteenths"),
        (60, 95),
    ),
    "train": Groove(({"kick": "X...X...X...X...", "snare": "g.gXgggXg.gXgggX"},), ("quarters", "none"), (95, 125)),
    "double kick": Groove(
        ({"kick": "XxxxXxxxXxxxXxxx", "snare": BACKBEAT}, {"kick": "X.xxX.xxX.xxX.xx", "snare": BACKBEAT}),
        ("crashes", "quarters", "bell", "china"),
        (100, 165),
    ),
    "hip-hop": Groove(
        ({"kick": "X..x..x...x.....", "snare": BACKBEAT}, {"kick": "X......x..xx....", "clap": BACKBEAT}),
        ("trap", "eighths", "sixteenths"),
        (65, 100),
        0.6,
    ),
    "breakbeat": Groove(
        (
            {"kick": "X.X.......XX....", "snare": "....X..g.g..X..g"},
            {"kick": "X.X......oX.....", "snare": "....X..g.g....X."},
        ),
        ("eighths", "ride", "sixteenths"),
        (85, 170),
        0.56,
    ),
    "latin": Groove(
        (
            {"kick": "X..xX..xX..xX..x", "stick": "X..X..X...X.X..."},
            {"kick": "X.....x.X.....x.", "timbale": "..x.X...x.x.X.xx"},
        ),
        ("cowbell", "sixteenths", "ride"),
        (90, 130),
    ),
    "motown": Groove(({"kick": "X.....x.X.x...x.", "snare": "X...X...X...X..."},), ("quarters", "eighths"), (95, 135)),
    "punk": Groove(
        ({"kick": "X...X.x.X...X.x.", "snare": "..X...X...X...X."},), ("eighths", "crashes", "loose"), (120, 180)
    ),
    "toms": Groove(
        ({"kick": "X...X...X...X...", "snare": BACKBEAT, "mid": "...x..x....x..x."},), ("floor",), (85, 140)
    ),
}
KEEPERS: Mapping[str, Lines] = {
    "eighths": {"hat": "X.x.X.x.X.x.X.x."},
    "quarters": {"hat": "X...X...X...X..."},
    "sixteenths": {"hat": "XgxgXgxgXgxgXgxg"},
    "offbeat": {"hat": "x.......x.......", "open": "..X...X...X...X."},
    "disco": {"hat": "Xx.xXx.xXx.xXx.x", "open": "..X...X...X...X."},
    "loose": {"open": "X.x.X.x.X.x.X.x."},
    "ride": {"ride": "X.x.X.x.X.x.X.x.", "pedal": "....x.......x..."},
    "swing": {"ride": "X...X.x.X...X.x.", "pedal": "....x.......x..."},
    "bell": {"bell": "X...X...X...X...", "ride": "..x...x...x...x."},
    "floor": {"floor": "X.x.X.x.X.x.X.x."},
    "crashes": {"crash": "X...x...X...x..."},
    "china": {"china": "X...x...X...x..."},
    "trap": {"hat": "x.xxx.x.x.xxx.oo"},
    "cowbell": {"cowbell": "X...x.x.X...x.x.", "hat": "..x...x...x...x."},
    "none": {},
}
EXTRAS: tuple[Lines, ...] = (
    {"tambourine": "..x...x...x...x."},
    {"tambourine": "gxgxgXgxgxgxgXgx"},
    {"tambourine": BACKBEAT},
    {"shaker": "xgXgxgXgxgXgxgXg"},
    {"shaker": "..x...x...x...x."},
    {"clap": BACKBEAT},
    {"conga": "....x.......x.xx", "slap": "..x...x...x....."},
    {"bongo": "X.xxX.x.X.xxX.x."},
    {"cowbell": "X...X...X...X..."},
    {"claves": "x..x..x...x.x..."},
)
FILLS: tuple[Lines, ...] = (
    {"snare": "xxxxXxXX"},
    {"high": "xx......", "mid": "..xx....", "floor": "....xxXX", "kick": "x...x..."},
    {"snare": "X.xx....", "high": "....xx..", "floor": "......XX"},
    {"snare": "....X.XX", "kick": "x.x....."},
    {"snare": "X..X..X.", "kick": ".xx.xx.x"},
    {"floor": "X.X.X.XX", "snare": "X.X.X.XX"},
    {"high": "x..x....", "mid": "..x..x..", "floor": "....x.XX"},
    {"open": "X.......", "snare": "....gxxX"},
)
BASSES: tuple[str, ...] = (
    "R-R-R-R-R-R-R-R-", "R-R-R-R-R-R-R-R-", "R-------R-------", "R---------------", "R---------------",
    "R-8-R-8-R-8-R-8-", "R---....5---....", "R---3---5---a---", "R---5---8---a---", "R--R--R-..R-5-8-",
    "R--R--5-R-------", "R-....R-..R-..a-", "..R-..R-..R-..R-", "R---R---R---R---", "R.RRR.RRR.RRR.RR",
    "R-----R-8-----7-", "R--8--R.7-5-R-a-", "R-------------a-", "R-----R-R-------", "kick",
    "kick", "kick",
)  # fmt: skip
"""Degrees of the chord, ``a`` a semitone from the next root, ``8`` the octave; or with the kick drum."""
RIFFS = (
    "R-R-3-R-4-b-4-3-", "R-..R-3-..4-3-R-", "R---3---4--3--R-", "R-8-7-5-4-3-R---", "R.RR3.RR5.RR4-3-",
    "R--R--7-R--R--5-",
)  # fmt: skip
CHUGS = (
    "X---------------", "m.m.m.m.m.m.X-X-", "m.mmm.mmm.mmX---", "X--X--X-X--X--X-", "X-X-X-X-X-X-X-X-",
    "X-------X-------", "X---..X-..X-X---", "m.m.X---m.m.X---", "mmmmmmmmmmmmX---",
)  # fmt: skip
STRUMS = (
    "D---D-U---U-D-U-", "D---D-U-D---D-U-", "D---D---D---D---", "D-DUD-DUD-DUD-DU", "D---------U-D-U-",
    "D-----D-U---D-U-", "D-D-D-D-D-D-D-D-", "..U...U...U...U.", "D--mD-U--mU-D--m",
)  # fmt: skip
COMPING = (
    "X---X---X---X---", "X-----X---X-----", "X-------X-------", "..X...X...X...X.", "X-X-X-X-X-X-X-X-",
    "X--X--X-....X-X-", "....X.......X...", "X--X---.X--X---.", "X---------------",
)  # fmt: skip
STABS = ("X.........X.....", "......X.........", "X--.......X.X...", "..........X.X.X-", "X.X...X-----....")
HELD = ("X---------------",)
ORDERS = ("0123", "0321", "01232123", "02132313", "0212", "00120012", "3210", "0101")
MELODIES = (
    "X-X-X---..X-X---", "X-----X-X-------", "..X-X-X-X---X---", "X---X---X-X-X---", "....X-X-X--X----",
    "X--X--X-X-------", "X---------------", "..XXX-X-..XXX---",
)  # fmt: skip
PROGRESSIONS: Mapping[str, tuple[str, ...]] = {
    "major": (
        "I V vi IV", "vi IV I V", "I vi IV V", "I IV", "I IV V IV", "I V IV IV", "I iii IV V", "ii V I vi", "I ii IV V",
        "I7 I7 IV7 I7 V7 IV7 I7 V7", "I III7 vi IV", "IV I V vi", "I IV iv I",
    ),
    "minor": (
        "i bVI bIII bVII", "i bVII bVI bVII", "i bVII bVI V7", "i iv", "i iv bVI V7", "i bIII bVII iv", "i v bVI iv",
        "i i bIII iv", "i7 iv7 i7 v7",
    ),
    "mixolydian": ("I bVII IV I", "I bVII", "I I bVII IV", "I bIII IV I", "I7 IV7"),
    "dorian": ("i IV", "i7 IV7", "i bIII IV i", "i bVII IV IV", "i ii bIII ii"),
}  # fmt: skip
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
}  # fmt: skip
NUMERALS = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
FORMS = ("ABAB", "ABAC", "AABC", "ABCB", "ABBC")

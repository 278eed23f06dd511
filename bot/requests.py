"""What a person typed → what they want. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from bot import refusals
from bot.jobs import Refused, Wish
from spectacles_engine.messages import FORMATS, MIXES, STEMS, stems_meant

COMMANDS = {
    "stems": "All four stems of the song that you reply to, or some: /stems vocals drums",
    **{stem: f"Only the {stem}" for stem in STEMS[:3]},
    "other": "Only what is left: guitars, keys, strings",
    "karaoke": "Everything but the vocals",
    "queue": "Where your songs stand",
    "cancel": "Cancel your songs that are waiting or being separated",
    "forget": "Delete everything that is stored about you",
    "privacy": "What is kept, and for how long",
    "help": "How it works",
}
"""A chat's menu: name → description."""
WISHES = ("stems", *STEMS, "karaoke")
"""The commands that ask for something of a song."""

_SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("vocal", "voice", "voices", "singing", "acapella", "acappella", "gesang", "vokal"), "vocals"),
    **dict.fromkeys(("stimme", "stimmen", "singstimme"), "vocals"),
    **dict.fromkeys(("drum", "percussion", "schlagzeug"), "drums"),
    **dict.fromkeys(("bassline", "basslinie", "bassspur"), "bass"),
    **dict.fromkeys(("others", "rest", "sonstiges"), "other"),
    **dict.fromkeys(("instrumental", "no-vocals"), "karaoke"),
    "wave": "wav",
    **dict.fromkeys(("aac", "mp4"), "m4a"),
}
_ALL = ("all", "everything", "alle", "alles")
_INSTEAD = ("only", "just", "but", "nur", "sondern")
_FILLERS = (
    *_INSTEAD,
    *("stem", "stems", "track", "tracks", "part", "line", "version", "format", "four", "4"),
    *("and", "as", "in", "the", "a", "an", "of", "from", "this", "please", "pls", "thanks", "thank", "you"),
    *("spur", "spuren", "vier", "und", "als", "im", "von", "der", "die", "das", "den", "dem"),
    *("bitte", "danke", "vielen", "dank"),
)
_WITHOUT = ("no", "without", "but", "except", "minus", "ohne", "außer", "ausser", "kein", "keine", "keinen")
_WITHOUT_JOINED = re.compile(rf"\b(?:{'|'.join(_WITHOUT)})[_-]+", re.IGNORECASE)
_LINK = re.compile(r"://|\bwww\.|\w\.[a-z]{2,}/", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[\s,;:+&/|()]+|(?<!\bno)-")


def parse_wish(command: str, text: str = "") -> Wish:
    """``command`` is one of ``WISHES``; ``text`` what follows it, ``vocals, drums mp3``.

    What is named after ``without`` is left out: of one stem, in a mix of the others; of several, the others come. Of
    ``no vocals, only bass`` the bass comes alone.
    Raises Refused with a sentence for a word that is nothing of this, and for two mixes or formats at once.
    """
    if has_link(text):
        raise Refused(refusals.no_links())
    stems: set[str] = set()
    left_out: set[str] = set()
    mixes: set[str] = set()
    formats: set[str] = set()
    without, is_all = "", False
    for word in (command.strip("/").partition("@")[0], *_BETWEEN_WORDS.split(_WITHOUT_JOINED.sub("no-", text))):
        meant = _meant(word)
        if meant in STEMS:
            (left_out if without else stems).add(meant)
        elif meant in MIXES and not without:
            mixes.add(meant)
        elif meant in FORMATS:
            formats.add(meant)
        elif meant in _ALL:
            is_all = True
        elif left_out and meant in _INSTEAD:
            without = ""
        elif meant in _WITHOUT:
            without = word
        elif meant and meant not in _FILLERS:
            raise Refused(refusals.unknown_word(word))
    if without and not left_out:
        raise Refused(refusals.unknown_word(without))
    if stems and not is_all:
        left_out &= stems  # who names some has left out the rest
    if len(left_out) == 1:
        mixes.update(mix for mix, stem in MIXES.items() if stem in left_out)
    elif left_out:
        stems.update(set(STEMS) - left_out)
    elif is_all:
        stems.update(STEMS)
    if len(mixes) > 1 or len(formats) > 1:
        raise Refused(refusals.one_at_a_time("mix" if len(mixes) > 1 else "format"))
    mix = next(iter(mixes), None)
    return Wish(stems_meant(stems, mix), mix, next(iter(formats), None))


def has_link(text: str) -> bool:
    """Whether a text leads elsewhere, as to a video on another site."""
    return _LINK.search(text) is not None


def without_links(text: str) -> str:
    """A text without the words that lead elsewhere."""
    return " ".join(word for word in text.split() if not has_link(word))


def wish_of_button(action: str, before: Wish) -> Wish:
    """The wish behind a button under a result: a stem, a mix, or ``flac``, which is what was wished ``before``."""
    if action == "flac":
        return replace(before, format="flac")
    return Wish((), action) if action in MIXES else Wish((action,))


def _meant(word: str) -> str:
    """``Vocal.`` → ``vocals``, ``no-drum`` → ``no-drums``, ``no-vocals`` → ``karaoke``; the rest in lower case.

    Empty without a letter or a digit: emoji, dashes.
    """
    plain = word.strip(".…!?'\"‘’“”„").lower()
    if not any(map(str.isalnum, plain)):
        return ""
    is_without, name = plain.startswith("no-"), plain.removeprefix("no-")
    name = _SYNONYMS.get(name, name)
    return _SYNONYMS.get(f"no-{name}", f"no-{name}") if is_without else name


def command_of(text: str, me: str) -> tuple[str, str] | None:
    """``/stems@MyBot vocals`` → ``("stems", "vocals")``; None if it is none, or for another bot than ``me``."""
    found = re.match(r"\s*/(\w+)(?:@(\w+))?(?:[^\w/@]+|$)(.*)", text, re.DOTALL)
    if not found or (found[2] and found[2].lower() != me.lower()):
        return None
    return found[1].lower(), found[3].strip()

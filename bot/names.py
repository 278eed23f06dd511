"""Names that strangers chose → names that are safe to write and to print. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set
from pathlib import PurePath

LONGEST_BYTES = 120
"""File systems take 255; this leaves room for numbers, suffixes and album titles."""

_JOINERS = "\u200c\u200d"
"""Not printable by themselves, but Persian, Hindi and families of emoji are spelt with them."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
"""Windows opens a device of that name, whatever its suffix."""


def printable(text: str) -> str:
    """One line without control characters, so that a file name cannot steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def one_line(text: str) -> str:
    """A title without what would turn or hide the rest of the line; empty if there is nothing in it to see."""
    words = ("".join(sign for sign in word if sign.isprintable() or sign in _JOINERS) for word in text.split())
    line = " ".join(filter(None, words))
    return line if line.strip(f" {_JOINERS}") else ""


def song_folder(file_name: str, taken: Set[str] = frozenset()) -> str:
    """Name of the folder for a song's stems: never a path, hidden, empty, too long, or one of ``taken``.

    ``taken`` holds folders in lower case, as some file systems do not tell ``Song`` from ``song``.
    """
    name = _safe(PurePath(file_name).stem)
    number, candidate = 1, name
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def file_name(title: str, name: str, format: str) -> str:
    """Name of a file that is sent: ``AC/DC``, ``vocals``, ``mp3`` → ``AC_DC – vocals.mp3``."""
    return f"{_safe(title)} – {name}.{format}"


def _safe(text: str) -> str:
    visible = "".join(character for character in unicodedata.normalize("NFC", text) if character.isprintable())
    name = re.sub(r'[<>:"/\\|?*]', "_", visible).strip(". ")
    return _cut(f"_{name}" if _DEVICE.match(name) else name) or "song"


def _cut(name: str) -> str:
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore").strip(". ")

"""Names that strangers chose → names that are safe to write and to print. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set
from pathlib import PurePath

LONGEST_BYTES = 120
"""File systems take 255; this leaves room for numbers, suffixes and album titles."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
"""Windows opens a device of that name, whatever its suffix."""

_JOINERS = "\u200c\u200d"
"""Not printable by themselves, but Persian, Hindi and families of emoji are spelt with them."""


def printable(text: str) -> str:
    """One line without control characters, so that a file name cannot steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def one_line(text: str) -> str:
    """On one line, without what would turn or hide the rest of it; empty if nothing of it can be seen."""
    return " ".join(_visible(text).split()).strip(f" {_JOINERS}")


def song_folder(file_name: str, taken: Set[str] = frozenset()) -> str:
    """Name of the folder for a song's stems: never a path, hidden, empty, too long, or one of ``taken``.

    ``taken`` holds folders in lower case, as some file systems do not tell ``Song`` from ``song``.
    """
    name = safe_name(PurePath(file_name).stem)
    number, candidate = 1, name
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def file_name(title: str, name: str, format: str) -> str:
    """Name of a file that is sent: ``AC/DC``, ``vocals``, ``mp3`` → ``AC_DC – vocals.mp3``."""
    return f"{safe_name(title)} – {name}.{format}"


def safe_name(text: str) -> str:
    """A title as the name of a file or folder, before its suffix: never a path, hidden, empty or too long."""
    name = re.sub(r'[<>:"/\\|?*]', "_", _visible(unicodedata.normalize("NFC", text))).strip(f". {_JOINERS}")
    return _cut(f"_{name}" if _DEVICE.match(name) else name) or "song"


def _visible(text: str) -> str:
    """Without control characters; every kind of blank is a plain one."""
    known = (" " if character.isspace() else character for character in text)
    return "".join(character for character in known if character.isprintable() or character in _JOINERS)


def _cut(name: str) -> str:
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore").strip(f". {_JOINERS}")

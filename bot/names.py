"""Names that strangers chose → names that are safe to write and to print. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set
from pathlib import PurePath

LONGEST_BYTES = 120
"""Of a file's name; this leaves room for numbers, suffixes and album titles."""

LONGEST_FOLDER_BYTES = 255
"""What file systems take: songs whose long titles differ at the end are not to share a folder."""

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


def song_title(title: str) -> str:
    """A title on one line, at most 60 characters."""
    line = one_line(title)
    return line if len(line) <= 60 else f"{line[:59].rstrip()}…"


def song_folder(file_name: str, taken: Set[str] = frozenset()) -> str:
    """Name of the folder for a song's stems: never a path, hidden, empty, too long, or one of ``taken``.

    ``taken`` holds folders in lower case, as some file systems do not tell ``Song`` from ``song``.
    """
    candidate = name = safe_name(PurePath(file_name).stem, LONGEST_FOLDER_BYTES)
    number = 1
    while candidate.lower() in taken:
        number += 1
        suffix = f"-{number}"
        candidate = _cut(name, LONGEST_FOLDER_BYTES - len(suffix)) + suffix
    return candidate


def file_name(title: str, name: str, format: str) -> str:
    """Name of a file that is sent: ``AC/DC``, ``vocals``, ``mp3`` → ``AC_DC – vocals.mp3``."""
    return f"{safe_name(title)} – {name}.{format}"


def safe_name(text: str, longest_bytes: int = LONGEST_BYTES) -> str:
    """A title as the name of a file or folder, before its suffix: never a path, hidden, empty or too long."""
    name = re.sub(r'[<>:"/\\|?*]', "_", _visible(unicodedata.normalize("NFC", text))).strip(f". {_JOINERS}")
    return _cut(f"_{name}" if _DEVICE.match(name) else name, longest_bytes) or "song"


def _visible(text: str) -> str:
    """Without control characters; every kind of blank is a plain one."""
    known = (" " if character.isspace() else character for character in text)
    return "".join(character for character in known if character.isprintable() or character in _JOINERS)


def _cut(name: str, longest_bytes: int) -> str:
    return name.encode()[:longest_bytes].decode(errors="ignore").strip(f". {_JOINERS}")

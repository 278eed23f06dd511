"""Reserve: some room on the disk, held so that rows can still be deleted once there is none left."""

from __future__ import annotations

import secrets
from pathlib import Path

_BYTES = 1 << 20


class Reserve:
    """A file that stands for the room. Others may fill a disk, and who wants to free it has to write to it first."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def hold(self) -> None:
        """Takes the room again, if there is some."""
        if self._file.exists():
            return
        try:
            self._file.write_bytes(secrets.token_bytes(_BYTES))  # what no file system stores in less
        except OSError:
            self.give_up()

    def give_up(self) -> bool:
        """Frees the room; False if none was held."""
        try:
            self._file.unlink()
        except OSError:
            return False
        return True

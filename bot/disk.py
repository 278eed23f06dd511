"""The disk: what its errors mean, and some room that is held in reserve."""

from __future__ import annotations

import errno
import secrets
from pathlib import Path

_BYTES = 1 << 20
_TROUBLES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    errno.EFBIG,  # FAT takes no file of 4 GiB
    errno.ENOENT,  # the folders were there at the start: somebody moved them
)


def is_disk_trouble(error: BaseException) -> bool:
    """Whether an error is of this machine's disk, not of a network."""
    return isinstance(error, OSError) and error.errno in _TROUBLES


def is_disk_full(error: BaseException) -> bool:
    """Whether there is no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """A file that stands for some room. Others may fill a disk, and who deletes rows to free it has to write first."""

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

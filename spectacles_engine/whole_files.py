"""Files that are there whole, or are still what they were before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what takes the place of ``path`` at the end; an error, or a kill, leaves that as it was.

    Raises OSError, with the name of the file also where a full disk tells none.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():  # /dev/null, a pipe: nothing is there to be lost
        yield path
        return
    part = path.with_name(f".{os.getpid()}-{path.name}")  # hidden, of the same kind, and of this process alone
    try:
        yield part
        part.replace(path)
    except OSError as error:
        error.filename, error.filename2 = path, None  # not the hidden one, nor none
        raise
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """``data`` as the file ``path``; raises as ``replacing``."""
    with replacing(path) as part:
        part.write_bytes(data)


def save_array(path: Path, values: NDArray[np.generic]) -> None:
    """A NumPy array as the file ``path``, ``….npy``; raises as ``replacing``."""
    with replacing(path) as part:
        np.save(part, values)

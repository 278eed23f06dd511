"""``musdb18-7s``: the free excerpts of MUSDB18, seven seconds each, are fetched on request.

They come from where the ``musdb`` package fetches them to where it puts them. The package itself isn't used: it wants
an ffmpeg binary as soon as it is imported.
"""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from spectacles_engine.download import Download, download
from spectacles_engine.errors import InputError, ModelError, NoNetworkError
from spectacles_engine.stem_file import SUFFIX

NAME = "musdb18-7s"
ADDRESS = "https://github.com/sigsep/sigsep-mus-db/releases/download/v0.4.0/MUSDB18-7-STEMS.zip"


def folder(named: Path) -> Path:
    """The folder that is meant by ``--data``: ``musdb18-7s`` stands for its own, which is fetched if it isn't there.

    It is where the environment variable MUSDB_PATH says, or in ``~/MUSDB18/MUSDB18-7``. Raises NoNetworkError,
    InputError for what is no archive.
    """
    if str(named) != NAME or named.is_dir():
        return named
    home = Path(os.environ.get("MUSDB_PATH") or Path.home() / "MUSDB18" / "MUSDB18-7")
    archive = home / "MUSDB18-7-STEMS.zip"
    # an archive that is still there was not unpacked to its end
    if archive.exists() or not any(home.rglob(f"*{SUFFIX}")):
        _fetch(archive)
        archive.unlink()
    return home


def _fetch(archive: Path) -> None:
    """Fetches what is missing of ``archive`` and unpacks it where it lies."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not archive.exists():
            with tqdm(desc=NAME, unit="B", unit_scale=True) as bar:
                download(Download(ADDRESS, archive, None, None), partial(_show, bar))
        with zipfile.ZipFile(archive) as file:
            file.extractall(archive.parent)
    except ModelError as error:
        raise NoNetworkError(f"{error}; unpack {ADDRESS} in {archive.parent}, and start again") from error
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise InputError(f"what came from {ADDRESS} is no zip file") from error


def _show(bar: tqdm[NoReturn], done_bytes: int, all_bytes: int) -> None:
    bar.total = all_bytes or None
    bar.update(done_bytes - bar.n)

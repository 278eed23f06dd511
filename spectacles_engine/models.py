"""ModelStore: where the files of a preset are, after their SHA-256 was checked.

Embedded files come with the package (``weights/``), the others are fetched into a folder of the person's data. Only
paths are handed out; the separators read safetensors, ONNX and JSON, never a pickle.

``python -m spectacles_engine.models refresh`` writes size and SHA-256 of the embedded files into the manifest, after a
training, and makes the files readable by all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock

from spectacles_engine.download import Download, download
from spectacles_engine.errors import ChecksumError, ModelError, ModelMissingError, OutputError
from spectacles_engine.manifest import OWN, WEIGHTS, Manifest, ModelFile, PresetSpec, describe

OnBytes = Callable[[str, int, int], None]
"""Called with the file's name, bytes done, bytes in all (0: unknown)."""


@dataclass(frozen=True)
class FileStatus:
    """A file and how it is here: one line of ``models list`` and ``models verify``.

    ``state``: ``missing``, ``here`` (there, not looked into), ``intact`` (SHA-256 checked) or ``damaged``; ``problem``
    is the sentence that goes with ``missing`` and ``damaged``; ``size_bytes``: what it has, or is to have.
    """

    file: ModelFile
    presets: tuple[str, ...]
    state: Literal["missing", "here", "intact", "damaged"]
    size_bytes: int | None
    problem: str = ""


class ModelStore:
    """Files and presets of a manifest (default: the package's). ``folder`` is where fetched files live."""

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        self.folder = folder
        self.manifest = manifest or Manifest.load()
        self._checked: set[str] = set()

    def preset(self, name: str) -> PresetSpec:
        """The ensemble of that name; raises :class:`ModelError` if there is none."""
        if name not in self.manifest.presets:
            raise ModelError(f"there is no preset {name!r}, only {', '.join(self.manifest.presets)}")
        return self.manifest.presets[name]

    def path(self, name: str) -> Path:
        """Path of a file whose SHA-256 was checked (once in the life of this store).

        Raises :class:`ModelMissingError` if it is not here, :class:`ChecksumError` if it is another file.
        """
        file = self.manifest.files.get(name)
        if file is None:
            raise ModelMissingError(f"no model file is called {name!r}")
        if name not in self._checked:
            self._check(file)
            self._checked.add(name)
        return self._location(file)

    def fetch(self, preset: str, on_progress: OnBytes = lambda name, done, total: None) -> list[Path]:
        """Fetches what the preset lacks, and returns the paths of all its files, checked.

        A file that is here and intact costs no request; a damaged one is replaced. Two processes may do this at once.
        Raises what :func:`~spectacles_engine.download.download` raises.
        """
        return [self._obtain(self.manifest.files[name], on_progress) for name in self.preset(preset).file_names]

    def status(self) -> list[FileStatus]:
        """What is here, without reading the files: a wrong size shows, a wrong content does not."""
        # what somebody made is small, and known no better than by looking into it
        files = self.manifest.files.values()
        return [self._verified(file) if file.source == OWN else self._status(file) for file in files]

    def verify(self) -> list[FileStatus]:
        """What is here, with the SHA-256 of every file."""
        return [self._verified(file) for file in self.manifest.files.values()]

    def _location(self, file: ModelFile) -> Path:
        return (self.manifest.folder if file.embedded else self.folder) / file.name

    def _status(self, file: ModelFile) -> FileStatus:
        status = FileStatus(file, self.manifest.presets_of(file.name), "here", file.size_bytes)
        size_bytes = _size_bytes(self._location(file))
        if size_bytes is None:
            return replace(status, state="missing", problem=self._missing(file))
        if file.size_bytes not in (None, size_bytes):
            return replace(status, state="damaged", problem=self._damaged(file, f"{size_bytes:,} bytes long"))
        return replace(status, size_bytes=size_bytes)

    def _verified(self, file: ModelFile) -> FileStatus:
        status = self._status(file)
        if status.state != "here":
            return status
        try:
            self._check(file)
        except ChecksumError as error:
            return replace(status, state="damaged", problem=str(error))
        return replace(status, state="intact")

    def _check(self, file: ModelFile) -> None:
        path = self._location(file)
        if _size_bytes(path) is None:
            raise ModelMissingError(self._missing(file))
        try:
            _, digest = describe(path)
        except OSError as error:
            raise ChecksumError(f"{path} cannot be read: {error.strerror}") from error
        if not file.sha256:
            raise ChecksumError(
                f"nothing says what the SHA-256 of {file.name} should be: "
                "run `python -m spectacles_engine.models refresh`"
            )
        if digest != file.sha256:
            raise ChecksumError(self._damaged(file, f"SHA-256 {digest[:12]}…, not {file.sha256[:12]}…"))

    def _missing(self, file: ModelFile) -> str:
        presets = " and ".join(self.manifest.presets_of(file.name))
        return f"{file.name}, which {presets} needs, is not on this machine: {self._remedy(file)}"

    def _damaged(self, file: ModelFile, how: str) -> str:
        return f"{self._location(file)} is not the file that it should be ({how}): {self._remedy(file)}"

    def _remedy(self, file: ModelFile) -> str:
        if file.source == OWN:
            return "engine.mixer or engine.quality names it"
        if file.embedded:
            return "install SpecTacles again"
        return f"run `python run_bot.py models fetch {self.manifest.presets_of(file.name)[0]}`"

    def _obtain(self, file: ModelFile, on_progress: OnBytes) -> Path:
        if not file.fetched:
            return self.path(file.name)
        if not self._is_intact(file):
            with self._locked(file):
                # Another process may have fetched it while this one waited.
                if not self._is_intact(file):
                    wanted = Download(file.source, self._location(file), file.size_bytes, file.sha256)
                    download(wanted, partial(on_progress, file.name))
        self._checked.add(file.name)
        return self._location(file)

    def _is_intact(self, file: ModelFile) -> bool:
        try:
            self._check(file)
        except (ModelMissingError, ChecksumError):
            return False
        return True

    @contextmanager
    def _locked(self, file: ModelFile) -> Iterator[None]:
        """One process at a time on one file; a second waits, and then finds it done."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{file.name}.lock"):
                yield
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be written to: {error.strerror or error}") from error


def _size_bytes(path: Path) -> int | None:
    """None if there is no such file; raises ModelError where nobody may look."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def refresh(manifest: Path = WEIGHTS / "manifest.yaml") -> list[str]:
    """Writes size and SHA-256 of the embedded files into ``manifest`` and returns the names of those that are missing.

    Only these two lines of an entry change (they are its first two), so comments stay. The files that are there
    become readable by all.
    """
    text, missing = manifest.read_text(encoding="utf-8"), []
    for file in Manifest.load(manifest).files.values():
        path = manifest.parent / file.name
        if file.embedded and not path.is_file():
            missing.append(file.name)
        elif file.embedded:
            # safetensors writes for the owner alone, and the package may be installed by one user and run by another.
            path.chmod(0o644)
            size_bytes, digest = describe(path)
            entry = rf'(\n  {re.escape(file.name)}:\n    bytes: )\d+(\n    sha256: )"[0-9a-f]*"'
            text, count = re.subn(entry, rf'\g<1>{size_bytes}\g<2>"{digest}"', text)
            if count != 1:
                raise ModelError(f"{manifest}: the entry of {file.name} does not begin with bytes and sha256")
    manifest.write_text(text, encoding="utf-8")
    return missing


if __name__ == "__main__":
    if sys.argv[1:] != ["refresh"]:
        sys.exit("usage: python -m spectacles_engine.models refresh")
    print("not there yet:", ", ".join(refresh()) or "none")

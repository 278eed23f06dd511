"""Shelf: the files of the data folder, and the rows that go with them. What is ours and no row knows goes at start."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from bot.config import StorageSettings
from bot.jobs import StartError, StoredResult, Unavailable
from bot.refusals import disk_full
from bot.store import JobStore, Song, StoreError
from spectacles_engine.messages import STEMS, SeparationResult

log = logging.getLogger(__name__)

_BYTES_PER_SAMPLE = 3
"""Of 24-bit WAV; FLAC takes less."""

_OURS = re.compile(r"\.?[0-9a-f]{24}([0-9a-f]{40})?(\.making|-[0-9a-f]{8})?")
"""What the shelf writes is called so, after a job or a sound. What has another name is somebody's own, and stays."""


class Shelf:
    """``work/<job>/`` while a song is fetched, ``songs/<audio>`` until it is separated, then ``results/<audio>/``.

    ``results`` may lie on a disk of its own; room is looked for there, and on that of the data folder.
    ``ensemble``: the results of any other are deleted at start. Audios that are ``spared`` are needed by some job.
    """

    def __init__(self, store: JobStore, settings: StorageSettings, ensemble: str) -> None:
        self._store, self._settings, self._ensemble = store, settings, ensemble
        self._work, self._songs, self._results = (store.folder / name for name in ("work", "songs", "results"))
        self.songs: dict[str, Song] = {}

    def open(self) -> None:
        """Makes the folders, and deletes what a killed bot left behind; raises StartError."""
        try:
            for folder in (self._work, self._songs, self._results):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"{self._store.folder} cannot be written ({error.strerror or error})") from error
        self.songs = {song.audio: song for song in self._store.songs()}
        for audio in [audio for audio in self.songs if not self.song_path(audio).is_file()]:
            self.drop_song(audio)
        for audio in self._store.results_of_others(self._ensemble):
            self.drop_result(audio)
        known = {result.audio for result in self._store.results() if self.result(result.audio)}
        _clear(self._work, ())
        _clear(self._songs, self.songs)
        _clear(self._results, known)
        for audio in known:
            _clear_unfinished(self._results / audio)
        self._store.hold_reserve()

    # A song on its way in.

    def arrival(self, job_id: str) -> Path:
        """Where a job's song is to be fetched to: a file in a folder of its own, that is there."""
        folder = self._work / job_id
        folder.mkdir(exist_ok=True)
        return folder / "song"

    def clear_arrival(self, job_id: str) -> None:
        shutil.rmtree(self._work / job_id, ignore_errors=True)

    def song_path(self, audio: str) -> Path:
        return self._songs / audio

    def keep_song(self, arrived: Path, song: Song) -> None:
        """Keeps it until it is separated; if that fails, nothing of it stays."""
        try:
            shutil.move(arrived, self.song_path(song.audio))
            self._store.save_song(song)
        except Exception:
            _unlink(self.song_path(song.audio))
            raise
        self.songs[song.audio] = song

    def drop_song(self, audio: str) -> None:
        self.songs.pop(audio, None)
        _unlink(self.song_path(audio))
        try:
            self._store.delete_song(audio)
        except StoreError:
            log.exception("the row of a song stays until the next start")

    # Results.

    def making(self, audio: str) -> Path:
        """The folder into which the engine writes: on the disk on which the stems will stay."""
        return self._results / f"{audio}.making"

    def clear_making(self, audio: str) -> None:
        shutil.rmtree(self.making(audio), ignore_errors=True)

    def keep(self, song: Song, made: SeparationResult) -> None:
        """Takes the stems over from the folder ``making``, all or none; the song itself is not needed any more."""
        folder = self._results / song.audio
        warnings = tuple(dict.fromkeys((*song.warnings, *made.warnings)))
        result = StoredResult(
            song.audio, folder, made.seconds, made.sample_rate, song.channels, made.note, warnings, time.time()
        )
        _remove(folder)
        try:
            self.making(song.audio).rename(folder)
            self._store.save_result(result, self._ensemble)
        except Exception:
            _remove(folder)
            raise
        self.drop_song(song.audio)

    def result(self, audio: str) -> StoredResult | None:
        """The stems of a song, if all four are there."""
        result = self._store.result(audio)
        if result and not all(result.stem(name).is_file() for name in STEMS):
            log.warning("stems of %s are missing, and so the result is dropped", audio)
            self.drop_result(audio)
            return None
        return result

    def note_use(self, result: StoredResult) -> None:
        """It is wanted: when room is needed, others go first."""
        try:
            self._store.note_use(result.audio)
        except StoreError:
            log.exception("that a result is wanted cannot be noted")

    def drop_result(self, audio: str) -> int:
        """Deletes a result; returns how many bytes that freed. Raises StoreError, and then has deleted nothing."""
        folder = self._results / audio
        size_bytes = _size_bytes(folder)
        self._store.delete_result(audio)
        _remove(folder)
        return size_bytes

    async def clear_results(self, audios: Iterable[str]) -> int:
        """Deletes the files of results whose rows are gone; returns how many bytes that freed.

        In a thread: those of a hundred songs take seconds. What is left when the bot is killed goes at the next start.
        """
        aside = [_set_aside(self._results / audio) for audio in audios]

        def delete() -> int:
            size_bytes = sum(map(_size_bytes, aside))
            for folder in aside:
                shutil.rmtree(folder, ignore_errors=True)
            return size_bytes

        return await asyncio.to_thread(delete)

    def drop_named(self, audio: str, name_keys: Iterable[str]) -> None:
        """Deletes files that were encoded of a result under these names (see ``Order.name_key``): tags hold titles."""
        for key in name_keys:
            for path in (self._results / audio).glob(f"{key}-*"):
                _unlink(path)

    # Room.

    async def tidy(self, spared: Callable[[], Collection[str]]) -> None:
        """Deletes results whose time is over, and the least wanted ones of those beyond the budget.

        In a thread goes what takes time: to look how large hundreds of them are, and to delete.
        """
        found = self._store.results()
        sizes = await asyncio.to_thread(lambda: {result.audio: _size_bytes(result.folder) for result in found})
        oldest = time.time() - self._settings.keep_hours * 3600
        results, needed = self._store.results(), spared()  # once more: others may have gone meanwhile
        excess = sum(sizes.get(result.audio, 0) for result in results) - self._settings.disk_budget_gb * 1e9
        gone = []
        try:
            for result in sorted(results, key=lambda result: result.made_at >= oldest):  # the outdated ones first
                if (result.made_at < oldest or excess > 0) and result.audio not in needed:
                    self._store.delete_result(result.audio)
                    excess -= sizes.get(result.audio, 0)
                    gone.append(result.audio)
        finally:
            await self.clear_results(gone)
        self._store.hold_reserve()

    def check_room(self, needed_bytes: float, spared: Collection[str]) -> None:
        """Raises Unavailable if there is no room, not even at the cost of results."""
        needed_bytes += self._settings.keep_free_mb * 1e6
        if not self._has_room(needed_bytes):
            self._dispensable(needed_bytes, spared)

    def make_room(self, needed_bytes: float, spared: Collection[str]) -> None:
        """Sees that there is room, at the cost of results if need be; raises Unavailable as ``check_room``."""
        needed_bytes += self._settings.keep_free_mb * 1e6
        if self._has_room(needed_bytes):
            return
        for result in self._dispensable(needed_bytes, spared):
            if self._free_bytes(self._results) >= needed_bytes:
                break
            self.drop_result(result.audio)
        if not self._has_room(needed_bytes):
            raise Unavailable(disk_full())

    def _dispensable(self, needed_bytes: float, spared: Collection[str]) -> list[StoredResult]:
        """Results that may go, the least wanted ones first; raises Unavailable if all of them would go in vain."""
        results = [result for result in self._store.results() if result.audio not in spared]
        lacking_bytes = needed_bytes - self._free_bytes(self._results)
        home = self._store.folder
        if _is_one_disk(home, self._results) or self._free_bytes(home) >= needed_bytes:  # else they go in vain
            for result in results:  # no further than need be: of hundreds it would take time, and nobody is answered
                lacking_bytes -= _size_bytes(result.folder)
                if lacking_bytes <= 0:
                    return results
        raise Unavailable(disk_full())

    def _has_room(self, needed_bytes: float) -> bool:
        """On both disks, if the results have their own."""
        return all(self._free_bytes(folder) >= needed_bytes for folder in (self._store.folder, self._results))

    def _free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(_there(folder)).free


def stem_bytes(song: Song | StoredResult) -> float:
    """What one stem, or one mix, of a song takes as WAV; in any other format it is less."""
    return song.seconds * song.sample_rate * song.channels * _BYTES_PER_SAMPLE


def _there(folder: Path) -> Path:
    """The folder, or what it was in: it may have been moved."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


def _is_one_disk(*folders: Path) -> bool:
    return len({_there(folder).stat().st_dev for folder in folders}) == 1


def _remove(folder: Path) -> None:
    shutil.rmtree(_set_aside(folder), ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    """Moves away, if it can be, what is to be deleted: who still writes into it would bring it back."""
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        return folder.rename(aside)
    except OSError:
        return folder


def _clear(folder: Path, known: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.name not in known and _OURS.fullmatch(path.name):
            _delete(path)


def _clear_unfinished(folder: Path) -> None:
    """What was being made for a chat beside the stems has a name that starts with a dot, or ends as a part."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.suffix == ".part":
            _delete(path)


def _delete(path: Path) -> None:
    log.info("%s is left over, and deleted", path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        _unlink(path)


def _size_bytes(folder: Path) -> int:
    size_bytes = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # gone meanwhile
            size_bytes += path.stat().st_size if path.is_file() else 0
    return size_bytes


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        log.warning("%s cannot be deleted yet", path, exc_info=True)

"""JobStore: jobs, songs and results that survive a restart. One SQLite file in the data folder, one bot at a time.

It knows rows only; the files that belong to them are the shelf's. All calls are short and belong to the event loop.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from bot.database import SAVE_JOB, job_of, job_row, note_of, open_database, place_of, warnings_of
from bot.disk import Reserve
from bot.jobs import Job, Place, StartError, State, StoredResult, Unavailable
from bot.refusals import disk_full, store_in_trouble

log = logging.getLogger(__name__)

_FINAL = tuple(state.value for state in State if state.is_final)
_TIMES = (("jobs", "finished_at"), ("jobs", "charged_at"), ("results", "made_at"), ("results", "used_at"))
"""Tables and columns: from when on something is kept, or counts."""


class StoreError(Unavailable):
    """The store cannot be read or written just now; ``str()`` is a sentence."""


class _DiskFull(StoreError):
    """There is no room for what was to be written."""


_T = TypeVar("_T")


@dataclass(frozen=True)
class Song:
    """A song that was fetched and looked into, and waits to be separated."""

    audio: str
    seconds: float
    sample_rate: int
    channels: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Charge:
    """A separation that counts against a person's and a chat's minutes of a day."""

    place: Place
    seconds: float
    at: float


class JobStore:
    """The store in ``folder``, which stays locked until ``close``. Raises StartError if it cannot be had.

    All methods raise StoreError when the database fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / "bot.lock")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StartError(f"another SpecTacles bot is at work in {folder}") from None
        except OSError as error:
            raise StartError(f"{folder} cannot be written ({error.strerror or error})") from error
        self._reserve = Reserve(folder / "reserve")
        self._reserve.give_up()  # what is opened wants to be written to
        try:
            self._database = open_database(folder / "jobs.sqlite3")
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Closes the database and unlocks the folder."""
        self._database.close()
        self._lock.release()

    def hold_reserve(self) -> None:
        """Holds some room on the disk, without which nothing could be deleted once it is full."""
        self._reserve.hold()

    # Jobs.

    def save(self, jobs: Iterable[Job]) -> None:
        """Writes jobs, new or changed, in one transaction; what is charged and told stays."""
        rows = [job_row(job, time.time()) for job in jobs]
        with self._transaction() as database:
            database.executemany(SAVE_JOB, rows)

    def job(self, job_id: str) -> Job | None:
        found = self._jobs("id = ?", job_id)
        return found[0] if found else None

    def unfinished(self) -> list[Job]:
        """Jobs that are not final, oldest first."""
        return self._jobs(f"state NOT IN {_FINAL}")

    def untold(self, before: float = math.inf) -> list[Job]:
        """Jobs that ended ``before``, and whose end nobody was told yet, oldest first."""
        return self._jobs(f"state IN {_FINAL} AND NOT told AND finished_at < ?", before)

    def of_chat(self, platform: str, chat: str) -> list[Job]:
        """All jobs of a chat, oldest first."""
        return self._jobs("platform = ? AND chat = ?", platform, chat)

    def of_person(self, platform: str, person: str) -> list[Job]:
        """All jobs of a person in all chats of a platform, oldest first."""
        return self._jobs("platform = ? AND person = ?", platform, person)

    def of_audio(self, audio: str) -> list[Job]:
        """All jobs about a sound, oldest first."""
        return self._jobs("audio = ?", audio)

    def finished_before(self, at: float) -> list[Job]:
        """Jobs that ended before ``at``, and whose end was told."""
        return self._jobs("finished_at < ? AND told", at)

    def note_told(self, job_id: str) -> None:
        self._change("UPDATE jobs SET told = 1 WHERE id = ?", job_id)

    def delete(self, job_ids: Iterable[str]) -> list[str]:
        """Deletes jobs, and results that no job is about any more; returns the sounds of these."""
        ids = [(job_id,) for job_id in job_ids]
        nobodys = "FROM results WHERE audio NOT IN (SELECT audio FROM jobs WHERE audio IS NOT NULL)"

        def delete(database: sqlite3.Connection) -> list[str]:
            database.executemany("DELETE FROM jobs WHERE id = ?", ids)
            audios = [row["audio"] for row in database.execute(f"SELECT audio {nobodys}")]
            database.execute(f"DELETE {nobodys}")
            return audios

        audios = self._freeing(delete)
        with suppress(StoreError):  # they are deleted all the same; what the files still hold of them goes next time
            if ids:
                self._rows("VACUUM")  # pages keep what rows they held once
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return audios

    def audio_of(self, platform: str, source_key: str) -> str | None:
        """The sound of a song that was asked for before under this key."""
        query = "SELECT audio FROM jobs WHERE platform = ? AND source_key = ? AND audio IS NOT NULL LIMIT 1"
        rows = self._rows(query, platform, source_key)
        return rows[0]["audio"] if rows else None

    def charge(self, job_id: str, seconds: float) -> None:
        """Notes that a job was separated, and how long its song is."""
        self._change("UPDATE jobs SET charged_s = ?, charged_at = ? WHERE id = ?", seconds, time.time(), job_id)

    def charges(self, since: float) -> list[Charge]:
        """What was separated after ``since``, oldest first."""
        rows = self._rows("SELECT * FROM jobs WHERE charged_at >= ? ORDER BY charged_at", since)
        return [Charge(place_of(row), row["charged_s"], row["charged_at"]) for row in rows]

    # Songs that wait for the engine.

    def save_song(self, song: Song) -> None:
        values = (song.audio, song.seconds, song.sample_rate, song.channels, json.dumps(song.warnings))
        self._change("INSERT OR REPLACE INTO songs VALUES (?, ?, ?, ?, ?)", *values)

    def songs(self) -> list[Song]:
        return [Song(**dict(row) | {"warnings": warnings_of(row)}) for row in self._rows("SELECT * FROM songs")]

    def delete_song(self, audio: str) -> None:
        self._freeing(lambda database: database.execute("DELETE FROM songs WHERE audio = ?", (audio,)))

    # Results.

    def save_result(self, result: StoredResult, ensemble: str) -> None:
        """``ensemble``: the one that made it."""
        texts = (json.dumps(asdict(result.note)), json.dumps(result.warnings))
        values = (result.audio, ensemble, result.seconds, result.sample_rate, result.channels, *texts, result.made_at)
        # Not OR REPLACE, which deletes the row and with it the uploads.
        self._change("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values, result.made_at)

    def results(self) -> list[StoredResult]:
        """All results, the one that nobody asked for the longest time first."""
        return [self._result(row) for row in self._rows("SELECT * FROM results ORDER BY used_at")]

    def results_of_others(self, ensemble: str) -> list[str]:
        """The sounds of results that another ensemble made."""
        return [row["audio"] for row in self._rows("SELECT audio FROM results WHERE setup != ?", ensemble)]

    def result(self, audio: str) -> StoredResult | None:
        rows = self._rows("SELECT * FROM results WHERE audio = ?", audio)
        return self._result(rows[0]) if rows else None

    def note_use(self, audio: str) -> None:
        self._change("UPDATE results SET used_at = ? WHERE audio = ?", time.time(), audio)

    def delete_result(self, audio: str) -> None:
        """Deletes a result and what is known of its uploads."""
        self._freeing(lambda database: database.execute("DELETE FROM results WHERE audio = ?", (audio,)))

    def upload(self, audio: str, name: str, key: str, platform: str) -> str | None:
        """``key``, kept as the format: in which format a file was sent, and with which tags."""
        where = "audio = ? AND name = ? AND format = ? AND platform = ?"
        rows = self._rows(f"SELECT file_id FROM uploads WHERE {where}", audio, name, key, platform)
        return rows[0]["file_id"] if rows else None

    def save_upload(self, audio: str, name: str, key: str, platform: str, file_id: str) -> None:
        """Nothing happens if the result is gone."""
        insert = (
            "INSERT OR REPLACE INTO uploads SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM results WHERE audio = ?)"
        )
        self._change(insert, audio, name, key, platform, file_id, audio)

    # Time.

    def leave_the_future(self, now: float) -> None:
        """Dates now what a clock that was ahead has dated later: it would be kept, and count, for as long."""
        with self._transaction() as database:
            for table, column in _TIMES:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", (now, now))

    # Speed.

    def speed(self, setup: str) -> float | None:
        """Seconds of work for a second of audio, on average; None before the first measurement."""
        rows = self._rows("SELECT elapsed_s / seconds FROM speeds WHERE setup = ?", setup)
        return rows[0][0] if rows else None

    def note_speed(self, setup: str, elapsed_s: float, seconds: float) -> None:
        """Takes a measurement in; what is ten songs old has a third of the weight."""
        fade = "elapsed_s = 0.9 * elapsed_s + excluded.elapsed_s, seconds = 0.9 * seconds + excluded.seconds"
        insert = f"INSERT INTO speeds VALUES (?, ?, ?) ON CONFLICT (setup) DO UPDATE SET {fade}"
        self._change(insert, setup, elapsed_s, seconds)

    def _jobs(self, where: str, *values: object) -> list[Job]:
        return [
            job_of(row) for row in self._rows(f"SELECT * FROM jobs WHERE {where} ORDER BY accepted_at, id", *values)
        ]

    def _result(self, row: sqlite3.Row) -> StoredResult:
        return StoredResult(
            row["audio"],
            self.folder / "results" / row["audio"],
            row["seconds"],
            row["sample_rate"],
            row["channels"],
            note_of(row),
            warnings_of(row),
            row["made_at"],
        )

    def _rows(self, query: str, *values: object) -> Sequence[sqlite3.Row]:
        with _sentences():
            return self._database.execute(query, values).fetchall()

    def _change(self, statement: str, *values: object) -> None:
        with self._transaction() as database:
            database.execute(statement, values)

    def _freeing(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What ``work`` returns, which deletes rows: on a full disk, with the room that is held in reserve."""
        try:
            with self._transaction() as database:
                return work(database)
        except _DiskFull:
            if not self._reserve.give_up():
                raise
        with self._transaction() as database:
            return work(database)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _sentences(), self._database:
            yield self._database


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        log.warning("the list of songs cannot be read or written: %s", error)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise _DiskFull(disk_full()) from error
        raise StoreError(store_in_trouble()) from error

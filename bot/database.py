"""The database file of the store: its tables, and how jobs and notes become rows and come back."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bot.jobs import Job, Order, Place, StartError, State, Wish
from spectacles_engine.messages import QualityNote, StemQuality, WeakSpot

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_BUSY_S = 2.0
_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, platform TEXT NOT NULL, chat TEXT NOT NULL, person TEXT NOT NULL, state TEXT NOT NULL,
    accepted_at REAL NOT NULL, finished_at REAL, told INTEGER NOT NULL DEFAULT 0,
    source_key TEXT, "order" TEXT NOT NULL, audio TEXT, seconds REAL, status TEXT, error TEXT,
    charged_s REAL, charged_at REAL
);
CREATE INDEX jobs_of_chat ON jobs (platform, chat);
CREATE INDEX jobs_of_person ON jobs (platform, person);
CREATE INDEX jobs_of_source ON jobs (platform, source_key);
CREATE INDEX jobs_of_audio ON jobs (audio);
CREATE TABLE songs (
    audio TEXT PRIMARY KEY, seconds REAL NOT NULL, sample_rate INTEGER NOT NULL, channels INTEGER NOT NULL,
    warnings TEXT NOT NULL
);
CREATE TABLE results (
    audio TEXT PRIMARY KEY, setup TEXT NOT NULL, seconds REAL NOT NULL, sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL, note TEXT NOT NULL, warnings TEXT NOT NULL, made_at REAL NOT NULL, used_at REAL NOT NULL
);
CREATE TABLE uploads (
    audio TEXT NOT NULL REFERENCES results (audio) ON DELETE CASCADE,
    name TEXT NOT NULL, format TEXT NOT NULL, platform TEXT NOT NULL, file_id TEXT NOT NULL,
    PRIMARY KEY (audio, name, format, platform)
);
CREATE TABLE speeds (setup TEXT PRIMARY KEY, elapsed_s REAL NOT NULL, seconds REAL NOT NULL);
"""
_WRITTEN = (
    *("id", "platform", "chat", "person", "state", "accepted_at", "source_key"),
    *("order", "audio", "seconds", "status", "error", "finished_at"),
)
# A job that is written again after its end keeps the time at which it ended.
SAVE_JOB = f"""
INSERT INTO jobs ({", ".join(map('"{}"'.format, _WRITTEN))}) VALUES ({", ".join(map(":{}".format, _WRITTEN))})
ON CONFLICT (id) DO UPDATE SET {", ".join(map('"{0}" = excluded."{0}"'.format, _WRITTEN[:-1]))},
    finished_at = COALESCE(jobs.finished_at, excluded.finished_at)
"""


def open_database(file: Path) -> sqlite3.Connection:
    """The database, with its tables; raises StartError."""
    try:
        database = sqlite3.connect(file, timeout=_BUSY_S)
    except sqlite3.Error as error:
        raise StartError(f"{file} cannot be opened ({error})") from error
    try:
        database.row_factory = sqlite3.Row
        _prepare(database, file)
    except sqlite3.OperationalError as error:
        database.close()
        raise StartError(f"{file} cannot be used ({error})") from error
    except sqlite3.DatabaseError as error:
        database.close()
        raise StartError(f"{file} is damaged ({error}); move it away to start with an empty one") from error
    except StartError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, file: Path) -> None:
    """Makes the tables of a new file; raises StartError for one of a later version."""
    # FULL: what was accepted is on the disk, should the machine lose its power; secure: what is deleted is overwritten;
    # MEMORY: there may be no other folder that can be written
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;"
        "PRAGMA temp_store = MEMORY"
    )
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StartError(f"{file} was written by a later version of SpecTacles")
    if version < SCHEMA_VERSION:
        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    if (complaint := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(complaint)
    _drop_unreadable(database)


def _drop_unreadable(database: sqlite3.Connection) -> None:
    """Deletes rows with damaged texts: a single one would keep all others from being read, at each start anew."""
    readers: dict[str, tuple[str, tuple[Callable[[sqlite3.Row], object], ...]]] = {
        "jobs": ("id", (job_of,)),
        "songs": ("audio", (warnings_of,)),
        "results": ("audio", (note_of, warnings_of)),
    }
    for table, (key, read) in readers.items():
        for row in database.execute(f"SELECT * FROM {table}").fetchall():
            try:
                for part in read:
                    part(row)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                log.error("%s of the table %s cannot be read (%s), and is deleted", row[key], table, error)
                with database:
                    database.execute(f"DELETE FROM {table} WHERE {key} = ?", (row[key],))


def job_row(job: Job, now: float) -> dict[str, Any]:
    """The values of ``SAVE_JOB``; ``now`` is when a final job ended, if it was not stored as ended before."""
    order = job.order
    return {
        "id": job.id,
        **asdict(order.place),
        "state": job.state.value,
        "accepted_at": job.accepted_at,
        "finished_at": now if job.state.is_final else None,
        "source_key": order.source_key,
        "order": json.dumps({key: value for key, value in asdict(order).items() if key != "place"}),
        "audio": job.audio,
        "seconds": job.seconds,
        "status": None if job.status is None else json.dumps(job.status),
        "error": job.error,
    }


def job_of(row: sqlite3.Row) -> Job:
    """The job of a row in ``jobs``."""
    stored = json.loads(row["order"])
    wish = stored.pop("wish")
    return Job(
        id=row["id"],
        order=Order(place_of(row), Wish(tuple(wish["stems"]), wish["mix"], wish["format"]), **stored),
        state=State(row["state"]),
        accepted_at=row["accepted_at"],
        audio=row["audio"],
        seconds=row["seconds"],
        status=None if row["status"] is None else json.loads(row["status"]),
        error=row["error"],
    )


def place_of(row: sqlite3.Row) -> Place:
    """Whose job a row in ``jobs`` is."""
    return Place(row["platform"], row["chat"], row["person"])


def warnings_of(row: sqlite3.Row) -> tuple[str, ...]:
    """The warnings of a row in ``songs`` or ``results``."""
    return tuple(json.loads(row["warnings"]))


def note_of(row: sqlite3.Row) -> QualityNote:
    """The note of a row in ``results``, as ``asdict`` and JSON have left it."""
    stored = json.loads(row["note"])
    stems = {name: StemQuality(**quality) for name, quality in stored["stems"].items()}
    return QualityNote(stems, stored["residual_db"], tuple(WeakSpot(**spot) for spot in stored["weak_spots"]))

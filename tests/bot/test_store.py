from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bot.database import SCHEMA_VERSION
from bot.jobs import Job, Order, Place, StartError, State, StoredResult, Wish
from bot.store import Charge, JobStore, Song, StoreError
from spectacles_engine.messages import QualityNote, StemQuality, WeakSpot

ANN = Place("fake", "1", "ann")
ORDER = Order(
    ANN,
    Wish(("vocals", "bass"), "karaoke", "mp3"),
    {"file": "xyz", "parts": [1, 2]},
    "Tïtle 🎵",
    performer="x",
    source_key="k",
    size_bytes=5,
    seconds=1.5,
    answers={"message": 7},
)
JOB = Job("j1", ORDER, State.PREPARING, 1000.0)
NOTE = QualityNote(
    {"vocals": StemQuality("good", 6.0, 4.5, 7.5), "drums": StemQuality("silent")}, None, (WeakSpot("vocals", 1, 2),)
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "data")
    yield store
    store.close()


def _result(store: JobStore, audio: str = "a", made_at: float = 5.0) -> StoredResult:
    folder = store.folder / "results" / audio
    return StoredResult(audio, folder, 3.0, 44_100, 2, NOTE, ("short",), made_at)


def test_a_job_comes_back_as_it_was(store: JobStore) -> None:
    full = replace(JOB, state=State.FAILED, audio="a", seconds=3.5, status={"message": 8, "at": [1]}, error="Why.")
    store.save([JOB, replace(full, id="j2")])
    assert store.job("j1") == JOB
    assert store.job("j2") == replace(full, id="j2")
    assert store.job("j3") is None
    store.save([full])
    assert store.job("j1") == full


def test_jobs_survive_the_store(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.save([JOB])
    store.close()
    again = JobStore(tmp_path)
    assert again.unfinished() == [JOB]
    again.close()


def test_which_jobs_are_asked_for(store: JobStore) -> None:
    done = replace(JOB, id="j2", state=State.DONE, accepted_at=900.0)
    other = replace(JOB, id="j3", order=replace(ORDER, place=Place("fake", "2", "ann")), accepted_at=800.0)
    bob = replace(JOB, id="j4", order=replace(ORDER, place=Place("fake", "1", "bob")), accepted_at=700.0)
    elsewhere = replace(JOB, id="j5", order=replace(ORDER, place=Place("other", "1", "ann")), accepted_at=600.0)
    store.save([JOB, done, other, bob, elsewhere])
    assert store.unfinished() == [elsewhere, bob, other, JOB]
    assert store.untold() == [done]
    assert store.of_chat("fake", "1") == [bob, done, JOB]
    assert store.of_person("fake", "ann") == [other, done, JOB]
    store.delete(["j2", "j4"])
    assert store.of_chat("fake", "1") == [JOB]


def test_what_is_deleted_is_in_no_file(store: JobStore) -> None:
    store.save([replace(JOB, order=replace(ORDER, title="Nobody's business"))])
    store.save([replace(JOB, state=State.DONE, order=replace(ORDER, title="Nobody's business"))])
    assert _is_in_a_file(store, "Nobody's business")
    store.delete(["j1"])
    assert not _is_in_a_file(store, "Nobody's business")


@pytest.mark.parametrize("seed", [11, 42])
def test_what_is_deleted_is_in_no_file_wherever_rows_were_moved_to(store: JobStore, seed: int) -> None:
    chance = random.Random(seed)
    titles = [f"No. {number:02} {'x' * chance.randrange(700)}" for number in range(20)]
    store.save(replace(JOB, id=title[:6], order=replace(ORDER, title=title)) for title in titles)
    for title in chance.sample(titles, len(titles)):
        store.delete([title[:6]])
        assert not _is_in_a_file(store, title)


def _is_in_a_file(store: JobStore, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in store.folder.iterdir() if file.is_file())


def test_results_that_no_job_is_about_go_with_the_last_one(store: JobStore) -> None:
    store.save([replace(JOB, id="j1", audio="a"), replace(JOB, id="j2", audio="a"), replace(JOB, id="j3", audio="b")])
    for audio in "ab":
        store.save_result(_result(store, audio), "lite")
        store.save_upload(audio, "vocals", "mp3", "fake", f"the upload of {audio}")
    assert store.delete(["j1"]) == []
    assert store.delete(["j2"]) == ["a"]
    assert [result.audio for result in store.results()] == ["b"]
    assert not _is_in_a_file(store, "the upload of a")


def test_what_cannot_be_overwritten_yet_is_deleted(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read = store._rows

    def rows(query: str, *values: object) -> Sequence[sqlite3.Row]:
        if query == "VACUUM":
            raise StoreError("full")
        return read(query, *values)

    store.save([JOB])
    monkeypatch.setattr(store, "_rows", rows)
    store.delete(["j1"])
    assert store.job("j1") is None


def test_a_job_is_old_since_its_end_not_since_it_was_written_last(store: JobStore) -> None:
    done = replace(JOB, state=State.DONE)
    store.save([done])
    ended_by = time.time() + 0.001
    time.sleep(0.01)
    store.save([replace(done, status={"message": 1})])
    assert store.finished_before(ended_by) == []
    store.note_told("j1")
    assert [job.id for job in store.finished_before(ended_by)] == ["j1"]
    assert store.untold() == []


def test_a_source_is_known_by_its_key(store: JobStore) -> None:
    store.save([JOB])
    assert store.audio_of("fake", "k") is None
    store.save([replace(JOB, id="j2", audio="a")])
    assert store.audio_of("fake", "k") == "a"
    assert store.audio_of("other", "k") is None
    store.delete(["j2"])
    assert store.audio_of("fake", "k") is None


def test_charges_stay_when_a_job_is_written_again(store: JobStore) -> None:
    store.save([JOB])
    before = time.time()
    store.charge("j1", 60.0)
    store.save([replace(JOB, state=State.DONE)])
    (charge,) = store.charges(before)
    assert charge == Charge(ANN, 60.0, charge.at)
    assert store.charges(time.time() + 1) == []


def test_what_a_clock_dated_that_was_years_ahead_is_old_in_time(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e9)
    store.save([replace(JOB, state=State.DONE)])
    store.note_told("j1")
    store.charge("j1", 60.0)
    store.save_result(_result(store, made_at=time.time()), "lite")
    monkeypatch.undo()
    store.leave_the_future(now)
    assert [job.id for job in store.finished_before(now + 1)] == ["j1"]
    assert [charge.at for charge in store.charges(0)] == [now]
    assert [result.made_at for result in store.results()] == [now]


def test_songs_and_results_come_back(store: JobStore) -> None:
    song = Song("a", 3.5, 48_000, 1, ("quiet",))
    store.save_song(song)
    assert store.songs() == [song]
    store.delete_song("a")
    assert store.songs() == []
    older, newer = _result(store), _result(store, "b", 6.0)
    store.save_result(newer, "lite stemmixer")
    store.save_result(older, "lite average")
    assert store.result("a") == older
    assert store.results() == [older, newer]
    assert store.results_of_others("lite stemmixer") == ["a"]
    store.note_use("a")
    assert [result.audio for result in store.results()] == ["b", "a"]


def test_uploads_live_as_long_as_their_result(store: JobStore) -> None:
    store.save_upload("a", "vocals", "mp3", "fake", "too early")
    store.save_result(_result(store), "x")
    assert store.upload("a", "vocals", "mp3", "fake") is None
    store.save_upload("a", "vocals", "mp3", "fake", "f1")
    store.save_upload("a", "vocals", "mp3", "fake", "f2")
    assert store.upload("a", "vocals", "mp3", "fake") == "f2"
    assert store.upload("a", "vocals", "flac", "fake") is None
    assert store.upload("a", "vocals", "mp3", "other") is None
    store.delete_result("a")
    store.save_result(_result(store), "x")
    assert store.upload("a", "vocals", "mp3", "fake") is None


def test_the_speed_is_an_average_in_which_long_songs_weigh_more(store: JobStore) -> None:
    assert store.speed("cpu") is None
    store.note_speed("cpu", 50.0, 100.0)
    assert store.speed("cpu") == 0.5
    store.note_speed("cpu", 10.0, 10.0)
    assert store.speed("cpu") == pytest.approx(55 / 100)
    assert store.speed("cuda") is None


def test_the_store_is_for_us_alone(store: JobStore) -> None:
    assert store.folder.stat().st_mode & 0o077 == 0


def test_one_bot_at_a_time(store: JobStore) -> None:
    with pytest.raises(StartError, match="another SpecTacles bot is at work"):
        JobStore(store.folder)
    store.close()
    JobStore(store.folder).close()


def test_a_killed_bot_locks_nobody_out(tmp_path: Path) -> None:
    code = "import os, pathlib, sys, bot.store; bot.store.JobStore(pathlib.Path(sys.argv[1])); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 9
    JobStore(tmp_path).close()


def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").write_bytes(b"this is no database, and quite long enough to show it" * 100)
    with pytest.raises(StartError, match=r"jobs\.sqlite3 is damaged .*; move it away to start with an empty one$"):
        JobStore(tmp_path)
    (tmp_path / "jobs.sqlite3").unlink()
    JobStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StartError, match="was written by a later version"):
        JobStore(tmp_path)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StartError, match="cannot be written"):
        JobStore(tmp_path / "file")


def test_a_damaged_middle_is_noticed_at_start(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.save([replace(JOB, id=f"j{number}") for number in range(200)])
    store.close()
    file = tmp_path / "jobs.sqlite3"
    content = bytearray(file.read_bytes())
    content[8192:-8192] = b"\xff" * len(content[8192:-8192])
    file.write_bytes(content)
    with pytest.raises(StartError, match="is damaged"):
        JobStore(tmp_path)


def test_trouble_while_it_runs_is_a_sentence(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(store.folder / "jobs.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"^I cannot reach my list of songs"):
        store.save([JOB])
    assert store.unfinished() == []
    other.rollback()
    store.save([JOB])
    assert store.unfinished() == [JOB]
    other.execute("DROP TABLE songs")
    other.close()
    with pytest.raises(StoreError, match=r"^I cannot reach my list of songs"):
        store.songs()


@pytest.mark.parametrize("damage", ["state = 'lost'", "\"order\" = '[]'", "\"order\" = '{'", "status = X'ff'"])
def test_a_damaged_job_keeps_no_other_from_being_read(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = JobStore(tmp_path)
    store.save([JOB, replace(JOB, id="j2")])
    _damage(store, f"UPDATE jobs SET {damage} WHERE id = 'j2'")
    again = JobStore(tmp_path)
    assert again.unfinished() == [JOB]
    assert "j2 of the table jobs cannot be read" in caplog.text
    again.close()


@pytest.mark.parametrize("damage", ["note = 'null'", "note = '{\"stems\": 3}'", "warnings = ''"])
def test_a_damaged_result_is_made_again(tmp_path: Path, damage: str) -> None:
    store = JobStore(tmp_path)
    for audio in "ab":
        store.save_result(_result(store, audio), "lite")
    store.save_song(Song("a", 3.0, 44_100, 2))
    store.save_song(Song("b", 3.0, 44_100, 2))
    _damage(
        store, f"UPDATE results SET {damage} WHERE audio = 'b'", "UPDATE songs SET warnings = 'x' WHERE audio = 'b'"
    )
    again = JobStore(tmp_path)
    assert [result.audio for result in again.results()] == [song.audio for song in again.songs()] == ["a"]
    again.save_result(_result(again, "b"), "lite")
    assert again.result("b") == _result(again, "b")
    again.close()


def _damage(store: JobStore, *statements: str) -> None:
    with store._database:
        for statement in statements:
            store._database.execute(statement)
    store.close()


def test_a_disk_that_is_full_is_told_as_such(store: JobStore, caplog: pytest.LogCaptureFixture) -> None:
    store._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match=r"^There is no room left on my disk"):
        store.save([replace(JOB, id=f"j{number}") for number in range(999)])
    assert "full" in caplog.text


def test_on_a_full_disk_what_is_deleted_takes_the_room_that_was_held(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save([replace(JOB, audio="a"), replace(JOB, id="j2", audio="b")])
    for audio in "abc":
        store.save_result(_result(store, audio), "lite")
    store.save_song(Song("a", 3.0, 44_100, 2))
    room = store.folder / "reserve"
    monkeypatch.setattr(store, "_database", _Full(store._database, room))
    deletions: list[tuple[Callable[[], object], object]] = [
        (lambda: store.delete(["j2"]), ["b", "c"]),
        (lambda: store.delete_result("a"), None),
        (lambda: store.delete_song("a"), None),
    ]
    for delete, returned in deletions:
        room.touch()
        with pytest.raises(StoreError, match=r"^There is no room left on my disk"):
            store.note_told("j1")
        assert room.exists()  # it is not for what takes more
        assert delete() == returned
        assert not room.exists()
    assert not store.results()
    assert not store.songs()
    store.hold_reserve()
    assert room.stat().st_size > 2**19


class _Full:
    """A database whose disk is full, unless ``room`` was deleted."""

    def __init__(self, database: sqlite3.Connection, room: Path) -> None:
        self._database, self._room = database, room

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        self._refuse(statement)
        return self._database.execute(statement, values)

    def executemany(self, statement: str, values: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        self._refuse(statement)
        return self._database.executemany(statement, values)

    def _refuse(self, statement: str) -> None:
        if self._room.exists() and not statement.startswith("SELECT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def __enter__(self) -> None:
        self._database.__enter__()

    def __exit__(self, *why: object) -> None:
        self._database.__exit__(*why)  # type: ignore[arg-type]

    def close(self) -> None:
        self._database.close()

"""EngineProcess with a fake engine in a real child process."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from spectacles_engine import keeper
from spectacles_engine.errors import CancelledError, EngineError, NotAudioError, PoisonousError, SpecTaclesError
from spectacles_engine.keeper import Deadlines
from spectacles_engine.messages import STEMS, Done, FromChild, SeparationRequest, SeparationResult
from spectacles_engine.process import EngineProcess, start_engines
from tests import fake_engine
from tests.alive import assert_gone, is_alive
from tests.fake_engine import Behaviour, FakeOptions, write_song

FLAC = SeparationRequest(format="flac")
ROOT = Path(__file__).parents[2]
FINE, DEADLINES = Behaviour(), Deadlines()
SLOW = Behaviour(steps=2000, step_s=0.01)
"""Long enough for whatever a test does meanwhile; no test waits for its end."""


class Bench:
    """One engine, and songs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = self.with_options()
        self.made = [self.engine]

    def with_options(self, deadlines: Deadlines = DEADLINES, **options: object) -> EngineProcess:
        """Another engine than the default, in its place."""
        self.engine = EngineProcess(
            FakeOptions(self.folder / "models", **options),  # type: ignore[arg-type]
            target=fake_engine.main,
            deadlines=deadlines,
        )
        self.made = [*getattr(self, "made", []), self.engine]
        return self.engine

    async def separate(
        self, name: str, behaviour: Behaviour = FINE, on_progress: Callable[[float], None] = lambda share: None
    ) -> SeparationResult:
        song = write_song(self.folder / f"{name}.wav", behaviour)
        return await self.engine.separate(name, song, self.folder / name, FLAC, on_progress)

    async def running(self, name: str, behaviour: Behaviour = SLOW) -> asyncio.Task[SeparationResult]:
        """A job that has begun to write."""
        task = asyncio.create_task(self.separate(name, behaviour))
        while not self.left(name):
            await asyncio.sleep(0.01)
        return task

    def left(self, name: str) -> list[str]:
        """What is in the job's folder."""
        folder = self.folder / name
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


STEM_FILES = sorted(f"{stem}.flac" for stem in STEMS)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for engine in bench.made:
        await engine.close()
    assert multiprocessing.active_children() == []


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("spectacles_engine").addHandler(handler)
    yield lines
    logging.getLogger("spectacles_engine").removeHandler(handler)


async def test_a_song_comes_back_as_stems_with_progress_on_the_way(bench: Bench) -> None:
    shares: list[float] = []
    (bench.folder / "a").mkdir()
    (bench.folder / "a" / "what was there before").touch()
    result = await bench.separate("a", Behaviour(steps=4), shares.append)
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert set(result.files) == set(STEMS)
    assert bench.left("a") == STEM_FILES
    assert soundfile.info(result.files["drums"]).frames == 44_100


async def test_one_child_serves_all_songs_in_the_order_they_came(bench: Bench) -> None:
    await asyncio.gather(bench.engine.start(), bench.engine.start())
    pid = bench.engine.pid
    order: list[str] = []
    jobs = [bench.separate(name, on_progress=lambda share, name=name: order.append(name)) for name in "abc"]  # type: ignore[misc]
    await asyncio.gather(*jobs)
    assert "".join(dict.fromkeys(order)) == "abc"
    assert order == sorted(order)
    assert bench.engine.pid == pid


async def test_what_the_song_is_at_fault_for_crosses_as_itself(bench: Bench) -> None:
    with pytest.raises(NotAudioError, match=r"^not an audio file$"):
        await bench.separate("a", Behaviour(not_audio=True))
    pid = bench.engine.pid
    assert (await bench.separate("b")).files
    assert bench.engine.pid == pid


async def test_a_mistake_of_ours_is_a_sentence_for_the_caller_and_a_traceback_for_the_log(
    bench: Bench, logged: list[str]
) -> None:
    with pytest.raises(SpecTaclesError, match=r"^something went wrong in SpecTacles itself$"):
        await bench.separate("a", Behaviour(mistake=True))
    assert "ZeroDivisionError: a mistake, on purpose" in "\n".join(logged)
    assert bench.engine.pid is None  # nobody knows what state that left it in
    assert (await bench.separate("b")).files


async def test_a_song_may_take_as_long_as_it_shows_signs_of_life(bench: Bench) -> None:
    bench.with_options(Deadlines(stall_s=3))
    assert (await bench.separate("a", Behaviour(steps=400, step_s=0.01))).files


async def test_a_job_that_ends_before_it_hears_of_its_cancel_is_cancelled_all_the_same(bench: Bench) -> None:
    job = await bench.running("a", Behaviour(steps=50, step_s=0.01, deaf=True))
    bench.engine.cancel("a")
    with pytest.raises(CancelledError):
        await job
    assert bench.left("a") == []


async def test_kill_9_in_the_midst_of_a_job_and_it_still_ends_with_stems(bench: Bench) -> None:
    job = await bench.running("a", Behaviour(steps=100, step_s=0.01))
    pid = bench.engine.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert (await job).files
    assert bench.left("a") == STEM_FILES
    assert not is_alive(pid)


async def test_a_song_that_kills_the_engine_twice_is_poisonous_and_the_next_one_is_not(bench: Bench) -> None:
    with pytest.raises(PoisonousError, match="twice"):
        await bench.separate("a", Behaviour(crashes=2))
    assert bench.left("a") == []
    assert (await bench.separate("b")).files


async def test_an_engine_that_hangs_is_replaced(bench: Bench) -> None:
    bench.with_options(Deadlines(stall_s=4))
    await bench.engine.start()
    pid = bench.engine.pid
    assert pid
    assert (await bench.separate("a", Behaviour(hangs=1))).files
    assert bench.engine.pid != pid
    assert not is_alive(pid)


async def test_an_engine_is_not_blamed_for_the_time_in_which_the_bot_itself_was_halted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "HALTED_S", 0.5)
    bench.with_options(Deadlines(stall_s=2))
    job = await bench.running("a", Behaviour(steps=400, step_s=0.01))
    pid = bench.engine.pid
    time.sleep(3)  # a container that is paused
    assert (await job).files
    assert bench.engine.pid == pid


async def test_a_hang_after_a_crash_is_the_second_time(bench: Bench) -> None:
    bench.with_options(Deadlines(stall_s=4))
    with pytest.raises(PoisonousError):
        await bench.separate("a", Behaviour(crashes=1, hangs=1))


async def test_a_running_job_is_cancelled_between_two_chunks_and_the_child_lives(bench: Bench) -> None:
    job = await bench.running("a")
    pid = bench.engine.pid
    bench.engine.cancel("a")
    with pytest.raises(CancelledError):
        await job
    assert bench.left("a") == []
    assert (await bench.separate("b")).files
    assert bench.engine.pid == pid


async def test_a_waiting_job_is_cancelled_at_once_and_costs_the_others_nothing(bench: Bench) -> None:
    first = await bench.running("a", Behaviour(steps=100, step_s=0.01))
    second = asyncio.create_task(bench.separate("b"))
    third = asyncio.create_task(bench.separate("c"))
    await asyncio.sleep(0)
    bench.engine.cancel("b")
    with pytest.raises(CancelledError):
        await second
    assert not first.done()
    assert (await first).files
    assert (await third).files
    assert bench.left("b") == []


async def test_a_child_that_does_not_hear_the_cancel_is_killed(bench: Bench) -> None:
    bench.with_options(Deadlines(cancel_s=0.2))
    job = await bench.running("a", Behaviour(steps=10_000, step_s=0.01, deaf=True))
    pid = bench.engine.pid
    assert pid
    bench.engine.cancel("a")
    with pytest.raises(CancelledError):
        await job
    assert not is_alive(pid)
    assert bench.left("a") == []
    assert (await bench.separate("b")).files


async def test_a_caller_who_is_cancelled_leaves_a_living_engine_behind(bench: Bench) -> None:
    job = await bench.running("a")
    pid = bench.engine.pid
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (await bench.separate("b")).files
    assert bench.engine.pid == pid
    assert bench.left("a") == []


async def test_stems_that_are_there_when_their_caller_has_just_left_are_deleted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = bench.engine._keeper.hear

    async def and_the_caller_leaves() -> FromChild | None:
        message = await hear()
        if isinstance(message, Done):
            assert bench.left("a") == STEM_FILES
            job.cancel()
            await asyncio.wait([job])
        return message

    with monkeypatch.context() as patch:
        patch.setattr(bench.engine._keeper, "hear", and_the_caller_leaves)
        job = asyncio.create_task(bench.separate("a"))
        await asyncio.wait([job])
    assert job.cancelled()
    pid = bench.engine.pid
    assert (await bench.separate("b")).files
    assert bench.left("a") == []
    assert bench.engine.pid == pid


async def test_a_cancel_for_nobody_does_nothing(bench: Bench) -> None:
    bench.engine.cancel("a")
    assert (await bench.separate("a")).files
    bench.engine.cancel("a")
    assert (await bench.separate("b")).files


async def test_a_job_can_be_cancelled_while_the_engine_still_starts(bench: Bench) -> None:
    bench.with_options(start_s=1.0)
    job = asyncio.create_task(bench.separate("a"))
    await asyncio.sleep(0.1)
    bench.engine.cancel("a")
    with pytest.raises(CancelledError):
        await job
    assert (await bench.separate("b")).files


async def test_a_child_that_died_while_idle_is_replaced_for_the_next_job(bench: Bench) -> None:
    await bench.engine.start()
    pid = bench.engine.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert (await bench.separate("a")).files
    assert bench.engine.pid != pid


async def test_an_engine_that_was_idle_for_long_is_not_taken_for_hung(bench: Bench) -> None:
    engine = bench.with_options(Deadlines(stall_s=3))
    await bench.separate("a")
    pid = engine.pid
    await asyncio.sleep(3.1)
    assert (await bench.separate("b")).files
    assert engine.pid == pid


async def test_a_death_that_was_not_yet_seen_is_not_the_next_songs_fault(bench: Bench) -> None:
    await bench.engine.start()
    assert bench.engine.pid
    os.kill(bench.engine.pid, signal.SIGKILL)
    assert (await bench.separate("a", Behaviour(crashes=1))).files


async def test_without_models_there_is_a_sentence_and_as_soon_as_they_are_there_an_engine(bench: Bench) -> None:
    needed = bench.folder / "model"
    bench.with_options(needs=needed)
    with pytest.raises(EngineError, match=r"^the models are not here$"):
        await bench.engine.start()
    with pytest.raises(EngineError, match=r"^the models are not here$"):
        await bench.separate("a")
    needed.touch()
    assert (await bench.separate("a")).files


async def test_a_child_that_dies_while_it_starts_is_followed_by_another(bench: Bench) -> None:
    bench.with_options(dead_starts=2)
    assert (await bench.separate("a")).files


@pytest.mark.parametrize("options", [{"dead_starts": 3}, {"start_s": 60.0}], ids=["dies", "hangs"])
async def test_an_engine_that_never_becomes_ready_is_an_error_and_left_for_the_next_job(
    bench: Bench, options: dict[str, object]
) -> None:
    bench.with_options(Deadlines(start_s=2), **options)
    with pytest.raises(EngineError, match=r"^the engine could not be started$"):
        await bench.separate("a")
    assert bench.engine.pid is None


async def test_close_ends_what_runs_and_what_waits_and_keeps_nothing_behind(bench: Bench) -> None:
    running = await bench.running("a")
    waiting = asyncio.create_task(bench.separate("b"))
    await asyncio.sleep(0)
    pid = bench.engine.pid
    assert pid
    await bench.engine.close()
    for job in (running, waiting):
        with pytest.raises(CancelledError):
            await job
    assert not is_alive(pid)
    assert (bench.left("a"), bench.left("b")) == ([], [])
    with pytest.raises(EngineError, match="closed"):
        await bench.separate("c")


async def test_close_while_the_engine_starts(bench: Bench) -> None:
    bench.with_options(start_s=60.0)
    start = asyncio.create_task(bench.engine.start())
    job = asyncio.create_task(bench.separate("a"))
    await asyncio.sleep(0.1)
    await bench.engine.close()
    with pytest.raises(EngineError, match="closed"):
        await start
    with pytest.raises(CancelledError):
        await job


async def test_close_kills_what_does_not_hear_it(bench: Bench) -> None:
    bench.with_options(Deadlines(cancel_s=0.2, close_s=0.2))
    running = await bench.running("a", Behaviour(steps=10_000, step_s=0.01, deaf=True))
    pid = bench.engine.pid
    assert pid
    await bench.engine.close()
    with pytest.raises(CancelledError):
        await running
    assert not is_alive(pid)


async def test_what_a_progress_function_raises_does_not_reach_the_engine(bench: Bench) -> None:
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["exception"]))

    def fail(share: float) -> None:
        raise ValueError("the caller's own")

    assert (await bench.separate("a", on_progress=fail)).files
    assert {type(error) for error in seen} == {ValueError}


async def test_an_engine_for_each_gpu_and_one_without(tmp_path: Path) -> None:
    for gpus, numbers in ((3, [0, 1, 2]), (0, [0])):
        engines = await start_engines(FakeOptions(tmp_path, gpus=gpus), target=fake_engine.main)
        assert [engine.options.gpu for engine in engines] == numbers
        await asyncio.gather(*(engine.close() for engine in engines))
    (broken,) = await start_engines(FakeOptions(tmp_path, needs=tmp_path / "nothing"), target=fake_engine.main)
    with pytest.raises(EngineError, match="the models are not here"):
        await broken.start()
    await broken.close()


async def test_an_engine_whose_process_cannot_be_made_is_there_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "Child", no_memory)
        (engine,) = await start_engines(FakeOptions(tmp_path), target=fake_engine.main)
    await engine.start()
    await engine.close()


async def test_engines_that_nobody_waits_for_any_more_leave_no_process_behind(tmp_path: Path) -> None:
    options = FakeOptions(tmp_path, start_s=60.0)
    for wait_s in (0.0, 0.01, 0.5):
        starting = asyncio.create_task(start_engines(options, target=fake_engine.main))
        await asyncio.sleep(wait_s)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not multiprocessing.active_children()
        for thread in [thread for thread in threading.enumerate() if thread.name == "engine"]:
            thread.join(5.0)
            assert not thread.is_alive()


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from spectacles_engine.messages import SeparationRequest
from spectacles_engine.process import EngineProcess
from tests import fake_engine
from tests.alive import assert_gone, is_alive
from tests.fake_engine import Behaviour, FakeOptions, write_song

async def interrupt():
    while True:
        os.killpg(0, signal.SIGINT)
        await asyncio.sleep(0.002)

async def main():
    folder = Path(sys.argv[1])
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    interrupting = asyncio.create_task(interrupt()) if "interrupt" in sys.argv else None
    engine = EngineProcess(FakeOptions(folder), target=fake_engine.main)
    song = write_song(folder / "a.wav", Behaviour(steps=int(sys.argv[2]), step_s=0.01))
    await engine.start()
    print(engine.pid, flush=True)
    flac = SeparationRequest(format="flac")
    await engine.separate("a", song, folder / "a", flac, lambda share: print(share, flush=True))
    print(engine.pid, flush=True)
    await engine.close()

if __name__ == "__main__":
    asyncio.run(main())
"""


def _parent(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "parent.py").write_text(PARENT)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(folder / "parent.py"), str(folder), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    with _parent(tmp_path, "100000") as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert float(parent.stdout.readline()) == 0.0
        parent.kill()
    assert_gone(pid)


def test_ctrl_c_is_for_the_parent_alone_from_the_first_moment(tmp_path: Path) -> None:
    with _parent(tmp_path, "20", "interrupt") as parent:
        out, err = parent.communicate()
    lines = out.split()
    assert lines[0] == lines[-1]
    assert float(lines[-2]) == 1.0
    assert err == ""
    assert_gone(int(lines[0]))


async def test_a_child_that_is_lost_before_it_has_begun_is_not_the_songs_fault(bench: Bench) -> None:
    await bench.engine.start()
    pid = bench.engine.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(bench.separate("a", Behaviour(crashes=1)))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert (await job).files


async def test_a_cancel_by_force_is_not_the_second_time(bench: Bench) -> None:
    bench.with_options(Deadlines(cancel_s=0.2))
    shares: list[float] = []
    job = asyncio.create_task(bench.separate("a", Behaviour(crashes=1, hangs=1), shares.append))
    while shares.count(0.0) < 2:
        await asyncio.sleep(0.01)
    bench.engine.cancel("a")
    with pytest.raises(CancelledError):
        await job

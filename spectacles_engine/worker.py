"""The engine's child process: the other end of ``process``. Imports nothing heavy before it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from spectacles_engine.errors import MISTAKE_OF_OURS, CancelledError, SpecTaclesError
from spectacles_engine.messages import (
    Cancel,
    Close,
    Done,
    EngineOptions,
    Failed,
    FromChild,
    Progress,
    Ready,
    Separate,
    SeparationRequest,
    SeparationResult,
    ToChild,
)

if TYPE_CHECKING:
    Pipe = Connection[FromChild, ToChild]

SeparateSong = Callable[[Path, Path, SeparationRequest, Callable[[float], None]], SeparationResult]
"""(song, folder of its stems, what is wanted, called with the share done) → result; raises SpecTaclesError."""


class _ParentGone(Exception):
    """Nobody hears any more."""


def main(pipe: Pipe, options: EngineOptions) -> None:
    """Runs in the child: loads the models, then separates what comes through the pipe."""
    serve(pipe, lambda: _load(options))


def serve(pipe: Pipe, load: Callable[[], tuple[SeparateSong, int]]) -> None:
    """Answers until ``Close``, or until the parent is gone; ``load`` gives the engine and the number of GPUs."""
    _stand_alone()
    try:
        separate, gpus = load()
    except Exception as error:  # noqa: BLE001  all of them cross to the parent
        pipe.send(_failed(error))
        return
    pipe.send(Ready(gpus))
    with contextlib.suppress(_ParentGone, EOFError, BrokenPipeError):
        while not isinstance(message := pipe.recv(), Close):
            if isinstance(message, Separate) and not _work(pipe, separate, message):
                return


def _work(pipe: Pipe, separate: SeparateSong, job: Separate) -> bool:
    """Does one job and sends its answer; False if it was told to leave meanwhile."""
    closing = False

    def on_progress(share: float) -> None:
        nonlocal closing
        try:
            pipe.send(Progress(share))
            message = pipe.recv() if pipe.poll() else None
        except (EOFError, BrokenPipeError) as error:
            raise _ParentGone from error
        closing = isinstance(message, Close)
        if closing or message == Cancel(job.job_id):
            raise CancelledError("cancelled")

    answer: FromChild
    try:
        on_progress(0.0)
        answer = Done(separate(job.song, job.out, job.request, on_progress))
    except _ParentGone:
        raise
    except Exception as error:  # noqa: BLE001  all of them cross to the parent
        answer = _failed(error)
    pipe.send(answer)
    return not closing


def _failed(error: Exception) -> Failed:
    if isinstance(error, SpecTaclesError):
        return Failed(error)
    return Failed(SpecTaclesError(MISTAKE_OF_OURS), traceback.format_exc())


def _stand_alone() -> None:
    """Has the process live and die by its parent alone, and keep what libraries print to itself."""
    # Ctrl-C goes to the whole group of processes: what becomes of this one, the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if not os.environ.get("SPECTACLES_DEBUG"):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        # in the midst of whatever it computes, else it would hold the GPU's memory for ever
        os._exit(1)


def _load(options: EngineOptions) -> tuple[SeparateSong, int]:
    """The real engine, warm, and the number of GPUs; raises ModelError."""
    if options.gpu:
        # Before CUDA starts. The first child leaves it as it is: it takes the first GPU, and counts them.
        os.environ["CUDA_VISIBLE_DEVICES"] = nth_gpu(options.gpu, os.environ.get("CUDA_VISIBLE_DEVICES"))

    from spectacles_engine.devices import gpus
    from spectacles_engine.manifest import Manifest
    from spectacles_engine.models import ModelStore
    from spectacles_engine.separation import SongSeparator

    manifest = Manifest.load().with_own(options.preset, options.mixer, options.quality)
    separator = SongSeparator(ModelStore(options.models, manifest), options.device, options.limits)
    separator.warm_up(options.preset, options.blend)
    return separator.separate, gpus(options.device)


def nth_gpu(number: int, visible: str | None) -> str:
    """The name of a GPU, counted from 0 among those that CUDA_VISIBLE_DEVICES lets this machine's programs see."""
    return visible.split(",")[number] if visible else str(number)

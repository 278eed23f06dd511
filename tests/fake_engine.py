"""A fast engine in a real child process, for tests: it answers with a quarter of the song for every stem.

::

    engine = EngineProcess(FakeOptions(tmp_path), target=fake_engine.main)
    song = write_song(tmp_path / "a.wav", Behaviour(crashes=1))

What it does wrong comes with the song (``write_song``), or by chance with the options (``FakeOptions``).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import signal
import struct
import time
import wave
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectacles_engine import worker
from spectacles_engine.errors import ModelMissingError, NotAudioError
from spectacles_engine.messages import (
    MIXES,
    STEMS,
    EngineOptions,
    QualityNote,
    SeparationRequest,
    SeparationResult,
    StemQuality,
)

if TYPE_CHECKING:
    from spectacles_engine.worker import Pipe

_MARK = b"FAKE"


@dataclass(frozen=True)
class Behaviour:
    """What happens to a song: ``steps`` progress messages, ``step_s`` apart; then it ends well, unless told otherwise.

    ``crashes``, ``hangs``: in so many first attempts the engine is killed, or hangs, halfway.
    """

    steps: int = 4
    step_s: float = 0.0
    crashes: int = 0
    hangs: int = 0
    deaf: bool = False
    """Neither sends progress nor hears a message: a cancel needs force."""
    not_audio: bool = False
    mistake: bool = False
    """Raises what is no SpecTaclesError."""


@dataclass(frozen=True)
class FakeOptions(EngineOptions):
    """``crash_rate``, ``hang_rate``: chances (0–1) for each attempt. ``step_s``: for every song, instead of its own.

    ``needs``: a file without which it can't start; ``start_s``: how long that takes; ``dead_starts``: so many of the
    first starts end with a crash; ``gpus``: how many it reports.
    """

    crash_rate: float = 0.0
    hang_rate: float = 0.0
    seed: int = 0
    step_s: float = 0.0
    needs: Path | None = None
    start_s: float = 0.0
    dead_starts: int = 0
    gpus: int = 0


def write_song(path: Path, behaviour: Behaviour = Behaviour(), *, seconds: float = 1.0, seed: int = 0) -> Path:
    """A stereo WAV with a tone that is the ``seed``'s own, and what the engine is to do with it."""
    samples = round(44_100 * seconds)
    pitch_hz = 110 * 2 ** (seed / 48)
    tone = [round(8000 * math.sin(2 * math.pi * pitch_hz * k / 44_100)) for k in range(samples)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(array("h", [value for value in tone for _ in range(2)]).tobytes())
    note = json.dumps(asdict(behaviour)).encode()
    note += b" " * (len(note) % 2)
    # a chunk of its own, which no decoder looks at
    with open(path, "r+b") as raw:
        raw.seek(0, os.SEEK_END)
        raw.write(_MARK + struct.pack("<I", len(note)) + note)
        size = raw.tell()
        raw.seek(4)
        raw.write(struct.pack("<I", size - 8))
    return path


def wav(folder: Path, behaviour: Behaviour = Behaviour(), *, seconds: float = 1.0, seed: int = 0) -> bytes:
    """The bytes of such a song, as people send them."""
    return write_song(folder / f"song-{seed}.wav", behaviour, seconds=seconds, seed=seed).read_bytes()


def main(pipe: Pipe, options: EngineOptions) -> None:
    """The target of an EngineProcess; ``options`` may be FakeOptions."""
    fake = options if isinstance(options, FakeOptions) else FakeOptions(options.models)
    worker.serve(pipe, lambda: _load(fake))


def _load(options: FakeOptions) -> tuple[worker.SeparateSong, int]:
    if options.needs and not options.needs.exists():
        raise ModelMissingError("the models are not here")
    time.sleep(options.start_s)
    starts = _tally(options.models, "starts")
    if starts < options.dead_starts:
        os.kill(os.getpid(), signal.SIGKILL)
    import soundfile  # noqa: F401  now, not in the first song

    chance = random.Random(options.seed + starts)

    def separate(
        song: Path, out: Path, request: SeparationRequest, on_progress: Callable[[float], None]
    ) -> SeparationResult:
        behaviour = _behaviour(song)
        if options.step_s:
            behaviour = replace(behaviour, step_s=options.step_s)
        attempt = _tally(options.models, str(song))
        return _separate(song, out, request, on_progress, _with_chance(behaviour, attempt, options, chance), attempt)

    return separate, options.gpus


def _separate(
    song: Path,
    out: Path,
    request: SeparationRequest,
    on_progress: Callable[[float], None],
    behaviour: Behaviour,
    attempt: int,
) -> SeparationResult:
    if behaviour.not_audio:
        raise NotAudioError("not an audio file")
    if behaviour.mistake:
        raise ZeroDivisionError("a mistake, on purpose")
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    (out / ".half.part").write_bytes(b"half a stem")
    for step in range(behaviour.steps):
        if step == behaviour.steps // 2:
            _misbehave(behaviour, attempt)
        time.sleep(behaviour.step_s)
        if not behaviour.deaf:
            on_progress((step + 1) / behaviour.steps)
    seconds, rate = _write_stems(song, out, request)
    (out / ".half.part").unlink()
    quality = StemQuality("good", 6.0, 4.5, 7.5)
    names = [*request.stems, *([request.mix] if request.mix else [])]
    return SeparationResult(
        song=str(song),
        seconds=seconds,
        sample_rate=rate,
        preset=request.preset,
        blend=request.blend,
        device="fake",
        elapsed_s=time.monotonic() - started,
        peak_rss_mb=0,
        files={name: str(out / f"{name}.{request.format}") for name in names},
        note=QualityNote(dict.fromkeys((*STEMS, *MIXES), quality), -40.0),
    )


def _misbehave(behaviour: Behaviour, attempt: int) -> None:
    if attempt < behaviour.crashes:
        os.kill(os.getpid(), signal.SIGKILL)
    while attempt < behaviour.crashes + behaviour.hangs:
        time.sleep(60)


def _write_stems(song: Path, out: Path, request: SeparationRequest) -> tuple[float, int]:
    """Every stem is a quarter of the song, so that they add up to it; returns its length in s and its rate in Hz."""
    import soundfile

    try:
        samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise NotAudioError("not an audio file") from error
    for name in request.stems:
        soundfile.write(out / f"{name}.{request.format}", samples / 4, rate, "PCM_24")
    if request.mix:
        soundfile.write(out / f"{request.mix}.{request.format}", samples * 3 / 4, rate, "PCM_24")
    return len(samples) / rate, rate


def _behaviour(song: Path) -> Behaviour:
    data = song.read_bytes()
    at = data.rfind(_MARK)
    return Behaviour(**json.loads(data[at + 8 :])) if at > 0 else Behaviour()


def _tally(folder: Path, what: str) -> int:
    """How often this was asked before; kept in a file, for a child that died remembers nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{hashlib.sha256(what.encode()).hexdigest()}.tally", "ab") as file:
        file.write(b"x")
        return file.tell() - 1


def _with_chance(behaviour: Behaviour, attempt: int, options: FakeOptions, chance: random.Random) -> Behaviour:
    if chance.random() < options.crash_rate:
        return replace(behaviour, crashes=attempt + 1)
    if chance.random() < options.hang_rate:
        return replace(behaviour, crashes=0, hangs=attempt + 1)
    return behaviour

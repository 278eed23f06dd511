"""The program behind ``audio_files``: one question as JSON on stdin, one answer on stdout."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from spectacles_engine.audio.song import Song
from spectacles_engine.audio.writing import StemWriter
from spectacles_engine.messages import Tags
from spectacles_engine.short_child import answer

CEILING = 0.999
"""Loudest sample of a sum that had to be turned down."""


def inspect(path: str, longest_s: float, opening_s: int) -> dict[str, Any]:
    """The fields of ``audio_files.Inspected``; raises InputError.

    A file that is not open after ``opening_s`` ends the process: no code of Python's would run before FFmpeg is done.
    """
    signal.alarm(opening_s)
    opened = Song(Path(path), longest_s, np.inf)
    signal.alarm(0)
    with opened as song, open(path, "rb") as arrived:
        os.fsync(arrived.fileno())  # that it is there is noted next, and outlives a power cut: so must it
        digest = hashlib.sha256(f"{song.sample_rate} {song.channels} ".encode())
        for second in song.seconds():
            # sample by sample, so that it does not depend on where blocks end
            digest.update(np.ascontiguousarray(second.T, "<f4").data)
        return {
            "audio": digest.hexdigest(),
            "seconds": song.samples / song.sample_rate,
            "sample_rate": song.sample_rate,
            "channels": song.channels,
            "title": song.title,
            "performer": song.performer,
            "warnings": song.warnings,
        }


def encode(stems: list[str], path: str, format: str, bitrate_kbps: int | None, tags: dict[str, Any]) -> None:
    """The sum of files that are alike in rate, channels and length, as another file; raises OutputError."""
    peak = max(float(np.abs(block).max()) for block in _sum(stems)) if len(stems) > 1 else 0.0
    gain = np.float32(CEILING / peak if peak > 1 else 1)
    with (
        _opened(stems[0]) as first,
        StemWriter(
            Path(path),
            format,
            sample_rate=first.samplerate,
            channels=first.channels,
            block_rate=first.samplerate,
            bitrate_kbps=bitrate_kbps,
            tags=Tags(**tags),
        ) as writer,
    ):
        for block in _sum(stems):
            writer.write(np.broadcast_to(block * gain, (2, block.shape[1])))
        writer.finish(first.frames)


def _sum(stems: list[str]) -> Iterator[NDArray[np.float32]]:
    """Blocks (channels, n) of about a second."""
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(stem)) for stem in stems]
        streams = (file.blocks(file.samplerate, dtype="float32", always_2d=True) for file in files)
        for blocks in zip(*streams, strict=True):
            together: NDArray[np.float32] = np.stack(blocks).sum(axis=0)
            yield together.T


@contextmanager
def _opened(stem: str) -> Iterator[soundfile.SoundFile]:
    """By descriptor: soundfile takes no name that the locale cannot spell."""
    with open(stem, "rb") as handle, soundfile.SoundFile(handle.fileno(), closefd=False) as file:
        yield file


def _work(question: dict[str, Any]) -> dict[str, Any] | None:
    if question.pop("do") == "inspect":
        return inspect(**question)
    encode(**question)
    return None


if __name__ == "__main__":
    answer(_work)

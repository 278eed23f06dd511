"""What a stem player needs of a separated song: all stems in short segments cut at the same samples, and their peaks.

A program for a short-lived child: ``python -m spectacles_engine.audio.playback FOLDER CHANNELS``.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from spectacles_engine.audio.song import open_song
from spectacles_engine.chunking import rebatch
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.playback import PEAKS_FILE, SEGMENT_SAMPLES, segment_file
from spectacles_engine.whole_files import write_whole

MOST_PEAKS = 1500
"""For a song of any length: more than a waveform on a projector has bars."""

_PEAK_SAMPLES = SEGMENT_SAMPLES // 200


def write_playback(stems: Sequence[Path], folder: Path, channels: int) -> None:
    """Writes ``0.segment``, ``1.segment``, … into ``folder``, each as soon as it is done, then ``peaks.json``.

    A segment is two seconds (the last one less): as many uint32 (little-endian) as there are stems, the sizes in bytes
    of what follows, a 16-bit FLAC file for every stem, all with ``channels`` and 44.1 kHz. ``peaks.json`` has for every
    stem the loudest sample of equal stretches of the song, 255 being the loudest of all.
    """
    peaks: list[NDArray[np.float32]] = []
    with ExitStack() as stack:
        songs = [stack.enter_context(open_song(stem)) for stem in stems]
        together = zip(*(rebatch(song.blocks(), SEGMENT_SAMPLES) for song in songs), strict=True)
        for number, segment in enumerate(together):
            flacs = [_flac(stem[:channels]) for stem in segment]
            sizes = struct.pack(f"<{len(flacs)}I", *map(len, flacs))
            _publish(folder / segment_file(number), sizes + b"".join(flacs))
            peaks.append(np.stack([_peaks(stem) for stem in segment]))
    shown = _shown(np.concatenate(peaks, axis=1))
    names = [stem.stem for stem in stems]
    _publish(folder / PEAKS_FILE, json.dumps({"stems": dict(zip(names, shown.tolist(), strict=True))}).encode())


def _flac(block: NDArray[np.float32]) -> bytes:
    pcm = np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    # The fastest level: next to the highest it costs a tenth more bytes.
    soundfile.write(file, pcm.T, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16", compression_level=0.0)
    return file.getvalue()


def _peaks(block: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum.reduceat(np.abs(block).max(axis=0), np.arange(0, block.shape[1], _PEAK_SAMPLES))


def _shown(peaks: NDArray[np.float32]) -> NDArray[np.int64]:
    """(stem, n) → at most MOST_PEAKS of 0–255."""
    at = np.unique(np.linspace(0, peaks.shape[1], MOST_PEAKS, endpoint=False).astype(int))
    shown = np.maximum.reduceat(peaks, at, axis=1)
    return np.rint(shown * (255 / max(1e-9, float(shown.max())))).astype(np.int64)


def _publish(path: Path, data: bytes) -> None:
    """A line on stdout says that the file is there."""
    write_whole(path, data)
    print(path.name, flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_playback([folder / f"{stem}.flac" for stem in STEMS], folder, channels=int(sys.argv[2]))

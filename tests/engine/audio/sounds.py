"""Noise as it is written and read again: what tests of files have in common."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import cast

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from spectacles_engine.audio import StemWriter, open_song

Sound = NDArray[np.float32]


@functools.cache
def noise(samples: int, channels: int, rate: int) -> Sound:
    """(channels, samples) of noise from 100 Hz to a quarter of the rate, faded at both ends, peaking at 0.5."""
    raw = np.random.default_rng(0).standard_normal((channels, samples + 400))
    sections = butter(6, [100, 0.25 * min(rate, 44_100)], "band", fs=rate, output="sos")
    band = sosfiltfilt(sections, raw)[:, 200 : 200 + samples]
    fade = np.minimum(1, np.minimum(np.arange(samples) + 1, np.arange(samples, 0, -1)) / (0.02 * rate))
    band = band * fade
    sound: Sound = (0.5 * band / np.abs(band).max()).astype(np.float32)
    sound.flags.writeable = False
    return sound


def decode(path: Path, longest_s: float = 3600.0, deadline_s: float = 600.0) -> tuple[Sound, int, list[str]]:
    """All of a file at 44.1 kHz, its length in its own samples, and the warnings."""
    with open_song(path, longest_s=longest_s, deadline_s=deadline_s) as song:
        blocks = list(song.blocks())
        assert all(block.dtype == np.float32 and block.shape[0] == 2 for block in blocks)
        assert all(block.shape[1] <= 2.1 * 44_100 for block in blocks)
        return np.concatenate(blocks, axis=1), song.samples, song.warnings


def encode(path: Path, sound: Sound, *, samples: int, rate: int, channels: int = 2, block: int = 30_000) -> Path:
    """Write 44.1 kHz ``sound`` as ``path``'s suffix says."""
    with StemWriter(path, path.suffix[1:], sample_rate=rate, channels=channels) as writer:
        for start in range(0, sound.shape[1], block):
            writer.write(sound[:, start : start + block])
        writer.finish(samples)
    return path


def lag(a: Sound, b: Sound) -> int:
    """Samples by which ``b`` comes after ``a``, by cross-correlation of their first channels."""
    size = 2 * max(a.shape[1], b.shape[1])
    correlation = np.fft.irfft(np.conj(np.fft.rfft(a[0], size)) * np.fft.rfft(b[0], size), size)
    peak = int(np.argmax(correlation))
    return peak if peak < size // 2 else peak - size


def error_db(truth: Sound, answer: Sound) -> float:
    return float(10 * np.log10(np.mean((truth - answer) ** 2) / np.mean(truth**2) + 1e-30))


def write_sound(path: Path, sound: Sound, rate: int, subtype: str | None = None) -> Path:
    soundfile.write(path, sound.T, rate, subtype=subtype)
    return path


def write_av(path: Path, codec: str, sound: Sound, rate: int, *, start: int = 0, has_length: bool = True) -> Path:
    """``start`` in samples; ``has_length``: of an MP3, whether it says how long it is."""
    layout = {1: "mono", 2: "stereo", 4: "4.0", 6: "5.1"}[sound.shape[0]]
    with av.open(str(path), "w", options={} if has_length else {"write_xing": "0"}) as output:
        stream = cast("av.AudioStream", output.add_stream(codec, rate=rate, layout=layout))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate, frame.pts = rate, start
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def wav_bytes(data: bytes, *, promised: int | None = None, rate: int = 44_100, channels: int = 2) -> bytes:
    size = len(data) if promised is None else promised
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    riff = struct.pack("<I", min(36 + size, 0xFFFFFFFF))
    return b"RIFF" + riff + b"WAVEfmt " + layout + b"data" + struct.pack("<I", size) + data

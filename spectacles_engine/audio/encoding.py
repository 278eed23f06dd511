"""Two encoders behind one seam: libsndfile, and FFmpeg (PyAV) for AAC."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from spectacles_engine.messages import Tags

ENCODER_ERRORS = (soundfile.LibsndfileError, av.FFmpegError, OSError)
"""What an encoder raises when it can't write."""

_RATES_HZ = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
    "m4a": (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
}
# libsndfile crashes when asked for Vorbis at 384 kHz.
_MOST_VORBIS_HZ = 192_000
_DEFAULT_KBPS = {"mp3": 320, "ogg": 256, "opus": 192, "m4a": 256}
_CONTAINERS = {
    "wav": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
# libsndfile crashes when it gets minutes of Vorbis at once.
_MOST_SAMPLES_AT_ONCE = 1 << 16
# Far more than an encoder holds back: a page of Ogg has at most 64 KiB.
_TAIL_BYTES = 1 << 18
# Nominal kbit/s of stereo at 44.1 kHz for libvorbis' quality 0 … 10.
_VORBIS_KBPS = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)


def written_rate(format: str, sample_rate: int) -> int:
    """The rate in Hz at which ``format`` stores sound of ``sample_rate``.

    The same wherever the format allows it, else the next higher one that it does, else its highest: Opus knows 8, 12,
    16, 24 and 48 kHz, MP3 ends at 48 kHz, AAC at 96 kHz, Vorbis (libsndfile) at 192 kHz; FLAC counts in tens of Hz what
    16 bits do not hold (RFC 9639, 9.1.2).
    """
    if format == "flac" and sample_rate >= 1 << 16:
        return -(-sample_rate // 10) * 10
    if format == "ogg":
        return min(sample_rate, _MOST_VORBIS_HZ)
    allowed = _RATES_HZ.get(format, (sample_rate,))
    return next((rate for rate in allowed if rate >= sample_rate), allowed[-1])


class Encoder(Protocol):
    """Takes (channels, n) float32 blocks; ``close`` completes the file. Both raise ENCODER_ERRORS."""

    def write(self, block: NDArray[np.float32]) -> None: ...

    def close(self) -> None: ...


def open_encoder(
    handle: BinaryIO, format: str, *, rate: int, channels: int, bitrate_kbps: int | None, tags: Tags
) -> Encoder:
    """An encoder of ``format`` that writes to ``handle`` and leaves it open."""
    kbps = bitrate_kbps or _DEFAULT_KBPS.get(format, 0)
    if format == "m4a":
        return FfmpegEncoder(handle, rate, channels, kbps, tags)
    return SoundfileEncoder(handle, format, rate, channels, kbps, tags)


class SoundfileEncoder:
    """24-bit WAV and FLAC, constant bitrate MP3, Ogg Vorbis and Opus."""

    def __init__(self, handle: BinaryIO, format: str, rate: int, channels: int, kbps: int, tags: Tags) -> None:
        container, subtype = _CONTAINERS[format]
        self._handle = handle
        if format == "mp3":
            _write_all(handle, _id3(tags))
        # By descriptor: through a Python file object a full disk would go unnoticed.
        self._file = soundfile.SoundFile(
            handle.fileno(),
            "w",
            samplerate=rate,
            channels=channels,
            format=container,
            subtype=subtype,
            closefd=False,
            compression_level=_compression_level(format, rate, channels, kbps),
            bitrate_mode="CONSTANT" if format == "mp3" else None,
        )
        named = tags.named(title="title", performer="artist", album="album", track="tracknumber")
        for name, value in named.items() if format != "mp3" else ():
            setattr(self._file, name, value)

    def write(self, block: NDArray[np.float32]) -> None:
        for start in range(0, block.shape[1], _MOST_SAMPLES_AT_ONCE):
            self._file.write(block[:, start : start + _MOST_SAMPLES_AT_ONCE].T)

    def close(self) -> None:
        _make_room(self._handle, _TAIL_BYTES)
        self._file.close()


def _id3(tags: Tags) -> bytes:
    """The tags of an MP3 (ID3v2.4), which come first; libsndfile would call their UTF-8 Latin-1."""
    named = tags.named(title="TIT2", performer="TPE1", album="TALB", track="TRCK")
    texts = {name: b"\x03" + value.encode() for name, value in named.items()}
    frames = b"".join(name.encode() + _synchsafe(len(text)) + bytes(2) + text for name, text in texts.items())
    return b"ID3\x04\0\0" + _synchsafe(len(frames)) + frames if frames else b""


def _synchsafe(size: int) -> bytes:
    """Four bytes of seven bits (ID3v2.4 structure, 6.2)."""
    return bytes(size >> bits & 0x7F for bits in (21, 14, 7, 0))


def _make_room(handle: BinaryIO, size_bytes: int) -> None:
    """Raise OSError unless ``size_bytes`` more fit; libsndfile says nothing when its last bytes don't."""
    position = handle.tell()
    end = handle.seek(0, os.SEEK_END)
    try:
        _write_all(handle, bytes(size_bytes))
    finally:
        handle.truncate(end)
        handle.seek(position)


def _write_all(handle: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file, which may take less of it at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[handle.write(rest) :]


def _compression_level(format: str, rate: int, channels: int, kbps: int) -> float | None:
    """libsndfile's 0 (best) … 1 (smallest) for a bitrate; each codec maps it differently (libsndfile 1.2, src)."""
    if format == "mp3":
        least, most = (32, 320) if rate >= 32_000 else (8, 160) if rate >= 16_000 else (8, 64)
        level = (most - kbps) / (most - least)
    elif format == "opus":
        level = 1 - (kbps / channels - 6) / 250
    elif format == "ogg":
        level = 1 - float(np.interp(kbps, _VORBIS_KBPS, np.linspace(0, 1, len(_VORBIS_KBPS))))
    else:
        return None
    return max(0.0, level)


class FfmpegEncoder:
    """AAC in MP4, with an edit list that cuts the encoder's delay and padding to the sample."""

    def __init__(self, handle: BinaryIO, rate: int, channels: int, kbps: int, tags: Tags) -> None:
        self._layout = "mono" if channels == 1 else "stereo"
        self._rate = rate
        self._samples = 0
        self._output = _Output(handle)
        # The edit list counts in this timescale, a thousandth of a second unless told otherwise.
        self._container = av.open(self._output, "w", format="ipod", options={"movie_timescale": str(rate)})
        self._stream = self._container.add_stream("aac", rate=rate, layout=self._layout, bit_rate=1000 * kbps)
        self._container.metadata.update(tags.named(title="title", performer="artist", album="album", track="track"))

    def write(self, block: NDArray[np.float32]) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block, np.float32), "fltp", self._layout)
        frame.sample_rate = self._rate
        frame.pts = self._samples
        self._samples += frame.samples
        self._container.mux(self._stream.encode(frame))
        self._output.check()

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._output.check()


class _Output:
    """The file that FFmpeg writes to; keeps the first error, because PyAV prints all that come after one."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._error: OSError | None = None
        self.seek, self.tell = handle.seek, handle.tell

    def write(self, data: bytes) -> int:
        try:
            _write_all(self._handle, data)
        except OSError as error:
            self._error = self._error or error
        return len(data)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

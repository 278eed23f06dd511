"""Stems to files: back to the song's own rate, length and channel count, all or nothing."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soxr
from numpy.typing import NDArray

from spectacles_engine.audio.encoding import ENCODER_ERRORS, open_encoder, written_rate
from spectacles_engine.errors import OutputError
from spectacles_engine.messages import FORMATS, SAMPLE_RATE_HZ, Tags

_MOST_WAV_BYTES = 2**32 - 2**16


class StemWriter:
    """Writes one stem; a context manager that leaves either a whole file behind or none.

    WAV and FLAC are 24-bit PCM: its noise at -146 dB is out of hearing, and every player reads it. ``bitrate_kbps`` is
    for mp3 (constant), m4a, ogg and opus (on average), by default 320, 256, 256 and 192. ``block_rate`` is the rate of
    what comes, ``sample_rate`` that of the song, and afterwards that in the file (see ``written_rate``). Raises
    OutputError for a full disk or an unwritable folder.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        *,
        sample_rate: int,
        channels: int,
        block_rate: int = SAMPLE_RATE_HZ,
        bitrate_kbps: int | None = None,
        tags: Tags = Tags(),  # noqa: B008  frozen
    ) -> None:
        if format not in FORMATS or channels not in (1, 2):
            raise ValueError(f"cannot write {channels} channels as {format}")
        self.sample_rate = written_rate(format, sample_rate)
        self._song_rate, self._channels = sample_rate, channels
        self._path = path
        self._part = path.with_name(f".{uuid.uuid4().hex}.part")
        self._held: list[NDArray[np.float32]] = []
        self._written = 0
        self._most_samples = _MOST_WAV_BYTES // (3 * channels) if format == "wav" else None
        self._resampler = None
        if self.sample_rate != block_rate:
            self._resampler = soxr.ResampleStream(block_rate, self.sample_rate, channels, dtype="float32")
        try:
            self._handle: BinaryIO = open(self._part, "x+b", buffering=0)  # noqa: SIM115 - closed by finish or __exit__
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._encoder = open_encoder(
                self._handle,
                format,
                rate=self.sample_rate,
                channels=channels,
                bitrate_kbps=bitrate_kbps,
                tags=tags,
            )
        except ENCODER_ERRORS as error:
            self._discard()
            raise self._failure(error) from error

    def write(self, block: NDArray[np.float32]) -> None:
        """Append a (2, n) float32 block at ``block_rate``; a mono file gets the mean of the channels."""
        mixed = block.mean(axis=0, keepdims=True) if self._channels == 1 else block
        if self._resampler is not None:
            mixed = self._resampler.resample_chunk(np.ascontiguousarray(mixed.T, np.float32)).T
        self._held.append(mixed)
        # A second stays in hand, so that ``finish`` can still cut.
        while sum(held.shape[1] for held in self._held[1:]) >= self.sample_rate:
            self._append(self._held.pop(0))

    def finish(self, samples: int) -> None:
        """Close the file at exactly ``samples`` of the song's rate: at most a second is cut, silence fills the rest."""
        if self._resampler is not None:
            end = np.zeros((0, self._channels), np.float32)
            self._held.append(self._resampler.resample_chunk(end, last=True).T)
        missing = max(1, round(samples * self.sample_rate / self._song_rate)) - self._written
        if missing < 0:
            raise ValueError(f"{-missing} samples more than a second too many were written")
        for held in self._held:
            self._append(held[:, :missing])
            missing -= min(missing, held.shape[1])
        while missing:
            silence = np.zeros((self._channels, min(missing, self.sample_rate)), np.float32)
            self._append(silence)
            missing -= silence.shape[1]
        self._publish()

    def _append(self, block: NDArray[np.float32]) -> None:
        self._written += block.shape[1]
        if self._most_samples is not None and self._written > self._most_samples:
            raise OutputError(f"{self._path.name} would be larger than 4 GB, more than a WAV file holds; ask for flac")
        try:
            if block.shape[1]:
                self._encoder.write(block)
        except ENCODER_ERRORS as error:
            raise self._failure(error) from error

    def _publish(self) -> None:
        try:
            self._encoder.close()
            os.fsync(self._handle.fileno())  # who is told of the file finds it whole, also after a power cut
            self._handle.close()
            os.replace(self._part, self._path)
        except ENCODER_ERRORS as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        reason = (getattr(error, "strerror", None) or "is the disk full?").lower()
        return OutputError(f"{self._path.name} could not be written ({reason})")

    def _discard(self) -> None:
        self._handle.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> StemWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._handle.closed:
            with contextlib.suppress(*ENCODER_ERRORS):
                self._encoder.close()  # frees the encoder; its file is about to go
        self._discard()

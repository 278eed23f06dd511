"""A person's file as the engine wants it: a stream of stereo blocks at 44.1 kHz, within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import soxr
from numpy.typing import NDArray

from spectacles_engine.audio.decoder import Decoder, downmix_weights
from spectacles_engine.audio.decoding import open_decoder
from spectacles_engine.errors import NotAudioError, TooLongError
from spectacles_engine.messages import SAMPLE_RATE_HZ

# Far above any scale in which samples are written (±1, or ±32768 by mistake), far below what overflows a network.
_LOUDEST = 1e6
# A song is called clipped where so many of its samples are above that level and equal to the one before.
_CLIPPED, _CLIPPED_SHARE = 0.99, 1e-4
_LONGEST_TAG = 200


def open_song(
    path: Path,
    *,
    longest_s: float = np.inf,
    deadline_s: float = np.inf,
    between_blocks: Callable[[], None] = lambda: None,
) -> Song:
    """Open any audio or video file for separation, decoding its beginning.

    Raises InputError (unreadable), NotAudioError (nothing to hear) or TooLongError (longer than ``longest_s``, or more
    than ``deadline_s`` of work for the decoder). A header that promises more than ``longest_s``, or says nothing, is
    checked by decoding the file once, so that a song is not refused after an hour of separation; ``between_blocks`` may
    raise to end that.
    """
    song = Song(path, longest_s, deadline_s)
    if song.duration_s is not None and song.duration_s <= longest_s:
        return song
    with song:
        for _ in song.seconds():
            between_blocks()
    measured = Song(path, longest_s, deadline_s)
    measured.duration_s = song.samples / song.sample_rate
    return measured


class Song:
    """One song that is being read, a context manager. Made by ``open_song``, which checks how long it is.

    ``sample_rate`` (Hz) and ``channels`` (1 or 2) are what the stems will have; ``duration_s`` is an estimate for
    progress only; ``samples`` counts what was decoded so far, at ``sample_rate``; ``title`` and ``performer`` are
    the beginnings of its tags, whatever these hold (None where they say nothing).
    """

    def __init__(self, path: Path, longest_s: float, deadline_s: float) -> None:
        self._longest_s = longest_s
        self._deadline_s = deadline_s
        self._decoding_s = 0.0
        self._not_numbers = self._clipped = 0
        began = time.monotonic()
        self._decoder: Decoder = open_decoder(path)
        self._decoding_s += time.monotonic() - began
        self.sample_rate = self._decoder.sample_rate
        self.title = self._decoder.title[:_LONGEST_TAG] or None
        self.performer = self._decoder.performer[:_LONGEST_TAG] or None
        self.channels = 1 if len(self._decoder.speakers) == 1 else 2
        self.duration_s = self._decoder.duration_s
        self.samples = 0
        self._decoded = self._decoder.blocks()
        try:
            self._first = self._next_second()
            if self._first is None:
                raise NotAudioError("no sound in this file")
        except BaseException:
            self.close()
            raise

    @property
    def warnings(self) -> list[str]:
        """Sentences on what is wrong with the file, as far as it was decoded."""
        found = list(self._decoder.warnings)
        if self._not_numbers:
            found.append(f"{self._not_numbers} samples were not numbers and became silence")
        if self._clipped > _CLIPPED_SHARE * self.samples:
            found.append("the input is clipped in places")
        return found

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield (2, n) blocks of about a second at 44.1 kHz, once; raises TooLongError.

        The first sample is the file's first; n adds up to ``samples`` * 44100 / ``sample_rate``, rounded, at least 1.
        """
        if self.sample_rate == SAMPLE_RATE_HZ:
            for second in self.seconds():
                yield _stereo(second)
            return
        resampler = soxr.ResampleStream(self.sample_rate, SAMPLE_RATE_HZ, self.channels, dtype="float32")
        is_empty = True
        last = np.zeros((self.channels, 0), np.float32)
        for second in self.seconds():
            last = second
            block = resampler.resample_chunk(np.ascontiguousarray(second.T)).T
            if block.shape[1]:
                is_empty = False
                yield _stereo(block)
        block = resampler.resample_chunk(np.zeros((0, self.channels), np.float32), last=True).T
        if block.shape[1] or is_empty:
            # Less than half a sample at 44.1 kHz is still a sound.
            yield _stereo(block if block.shape[1] else last[:, :1])

    def seconds(self) -> Iterator[NDArray[np.float32]]:
        """Yield (channels, n) at the file's own rate, clean, mixed to at most two channels; as ``blocks``, once."""
        second, self._first = self._first, None
        weights = downmix_weights(self._decoder.speakers)
        while second is not None:
            usable = np.abs(second) < _LOUDEST
            self._not_numbers += int(usable.size - np.count_nonzero(usable))
            clean = np.where(usable, second, np.float32(0))
            # a flat top, not merely a loud sample: what an MP3 decodes to passes full scale all the time; and before
            # the sound is resampled, which rounds it
            is_flat = (np.abs(clean[:, 1:]) > _CLIPPED) & (clean[:, 1:] == clean[:, :-1])
            self._clipped += int(np.count_nonzero(is_flat.any(axis=0)))
            yield clean if weights is None else weights @ clean
            second = self._next_second()

    def _next_second(self) -> NDArray[np.float32] | None:
        """A second or a little more of decoded sound, less at the end, None after it."""
        parts: list[NDArray[np.float32]] = []
        gathered = 0
        while gathered < self.sample_rate and (block := self._next_block()) is not None:
            parts.append(block)
            gathered += block.shape[1]
        return np.concatenate(parts, axis=1) if gathered else None

    def _next_block(self) -> NDArray[np.float32] | None:
        began = time.monotonic()
        block = next(self._decoded, None)
        self._decoding_s += time.monotonic() - began
        if self._decoding_s > self._deadline_s:
            raise TooLongError(f"took longer than {_minutes(self._deadline_s)} to decode")
        if block is not None:
            self.samples += block.shape[1]
        if self.samples > self._longest_s * self.sample_rate:
            raise TooLongError(f"longer than {_minutes(self._longest_s)}")
        return block

    def close(self) -> None:
        """Close the file; done by ``with`` as well."""
        self._decoder.close()

    def __enter__(self) -> Song:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _stereo(block: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.broadcast_to(block, (2, block.shape[1])))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"

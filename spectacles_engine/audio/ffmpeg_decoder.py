"""Everything with a codec or a picture, read by FFmpeg (PyAV)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import av
import av.container
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from spectacles_engine.audio.decoder import DAMAGED, ENDS_EARLY, LEAST_RATE_HZ, WAVE_ORDER
from spectacles_engine.errors import NotAudioError

_FFMPEG_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,mp3,aac,flv,avi,wav,ogg,mpegts,mpeg,ape,wv,tta,amr,caf,aiff,flac,ac3"
    ",eac3,voc"
)
_HEADER_TELLS_LENGTH = {
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "asf",
    "avi",
    "flv",
    "flac",
    "caf",
    "ape",
    "wv",
    "tta",
}
_FFMPEG_ERRORS = (av.FFmpegError, OSError, ValueError)
_SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
# Padding of the last frame of a codec with long frames: at most two frames of AAC.
_MOST_PADDING_SAMPLES = 4_096
# Far above what a lossy codec makes of any music, far below what a damaged frame of AAC or MP3 may decode to (7e5).
_LOUDEST_CODED = 16.0
# Tags behind an MP3 (a cover, lyrics) or between two that were joined, which FFmpeg takes for sound that is damaged.
_LATE_TAGS = (b"APETAGEX", b"LYRICSBEGIN", b"ID3")


class FfmpegDecoder:
    """MP3, AAC, ALAC, WMA and the sound of videos, read by FFmpeg; of several sounds the default one."""

    def __init__(self, handle: io.FileIO, begin: int = 0) -> None:
        self._handle = handle
        self.warnings: list[str] = []
        self._is_damaged = self._has_late_tags = False
        self._end_s = 0.0
        self._first: av.AudioFrame | None = None
        self._resampler: av.AudioResampler | None = None
        try:
            self._container: av.container.InputContainer = av.open(
                _Nameless(handle, begin),
                "r",
                options={"format_whitelist": _FFMPEG_CONTAINERS, "protocol_whitelist": "none", "enable_drefs": "0"},
                metadata_errors="replace",
                buffer_size=1 << 18,
            )
        except _FFMPEG_ERRORS as error:
            handle.seek(4)
            # what an interrupted download leaves of an MP4, whose index is its end
            is_cut = handle.read(4) == b"ftyp"
            sentence = "the file is incomplete: its index is missing" if is_cut else "not an audio file"
            raise NotAudioError(sentence) from error
        try:
            self._start()
        except BaseException:
            self._container.close()
            raise

    def _start(self) -> None:
        container = self._container
        if not container.streams.audio:
            raise NotAudioError("no sound in this video" if container.streams.video else "not an audio file")
        sounds = container.streams.audio
        self._stream = next((sound for sound in sounds if sound.disposition & Disposition.default), sounds[0])
        self._frames = self._decoded()
        self._first = next(self._frames, None)
        if self._first is None:
            raise NotAudioError("no sound in this file")
        self.sample_rate = self._first.sample_rate
        self.speakers = _speakers(self._first)
        # Ogg has its tags in the stream, Matroska and FLAC may write them in capitals.
        tags = {name.lower(): text for name, text in [*self._stream.metadata.items(), *container.metadata.items()]}
        self.title, self.performer = tags.get("title", ""), tags.get("artist", "")
        # With PyAV the duration is None where no header has one.
        self.duration_s: float | None = container.duration / av.time_base if container.duration else None

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        assert self._first is not None
        exact = self._exact_samples()
        done = 0
        held: list[NDArray[np.float32]] = []
        for frame in chain([self._first], self._frames):
            held.append(self._likely(_floats(frame)))
            while sum(b.shape[1] for b in held[1:]) >= _MOST_PADDING_SAMPLES:
                done += held[0].shape[1]
                yield held.pop(0)
        tail = np.concatenate(held, axis=1)
        if exact is not None and exact - done < tail.shape[1] <= exact - done + _MOST_PADDING_SAMPLES:
            tail = tail[:, : exact - done]
        yield tail
        self._note_faults()

    def _likely(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Without the bursts that a damaged frame of a lossy codec may decode to: chunks of music would be unheard."""
        if self._stream.codec_context.name.startswith(("pcm_", "wavpack")):
            return samples  # floats of a person's own, of any scale
        absurd = ~(np.abs(samples) < _LOUDEST_CODED)
        if not absurd.any():
            return samples
        self._is_damaged = True
        return np.where(absurd, np.float32(0), samples)

    def _decoded(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            # PyAV's IndexError at the end is of a stream that began midway, as the subtitles of a film
            except (StopIteration, IndexError):
                return
            except _FFMPEG_ERRORS:
                self._is_damaged = True
                return
            if packet.pts is not None and packet.time_base is not None:
                self._end_s = max(self._end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == self._stream.index:
                yield from self._frames_of(cast("av.Packet[av.AudioStream]", packet))

    def _frames_of(self, packet: av.Packet[av.AudioStream]) -> list[av.AudioFrame]:
        try:
            return [alike for frame in packet.decode() for alike in self._like_the_first(frame)]
        except _FFMPEG_ERRORS:
            self._has_late_tags |= any(magic in bytes(packet) for magic in _LATE_TAGS)
            self._is_damaged |= not self._has_late_tags
            return []

    def _like_the_first(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """A frame in the format of the first: MP3s that were joined, as a jingle and a song, may have another."""
        first = self._first
        if first is None or (frame.sample_rate, frame.layout) == (first.sample_rate, first.layout):
            return [frame]
        if frame.sample_rate < LEAST_RATE_HZ:
            raise ValueError(f"{frame.sample_rate} Hz")  # which would become any number of samples
        if self._resampler is not None:
            with contextlib.suppress(ValueError):  # made for yet another format
                return self._resampler.resample(frame)
        self._resampler = av.AudioResampler("fltp", first.layout, first.sample_rate)
        return self._resampler.resample(frame)

    def _exact_samples(self) -> int | None:
        """Length by an MP4 edit list, which leaves out the padding of the last frame."""
        stream = self._stream
        if not self._container.format.name.startswith("mov") or not stream.duration or stream.time_base is None:
            return None
        return round(stream.duration * stream.time_base * self.sample_rate)

    def _note_faults(self) -> None:
        name = self._container.format.name
        # A start time in an MP3 comes from a LAME tag, which has the length too; without it FFmpeg only guesses.
        is_told = name in _HEADER_TELLS_LENGTH or (name == "mp3" and bool(self._stream.start_time))
        is_whole = self._has_late_tags or self.duration_s is None or self._end_s >= self.duration_s - 0.5
        if is_told and not is_whole:
            self.warnings.append(ENDS_EARLY)
        elif self._is_damaged:
            self.warnings.append(DAMAGED)

    def close(self) -> None:
        self._container.close()
        self._handle.close()


class _Nameless:
    """A readable file without a name, so that FFmpeg has no suffix to guess a format by."""

    def __init__(self, handle: io.FileIO, begin: int = 0) -> None:
        self.read = handle.read
        self._handle, self._begin = handle, begin
        handle.seek(begin)

    def tell(self) -> int:
        return self._handle.tell() - self._begin

    def seek(self, offset: int, whence: int) -> int:
        """As of a file, but -1 for where none can be: PyAV prints what is raised here."""
        try:
            at = self._handle.seek(offset + (self._begin if whence == io.SEEK_SET else 0), whence)
            return at - self._begin
        except OSError:
            return -1


def _speakers(frame: av.AudioFrame) -> tuple[str, ...]:
    known = {speaker for order in WAVE_ORDER.values() for speaker in order}
    names = tuple(channel.name for channel in frame.layout.channels)
    count = frame.layout.nb_channels
    return names if len(names) == count and known.issuperset(names) else WAVE_ORDER.get(count, ("?",) * count)


def _floats(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Samples of a frame as (channels, samples), full scale at ±1."""
    # Not by PyAV's to_ndarray, which knows no s64, and of eight planes counts nine and crashes.
    channels, is_planar = frame.layout.nb_channels, frame.format.is_planar
    planes, size = (channels, frame.samples) if is_planar else (1, frame.samples * channels)
    kind = _SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    data: NDArray[Any] = np.stack([np.frombuffer(bytes(plane), kind, size) for plane in frame.planes[:planes]])
    if not is_planar:
        data = data.reshape(-1, channels).T
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    if np.issubdtype(data.dtype, np.integer):
        return (data / float(2 ** (8 * data.dtype.itemsize - 1))).astype(np.float32)
    with np.errstate(over="ignore"):
        return data.astype(np.float32)

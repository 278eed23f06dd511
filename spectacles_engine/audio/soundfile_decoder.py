"""Plain sound files, read by libsndfile."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from spectacles_engine.audio.decoder import DAMAGED, ENDS_EARLY, WAVE_ORDER, XIPH_ORDER
from spectacles_engine.audio.ffmpeg_decoder import FfmpegDecoder
from spectacles_engine.errors import NotAudioError

# libsndfile drops the whole block in which it meets an error, and seeks after each: neither large nor small.
_BLOCK_SAMPLES = 4_096
# Bits of WAVEFORMATEXTENSIBLE's dwChannelMask; of the front the two between centre and corner are not known here.
_MASK = ("FL", "FR", "FC", "LFE", "BL", "BR", "", "", "BC", "SL", "SR")


class SoundfileDecoder:
    """WAV, AIFF, FLAC, Ogg Vorbis and Opus, CAF and AU, read by libsndfile."""

    def __init__(self, handle: io.FileIO, file: soundfile.SoundFile) -> None:
        order = XIPH_ORDER if file.format == "OGG" else WAVE_ORDER
        self._handle = handle
        self._file = file
        self.sample_rate = int(file.samplerate)
        self.speakers = _masked(file) or order.get(file.channels, ("?",) * file.channels)
        self.duration_s: float | None = file.frames / file.samplerate
        self.title, self.performer = str(file.title), str(file.artist)
        self.warnings: list[str] = []
        if is_cut(file, handle):
            self.warnings.append(ENDS_EARLY)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        read = 0
        # A FLAC that lost its sync raises: what was decoded so far stands.
        with contextlib.suppress(soundfile.LibsndfileError):
            while len(block := self._file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                read += len(block)
                yield block.T
        if read < self._file.frames and self._file.format == "FLAC":
            for block in self._after(read):
                read += block.shape[1]
                yield block
            # the frames that are damaged are left out: a file that was cut lacks more
            self.warnings.append(ENDS_EARLY if self._file.frames - read > self.sample_rate else DAMAGED)
        elif read < self._file.frames and ENDS_EARLY not in self.warnings:
            self.warnings.append(ENDS_EARLY)

    def _after(self, samples: int) -> Iterator[NDArray[np.float32]]:
        """What FFmpeg still finds, which goes on behind a damaged frame; libsndfile gives up there."""
        self._handle.seek(0)
        with contextlib.suppress(NotAudioError), contextlib.closing(FfmpegDecoder(self._handle)) as decoder:
            # a header whose channels are not those of the sound is damaged as well
            for block in decoder.blocks() if len(decoder.speakers) == len(self.speakers) else ():
                yield block[:, samples:]
                samples = max(0, samples - block.shape[1])

    def close(self) -> None:
        self._file.close()
        self._handle.close()


def _masked(file: soundfile.SoundFile) -> tuple[str, ...]:
    """The speakers that the channel mask of a WAV names, if it names one that is known for every channel."""
    found = re.search(r"Channel Mask\s*: 0x([0-9A-Fa-f]+)", file.extra_info)
    named = [name for bit, name in enumerate(_MASK) if found and int(found[1], 16) >> bit & 1]
    return tuple(named) if len(named) == file.channels and all(named) else ()


def is_cut(file: soundfile.SoundFile, handle: io.FileIO) -> bool:
    """Whether less sound is there than was written; raises NotAudioError where next to none is."""
    if file.format == "OGG":
        return not _ends_with_last_page(handle)
    found = re.search(r"(?im)^\s*(?:data|SSND|data size|riff size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if found is None:
        return False
    promised, held = int(found[1]), int(found[2])
    # What ffmpeg and sox write when they can't seek back to fill in the size.
    is_unknown = promised >= 0xFFFF_FFFE or 0x7FFF_0000 <= promised <= 0x7FFF_FFFF
    if held < promised / 100 and not (is_unknown and file.frames >= file.samplerate):
        raise NotAudioError("not an audio file (its header promises sound that is not there)")
    return held < promised and not is_unknown


def _ends_with_last_page(handle: io.FileIO) -> bool:
    """Whether the last Ogg page has the end-of-stream flag."""
    page = _last_page(handle)
    return len(page) > 5 and bool(page[5] & 4)


def is_chained(handle: io.FileIO) -> bool:
    """Whether the last page of an Ogg file belongs to another stream than the first."""
    with _position_kept(handle):
        handle.seek(0)
        first = handle.read(18)
    return len(last := _last_page(handle)) >= 18 and last[14:18] != first[14:18]


def _last_page(handle: io.FileIO) -> bytes:
    """The last page of an Ogg file (RFC 3533, section 6), or nothing."""
    with _position_kept(handle):
        size = handle.seek(0, io.SEEK_END)
        handle.seek(max(0, size - 2 * 65_307))
        tail = handle.read()
    at = tail.rfind(b"OggS")
    return tail[at:] if at >= 0 else b""


@contextlib.contextmanager
def _position_kept(handle: io.FileIO) -> Iterator[None]:
    position = handle.tell()
    yield
    handle.seek(position)

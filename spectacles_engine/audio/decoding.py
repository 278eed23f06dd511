"""Two decoders behind one seam: libsndfile for plain sound files, FFmpeg (PyAV) for everything else.

Both get an open file instead of a path, and each an allow-list of containers, so that nothing which a file *names*
(a playlist entry, a data reference, a resource fork) is ever opened. MP3 goes to FFmpeg although libsndfile reads it:
mpg123 inside libsndfile writes its complaints straight to stderr.
"""

from __future__ import annotations

import io
from pathlib import Path

import soundfile

from spectacles_engine.audio.decoder import LEAST_RATE_HZ, MOST_RATE_HZ, Decoder
from spectacles_engine.audio.ffmpeg_decoder import FfmpegDecoder
from spectacles_engine.audio.soundfile_decoder import SoundfileDecoder, is_chained
from spectacles_engine.errors import InputError, NotAudioError

MOST_CHANNELS = 8

# libsndfile says 2**63 - 1 where a header has no length.
_UNKNOWN_FRAMES = 2**62
_SOUNDFILE_MAGIC = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd")


def open_decoder(path: Path) -> Decoder:
    """The decoder that understands ``path``; raises InputError if it can't be read, NotAudioError if nothing does."""
    if path.exists() and not path.is_file():
        raise NotAudioError("not an audio file")
    try:
        handle = open(path, "rb", buffering=0)  # noqa: SIM115 - the decoder closes it
    except OSError as error:
        raise _unreadable(error) from error
    try:
        decoder = _decoder_of(handle)
        _check(decoder)
    except BaseException:
        handle.close()
        raise
    return decoder


def _decoder_of(handle: io.FileIO) -> Decoder:
    try:
        magic = handle.read(4)
    except OSError as error:
        raise _unreadable(error) from error
    handle.seek(0)
    if magic in _SOUNDFILE_MAGIC:
        try:
            # By descriptor: libsndfile then knows no name from which to guess a headerless format.
            file = soundfile.SoundFile(handle.fileno(), closefd=False)
            # At the end of a FLAC of unknown length libsndfile fails and drops its last block; in a WAV that was never
            # finished it finds nothing; and of an Ogg with several songs, from web radio, it knows the first. FFmpeg
            # has none of these faults. The length of an MP3 in a WAV it guesses.
            is_exact = 0 < file.frames < _UNKNOWN_FRAMES and not file.subtype.startswith("MPEG")
            if is_exact and not (file.format == "OGG" and is_chained(handle)):
                return SoundfileDecoder(handle, file)
            file.close()
        except soundfile.LibsndfileError:
            pass
    try:
        return FfmpegDecoder(handle)
    except NotAudioError:
        behind = _behind_tag(handle)
        if not behind:
            raise
    # Behind a tag of more than 1 MiB (a cover) FFmpeg expects an MP3, unless a file's name says otherwise.
    return FfmpegDecoder(handle, behind)


def _behind_tag(handle: io.FileIO) -> int:
    """Where the sound begins in a file that an ID3 tag comes first in (ID3v2.4 structure, 3.1); else 0."""
    handle.seek(0)
    head = handle.read(10)
    size = sum((byte & 0x7F) << bits for byte, bits in zip(head[6:], (21, 14, 7, 0), strict=False))
    return size + 10 if head[:3] == b"ID3" else 0


def _unreadable(error: OSError) -> InputError:
    return InputError(f"cannot be read ({(error.strerror or 'unknown reason').lower()})")


def _check(decoder: Decoder) -> None:
    if not LEAST_RATE_HZ <= decoder.sample_rate <= MOST_RATE_HZ:
        raise NotAudioError(f"not an audio file (a sample rate of {decoder.sample_rate} Hz)")
    if not 1 <= len(decoder.speakers) <= MOST_CHANNELS:
        raise NotAudioError(f"{len(decoder.speakers)} channels, and at most {MOST_CHANNELS} can be mixed to stereo")

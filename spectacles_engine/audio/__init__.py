"""Any file → a stream of float32 stereo blocks at 44.1 kHz → any file.

``decoding`` reads a file at its own rate, by ``soundfile_decoder`` or ``ffmpeg_decoder`` (``decoder``: what both are);
``song`` turns that into what the engine works on; ``writing`` goes back, through ``encoding``. Two programs answer the
engine's ``audio_files`` and ``playback``: the package itself, and ``playback``, which writes what a stem player needs.
"""

from spectacles_engine.audio.encoding import written_rate
from spectacles_engine.audio.song import Song, open_song
from spectacles_engine.audio.writing import StemWriter

__all__ = ["Song", "StemWriter", "open_song", "written_rate"]

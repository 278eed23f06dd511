"""Nothing that a file names is opened, on the disk or in the network."""

from __future__ import annotations

import ctypes
import http.server
import os
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectacles_engine.audio import open_song
from spectacles_engine.errors import NotAudioError
from tests.engine.audio.sounds import (
    noise,
    write_av,
    write_sound,
)


class Canary:
    """Sees any opening of a local file (inotify) and any call on a loopback HTTP server."""

    def __init__(self, song: Path) -> None:
        self.song = song
        self.calls = 0
        libc = ctypes.CDLL(None)
        self._notify = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._notify, os.fsencode(song), 0x21) >= 0  # IN_ACCESS | IN_OPEN
        canary = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.calls += 1
                self.send_error(404)

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/song.mp3"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def was_touched(self) -> bool:
        try:
            return bool(os.read(self._notify, 4_096))
        except BlockingIOError:
            return self.calls > 0

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        os.close(self._notify)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    if sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    bird = Canary(write_sound(tmp_path / "secret.wav", noise(44_100, 1, 44_100), 44_100))
    yield bird
    bird.close()


def test_the_canary_sings(canary: Canary) -> None:
    assert not canary.was_touched()
    canary.song.read_bytes()
    assert canary.was_touched()


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:6,\n{}\n#EXT-X-ENDLIST\n"


PLAYLISTS = {
    "hls": HLS,
    "m3u": "{}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", ["song.mp3", "list.m3u8", "list.ffconcat"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_is_not_an_audio_file(tmp_path: Path, canary: Canary, kind: str, name: str) -> None:
    for target in (canary.song.name, str(canary.song), canary.song.as_uri(), canary.url):
        (tmp_path / name).write_text(PLAYLISTS[kind].format(target))
        with pytest.raises(NotAudioError, match=r"^not an audio file$"):
            open_song(tmp_path / name)
    assert not canary.was_touched()


def test_a_movie_that_keeps_its_sound_elsewhere(tmp_path: Path, canary: Canary) -> None:
    path = write_av(tmp_path / "a.mov", "pcm_s16le", noise(44_100, 1, 44_100), 44_100)
    path.write_bytes(with_external_reference(path.read_bytes(), canary.song))
    try:
        with open_song(path) as song:
            assert list(song.blocks())
    except NotAudioError:
        pass
    assert not canary.was_touched()


def with_external_reference(movie: bytes, target: Path) -> bytes:
    """The movie with its data reference turned into a Mac alias of ``target``; its index must come after its data."""
    name = os.fsencode(target.name)
    absolute = os.fsencode(target)
    absolute += b"\0" * (len(absolute) % 2)
    alias = bytes(10) + bytes([3]) + b"abc".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(absolute)) + absolute + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = movie.index(b"url \0\0\0\1", movie.index(b"moov")) - 4
    if at < movie.index(b"moov"):
        raise AssertionError("the index comes first")
    data = bytearray(movie[:at] + entry + movie[at + 12 :])
    for atom in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        size_at = movie.rindex(atom, 0, at) - 4
        size = int.from_bytes(data[size_at : size_at + 4], "big")
        data[size_at : size_at + 4] = (size + len(entry) - 12).to_bytes(4, "big")
    return bytes(data)

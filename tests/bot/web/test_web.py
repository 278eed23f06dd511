from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import io
import os
import re
import shutil
import socket
import struct
import threading
import time
import zipfile
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import ClientSession, FormData, hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from bot.jobs import StartError
from bot.replies import disk_full
from bot.web.access import HEADERS, language
from bot.web.app import PAGE, WebApp
from bot.words import LANGUAGES, page_sentences, sentence
from spectacles_engine.audio_files import Inspected
from spectacles_engine.messages import MIXES, STEMS
from tests.bot.web.chat import Chat, serving, settings_for
from tests.fake_engine import Behaviour, write_song
from tests.service_fakes import Usage

SLOW = Behaviour(steps=200, step_s=0.1)


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with serving(tmp_path) as chat:
        yield chat


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_song(tmp_path / "Ünique – song.wav", seconds=5.0)


async def test_a_song_becomes_four_stems(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        accepted = await client.send(song)
        assert set(accepted) >= {"id", "position"}
        done = await client.finished(accepted["id"])
        assert (done["state"], done["progress"], done["error"]) == ("done", 1.0, None)
        assert done["title"] == "Ünique – song"
        assert done["note"].startswith("Estimated quality")
        assert done["stems"] == {stem: f"/api/jobs/{done['id']}/stems/{stem}" for stem in STEMS}
        for url in done["stems"].values():
            async with client.get(url) as answer:
                assert answer.content_type == "audio/flac"
                assert (await answer.read()).startswith(b"fLaC")
        await client.json("/api/page")  # the page is opened once more
        assert (await client.json("/api/jobs"))["jobs"] == [done]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("He said %22Hi%22 100%", 'He said "Hi" 100%'),  # what a browser makes of quotes
        ("アーティスト\u3000曲名", "アーティスト 曲名"),
        ("\u200d\xa0", "song"),
    ],
)
async def test_a_title_reads_as_its_file_was_called(chat: Chat, tmp_path: Path, name: str, title: str) -> None:
    async with chat.browser() as client:
        assert (await client.send(write_song(tmp_path / f"{name}.wav")))["title"] == title


async def test_what_was_asked_for_is_what_is_offered(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        mix = await client.done(song, mix="karaoke", format="mp3")
        assert list(mix["stems"]) == ["karaoke"]
        async with client.get(mix["stems"]["karaoke"]) as answer:
            assert answer.content_type == "audio/mpeg"
            assert answer.headers["Content-Disposition"] == (
                'attachment; filename="_nique - song - karaoke.mp3"; '
                "filename*=UTF-8''%C3%9Cnique%20%E2%80%93%20song%20%E2%80%93%20karaoke.mp3"
            )
        two = await client.done(song, stems="drums, vocals")
        assert list(two["stems"]) == ["vocals", "drums"]
        for format in ("exe", "../../wav"):
            assert await client.refused("GET", f"{two['stems']['drums']}?format={format}") == 400


@pytest.mark.parametrize(("format", "type"), [("wav", "audio/wav"), ("mp3", "audio/mpeg"), ("opus", "audio/ogg")])
async def test_ranges_and_formats(chat: Chat, song: Path, format: str, type: str) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        url = f"{job['stems']['bass']}?format={format}"
        async with client.get(url) as answer:
            whole, tag, changed = await answer.read(), answer.headers["ETag"], answer.headers["Last-Modified"]
            assert (answer.status, answer.content_type, answer.headers["Accept-Ranges"]) == (200, type, "bytes")
        async with client.get(url, headers={"Range": "bytes=100-299"}) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes 100-299/{len(whole)}"
            assert await answer.read() == whole[100:300]
        async with client.get(url, headers={"Range": "bytes=-7"}) as answer:
            assert await answer.read() == whole[-7:]
        async with client.get(url, headers={"Range": f"bytes={len(whole)}-"}) as answer:
            assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
            assert (answer.headers["Cache-Control"], bool((await answer.json())["error"])) == ("no-store", True)
        for known, status in ((tag, 206), (changed, 206), ('"another"', 200), (f"W/{tag}", 200)):
            async with client.get(url, headers={"Range": "bytes=9-", "If-Range": known}) as answer:
                assert (answer.status, await answer.read()) == (status, whole[9:] if status == 206 else whole)
        for meant in ("bytes=0-1,4-5", "seconds=1-2", "bytes=5-4", "bytes=-", f"bytes={'9' * 5000}-"):
            async with client.get(url, headers={"Range": meant}) as answer:
                assert (answer.status, await answer.read()) == (200, whole)
                assert HEADERS.items() <= answer.headers.items()
        for condition in ({"If-Match": '"another"'}, {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}):
            assert await client.refused("GET", url, headers=condition) == 412
        async with client.get(url, headers={"If-Match": tag}) as answer:
            assert answer.status == 200


async def test_the_zip_holds_everything(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job, sent_at = await client.done(song), time.localtime()
        async with client.get(f"/api/jobs/{job['id']}/zip?format=flac") as answer:
            archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
        assert archive.testzip() is None
        assert all(entry.date_time >= sent_at[:4] for entry in archive.infolist())
        assert archive.namelist() == [f"Ünique – song/Ünique – song – {name}.flac" for name in (*STEMS, "karaoke")]


async def test_the_player_gets_segments_that_make_up_the_song(chat: Chat, song: Path) -> None:
    import numpy as np
    import soundfile

    async with chat.browser() as client:
        job = await client.done(song)
        base = f"/api/jobs/{job['id']}"
        assert job["playback"] == {"samples": 5 * 44_100, "segment_samples": 2 * 44_100}
        heard: list[list[Any]] = [[], [], [], []]
        for number in range(3):
            async with client.get(f"{base}/playback/{number}") as answer:
                data = await answer.read()
            sizes = struct.unpack("<4I", data[:16])
            assert 16 + sum(sizes) == len(data)
            for index, size in enumerate(sizes):
                start = 16 + sum(sizes[:index])
                heard[index].append(soundfile.read(io.BytesIO(data[start : start + size]), dtype="float64")[0])
        for stem, parts in zip(STEMS, heard, strict=True):
            async with client.get(job["stems"][stem]) as answer:
                stored, _ = soundfile.read(io.BytesIO(await answer.read()), dtype="float64")
            played = np.concatenate(parts)
            assert played.shape == stored.shape
            assert np.abs(played - stored).max() <= 0.5 / 32768
        assert await client.refused("GET", f"{base}/playback/3") == 404
        peaks = (await client.json(f"{base}/peaks"))["stems"]
        assert list(peaks) == list(STEMS)
        assert max(max(values) for values in peaks.values()) == 255
        assert len({len(values) for values in peaks.values()}) == 1


async def test_events_tell_every_change_and_end(chat: Chat, tmp_path: Path) -> None:
    song = write_song(tmp_path / "a.wav", Behaviour(steps=5, step_s=0.1))
    async with chat.browser() as client:
        job = await client.send(song)
        events = [event async for event in client.events(f"/api/jobs/{job['id']}/events")]
        assert events[-1].kind == "end"
        told = [event.data for event in events[:-1]]
        assert [told[0]["state"] in ("queued", "running"), told[-1]["state"]] == [True, "done"]
        shares = [view["progress"] for view in told]
        assert shares == sorted(shares)
        assert any(0 < share < 1 for share in shares)


async def test_whoever_comes_back_is_told_what_was_missed_and_nothing_twice(chat: Chat, tmp_path: Path) -> None:
    song = write_song(tmp_path / "a.wav", Behaviour(steps=20, step_s=0.1))
    async with chat.browser() as client:
        job = await client.send(song)
        url = f"/api/jobs/{job['id']}/events"
        async for event in client.events(url):
            if event.data["progress"] > 0:
                break  # the connection is lost here
        again = [seen async for seen in client.events(url, last=event.id)]
        assert event.id not in [seen.id for seen in again]
        assert [again[-2].data["state"], again[-1].kind] == ["done", "end"]
        async with client.get(url, headers={"Last-Event-ID": again[-2].id}) as answer:
            assert answer.status == 204


async def test_what_has_not_changed_is_not_told_again(chat: Chat, tmp_path: Path) -> None:
    song = write_song(tmp_path / "a.wav", Behaviour(steps=4000, step_s=0.0005))  # its view has three digits
    async with chat.browser() as client:
        job = await client.send(song)
        told = [event.data async for event in client.events(f"/api/jobs/{job['id']}/events") if event.kind == "job"]
    assert len(told) > 10
    assert all(one != following for one, following in pairwise(told))


async def test_one_stream_tells_of_all_songs_of_a_browser(chat: Chat, tmp_path: Path) -> None:
    songs = [write_song(tmp_path / f"{n}.wav", Behaviour(steps=3, step_s=0.1), seed=n) for n in range(3)]
    async with chat.browser() as client, chat.browser() as other:
        sent = {(await client.send(song))["id"] for song in songs}
        await other.send(write_song(tmp_path / "other.wav", seed=9))
        last: dict[str, str] = {}
        async for event in client.events("/api/events"):
            if event.kind == "job":
                last[event.data["id"]] = event.data["state"]
        assert last == dict.fromkeys(sent, "done")
        assert [event.kind async for event in client.events("/api/events")] == ["end"]
        ended = sent.pop()  # while the page did not listen
        told = [event.data.get("id") async for event in client.events(f"/api/events?unfinished=forgotten,{ended}")]
        assert told == [ended, None]


ROUTES = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/events"),
    ("GET", "/peaks"),
    ("GET", "/playback/0"),
    ("GET", "/zip"),
    *(("GET", f"/stems/{name}") for name in (*STEMS, *MIXES)),
]


async def test_nobody_sees_the_songs_of_another_browser(chat: Chat, song: Path) -> None:
    async with chat.browser() as owner, chat.browser() as other, chat.client() as stranger:
        job = await owner.done(song)
        for client in (other, stranger):
            for method, path in ROUTES:
                assert await client.refused(method, f"/api/jobs/{job['id']}{path}") == 404
            assert (await client.json("/api/jobs"))["jobs"] == []
        async with other.request("DELETE", "/api/jobs") as answer:
            assert (await answer.json())["songs"] == 0
        assert (await owner.json(f"/api/jobs/{job['id']}"))["state"] == "done"


async def test_what_one_person_calls_a_song_others_do_not_read(chat: Chat, tmp_path: Path) -> None:
    files = []
    for name in ("My secret.wav", "plain.wav"):
        async with chat.browser() as client:
            job = await client.done(write_song(tmp_path / name))
            async with client.get(f"{job['stems']['bass']}?format=mp3") as answer:
                files.append(await answer.read())
    assert [b"My secret" in file for file in files] == [True, False]


async def test_an_id_that_no_browser_of_ours_has_is_none(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, inspect=_never) as chat, chat.client(keeps_cookies=False) as client:
        form = _with_file(_form(), song.read_bytes())
        headers = {"Cookie": "spectacles_browser=../../evil"}
        async with client.request("POST", "/api/jobs", data=form, headers=headers) as answer:
            assert answer.status == 202
            cookie = answer.cookies["spectacles_browser"]
        assert (cookie.value[:5], cookie["httponly"], cookie["samesite"]) == ("open-", True, "Strict")
        assert len(chat.uploads()) == 1


async def test_stems_that_are_gone_are_called_gone(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        shutil.rmtree(chat.result_folder(job["id"]))
        async with client.get(job["stems"]["bass"]) as answer:
            assert (answer.status, await answer.json()) == (404, {"error": sentence("web.gone", "en")})


async def test_a_script_needs_no_cookie(chat: Chat, song: Path) -> None:
    async with chat.client(keeps_cookies=False) as script:
        job = await script.done(song)
        async with script.get(job["stems"]["vocals"]) as answer:
            assert answer.status == 200
        async with script.request("DELETE", f"/api/jobs/{job['id']}") as answer:
            assert answer.status == 200
        assert await script.refused("GET", f"/api/jobs/{job['id']}") == 404


async def test_scripts_at_one_address_are_one_chat(tmp_path: Path, song: Path) -> None:
    """Else each of their songs would have its turn before other chats' next one, and no limit would hold them."""
    async with serving(tmp_path, inspect=_never) as chat, chat.client(keeps_cookies=False) as script:
        for _ in range(50):
            await script.send(song)
        form = _with_file(_form(), song.read_bytes())
        assert await script.refused("POST", "/api/jobs", data=form) == 429
        async with chat.browser() as client:
            assert (await client.send(song))["position"] == 2


async def test_a_running_song_is_cancelled(chat: Chat, tmp_path: Path) -> None:
    async with chat.browser() as client:
        job = await client.send(write_song(tmp_path / "a.wav", SLOW))
        async for event in client.events("/api/events"):
            if event.data["state"] == "running":
                break
        async with client.request("DELETE", f"/api/jobs/{job['id']}") as answer:
            assert answer.status == 200
        assert (await client.finished(job["id"]))["state"] == "cancelled"
        await chat.lets_go()


async def test_a_finished_song_is_forgotten(chat: Chat, song: Path, tmp_path: Path) -> None:
    async with chat.browser() as client:
        kept = await client.done(write_song(tmp_path / "b.wav", seed=7))
        job = await client.done(song)
        folder = chat.result_folder(job["id"])
        async with client.get(f"/api/jobs/{job['id']}/playback/0") as answer:
            assert answer.status == 200
        async with client.request("DELETE", f"/api/jobs/{job['id']}") as answer:
            assert await answer.json() == {"forgotten": job["id"]}
        assert [job["id"] for job in (await client.json("/api/jobs"))["jobs"]] == [kept["id"]]
        assert not folder.exists()


async def test_all_songs_are_forgotten(chat: Chat, song: Path, tmp_path: Path) -> None:
    async with chat.browser() as client:
        done = await client.done(song)
        folder = chat.result_folder(done["id"])
        await client.send(write_song(tmp_path / "b.wav", SLOW, seed=3))
        async with client.request("DELETE", "/api/jobs") as answer:
            assert (await answer.json())["songs"] == 2
        assert (await client.json("/api/jobs"))["jobs"] == []
        assert not folder.exists()
        assert chat.uploads() == []


async def test_what_is_no_song_fails_with_a_sentence(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "notes.mp3"
    file.write_bytes(b"these are only notes" * 100)
    async with chat.browser() as client:
        job = await client.send(file)
        failed = await client.finished(job["id"])
        assert failed["state"] == "failed"
        assert failed["error"] == "Not an audio file."
        german = await client.json(f"/api/jobs/{job['id']}", headers={"Accept-Language": "de"})
        assert german["error"] == "Keine Audiodatei."
        await chat.lets_go()
        async with client.get(f"/api/jobs/{job['id']}/stems/vocals") as answer:
            assert (answer.status, await answer.json()) == (404, {"error": "This song was not separated."})


def _form(**fields: str) -> FormData:
    form = FormData()
    for name, value in fields.items():
        form.add_field(name, value)
    return form


def _with_file(form: FormData, content: bytes = b"RIFF", type: str = "audio/wav", name: str = "a.wav") -> FormData:
    form.add_field("file", io.BytesIO(content), filename=name, content_type=type)
    return form


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (_with_file(_form(), type="text/plain"), 415),
        (_with_file(_form(), type="image/png"), 415),
        (_with_file(_form(), content=b""), 400),
        (_with_file(_form(stems="guitar")), 400),
        (_with_file(_form(mix="duet")), 400),
        (_with_file(_form(format="exe")), 400),
        (_with_file(_form(speed="11")), 400),
        (_with_file(_form(stems="x" * 5000)), 400),
        (_with_file(_with_file(_form())), 400),
    ],
    ids=["text", "image", "empty", "stem", "mix", "format", "field", "long field", "two songs"],
)
async def test_a_wrong_form_is_refused_and_nothing_of_it_kept(chat: Chat, form: FormData, status: int) -> None:
    async with chat.browser() as client:
        assert await client.refused("POST", "/api/jobs", data=form) == status
        assert chat.uploads() == []
        assert (await client.json("/api/jobs"))["jobs"] == []


@pytest.mark.parametrize("type", ["text/vnd.trolltech.linguist", "model/vnd.mts"])
async def test_videos_of_camcorders_are_listened_to(chat: Chat, song: Path, type: str) -> None:
    async with chat.browser() as client:
        form = _with_file(_form(), song.read_bytes(), type, "clip.mts")
        async with client.request("POST", "/api/jobs", data=form) as answer:
            assert answer.status == 202


async def test_what_is_no_form_is_refused(chat: Chat) -> None:
    async with chat.browser() as client:
        assert await client.refused("POST", "/api/jobs", data=b"RIFF") == 415
        assert await client.refused("POST", "/api/jobs", json={"file": "x"}) == 415
        form = {"Content-Type": "multipart/form-data"}
        assert await client.refused("POST", "/api/jobs", data=b"RIFF", headers=form) == 400
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        assert await client.refused("POST", "/api/jobs", data=b"nothing of the kind", headers=form) == 400
        assert await client.refused("POST", "/api/jobs", data=b"--x--\r\n", headers=form) == 400


_PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("path", "type", "body", "headers"),
    [
        ("/api/jobs", "multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\nabc\r\n--x--\r\n", {}),
        ("/api/jobs", "multipart/form-data; boundary=x", b"--x\r\nlong: " + b"a" * 20_000, {}),
        ("/api/jobs", "multipart/form-data; boundary=x", _PART % (b"_charset_", b"a" * 40), {}),
        ("/api/jobs", "multipart/form-data; boundary=x", b"not gzip", {"Content-Encoding": "gzip"}),
        ("/api/access", "application/json", b"[" * 100_000, {}),
        ("/api/access", "application/json; charset=none", b"{}", {}),
        ("/api/access", "application/json", b"not gzip", {"Content-Encoding": "gzip"}),
    ],
)
async def test_what_cannot_be_read_is_no_mistake_of_ours(
    chat: Chat, path: str, type: str, body: bytes, headers: dict[str, str]
) -> None:
    async with chat.browser() as client:
        assert await client.refused("POST", path, data=body, headers={"Content-Type": type, **headers}) == 400


async def test_half_a_character_opens_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.client() as client:
        assert await client.refused("GET", "/api/jobs", headers={"Cookie": "spectacles_admitted=\udcff"}) == 401
        assert await client.refused("POST", "/api/access", json={"code": "\ud800"}) == 403


async def test_a_file_that_is_too_large_is_refused_while_it_arrives(tmp_path: Path) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(100_000)

    async with serving(tmp_path, largest_file_mb=1) as chat, chat.browser() as client:
        told = _with_file(_form(), content=bytes(2_000_000))
        assert await client.refused("POST", "/api/jobs", data=told) == 413
        untold = FormData()
        untold.add_field("file", unannounced(), filename="a.wav", content_type="audio/wav")
        assert await client.refused("POST", "/api/jobs", data=untold) == 413
        assert chat.uploads() == []


_HEAD = "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
_FORM_HEAD = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


async def test_a_song_that_the_disk_has_no_room_for_is_refused_before_it_comes(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = round(chat.settings.storage.keep_free_mb * 1e6) + 999_999
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, free))
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\n".encode())
    assert b" 503 " in await reader.readline()
    assert disk_full().encode() in await reader.readuntil(b"}")
    writer.close()


async def test_a_song_takes_room_but_once(chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> Usage:
        return Usage(1, 1, room - sum(file.stat().st_size for file in chat.uploads()))

    room = round(chat.settings.storage.keep_free_mb * 1e6) + song.stat().st_size + 1000  # and the form
    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with chat.browser() as client:
        assert (await client.send(song))["error"] is None


async def test_songs_that_come_at_once_leave_the_disk_the_room_that_is_kept_free(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(folder: Path) -> Usage:
        return Usage(1, 1, room - sum(file.stat().st_size for file in chat.uploads()))

    kept_free = round(chat.settings.storage.keep_free_mb * 1e6)
    room = kept_free + 1_900_000
    monkeypatch.setattr(shutil, "disk_usage", usage)
    connections = [await _half_sent(chat) for _ in range(3)]
    for _, writer in connections:
        writer.write(bytes(600_000))
    answers = [asyncio.create_task(reader.readline()) for reader, _ in connections]
    done, _ = await asyncio.wait(answers, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert any(b" 503 " in answer.result() for answer in done)
    assert usage(song).free >= kept_free
    for _, writer in connections:
        writer.close()
    await asyncio.wait(answers)
    await chat.lets_go()


async def _half_sent(chat: Chat) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a part of a song has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\n{_FORM_HEAD}".encode() + bytes(300_000))
    await writer.drain()
    while not chat.uploads():
        await asyncio.sleep(0.01)
    return reader, writer


async def test_a_lost_connection_leaves_nothing_behind(chat: Chat) -> None:
    _, writer = await _half_sent(chat)
    writer.close()
    while chat.uploads():
        await asyncio.sleep(0.01)
    async with chat.browser() as client:
        assert (await client.json("/healthz")) == {"status": "ok"}


async def test_a_connection_lost_while_its_file_is_made_leaves_nothing_behind(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, (asked, goes_on, is_made) = open, (threading.Event() for _ in range(3))

    def slow_open(*how: Any) -> Any:
        asked.set()
        goes_on.wait()
        file = make(*how)
        is_made.set()
        return file

    monkeypatch.setattr("bot.web.uploads.open", slow_open, raising=False)
    _, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\n{_FORM_HEAD}".encode() + bytes(1000))
    await asyncio.to_thread(asked.wait)
    writer.close()
    await asyncio.sleep(0.3)  # the server has seen it
    goes_on.set()
    await asyncio.to_thread(is_made.wait)
    await chat.lets_go()


async def test_connections_without_end_leave_files_for_the_other_chats(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.app._MOST_CONNECTIONS", 2)
    opened = [await asyncio.open_connection("127.0.0.1", chat.port) for _ in range(2)]
    await asyncio.sleep(0.1)  # to a client it is open before the server has it
    opened.append(await asyncio.open_connection("127.0.0.1", chat.port))
    assert await opened[2][0].read() == b""
    assert not opened[0][0].at_eof()
    for _, writer in opened:
        writer.close()
    await asyncio.sleep(0.1)
    async with chat.client() as client:
        assert (await client.json("/healthz")) == {"status": "ok"}


async def test_what_scanners_send_leaves_no_traceback_in_the_log(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert caplog.records == []


async def test_a_compressed_body_is_not_blown_up(tmp_path: Path) -> None:
    body = gzip.compress(b'{"code": "Secret-Code"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.client() as client:
        assert await client.refused("POST", "/api/access", data=body, headers=headers) == 400


async def test_who_stops_sending_keeps_nobody_else_out(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.app._MOST_UPLOADS_AT_ONCE", 1)
    monkeypatch.setattr("bot.web.uploads._SILENCE_S", 2.0)
    async with serving(tmp_path, inspect=_never) as chat, chat.browser() as client:
        reader, writer = await _half_sent(chat)
        assert await client.refused("POST", "/api/jobs", data=_with_file(_form())) == 503
        assert b" 400 " in await reader.readline()
        assert chat.uploads() == []
        writer.close()
        for _ in range(2):
            await client.send(song)


async def test_who_stops_in_the_midst_of_a_field_is_not_waited_for(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.web.uploads._SILENCE_S", 1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    part = '--x\r\nContent-Disposition: form-data; name="stems"\r\n\r\nvoc'
    writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\n{part}".encode())
    async with asyncio.timeout(20):
        assert b" 400 " in await reader.readline()
    writer.close()


async def test_a_full_disk_is_a_sentence(chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bot.web.uploads._write", write)
    async with chat.browser() as client:
        form = _with_file(_form(), song.read_bytes())
        async with client.request("POST", "/api/jobs", data=form) as answer:
            assert (answer.status, await answer.json()) == (503, {"error": sentence("web.disk_full", "en")})
        assert chat.uploads() == []


async def test_a_disk_that_knows_no_links_will_do(chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    async with chat.browser() as client:
        await client.done(song)


async def _inspect(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """As the real one, but without a child for each song."""
    digest = hashlib.sha256(await asyncio.to_thread(path.read_bytes))
    return Inspected(digest.hexdigest(), 0.5, 44_100, 2, None, None, ())


async def _never(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """Songs stay where they are until the bot ends."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_what_the_service_refuses_is_told_in_the_readers_language(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, inspect=_never) as chat, chat.browser() as client:
        for _ in range(20):
            await client.send(song)
        for status, words in ((429, "schon 20 Lieder in Arbeit"), (503, "wird gerade beendet")):
            form, headers = _with_file(_form(), song.read_bytes()), {"Accept-Language": "de"}
            async with client.request("POST", "/api/jobs", data=form, headers=headers) as answer:
                assert answer.status == status
                assert words in (await answer.json())["error"]
            await chat.service.stop()
        assert len(chat.uploads()) == 20


async def test_a_quiet_stream_shows_that_it_is_alive(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.jobs._ALIVE_S", 0.05)
    async with serving(tmp_path, inspect=_never) as chat, chat.browser() as client:
        await client.send(song)
        async with asyncio.timeout(30), client.get("/api/events") as answer:
            while await answer.content.readline() != b": alive\n":
                pass


async def test_fifty_browsers_at_once_lose_nothing(tmp_path: Path) -> None:
    songs = [write_song(tmp_path / f"{n}.wav", Behaviour(steps=1), seconds=0.5, seed=n) for n in range(50)]
    async with serving(tmp_path, inspect=_inspect) as chat:

        async def one(song: Path) -> tuple[str, str]:
            async with chat.browser() as client:
                job = await client.done(song)
                async with client.get(job["stems"]["vocals"]) as answer:
                    assert answer.status == 200
                return job["title"], job["state"]

        done = await asyncio.gather(*map(one, songs))
        assert sorted(done) == sorted((song.stem, "done") for song in songs)
        await chat.lets_go()


async def test_a_song_survives_a_restart(tmp_path: Path) -> None:
    song = write_song(tmp_path / "a.wav", Behaviour(steps=20, step_s=0.1))
    async with serving(tmp_path) as chat, chat.browser() as client:
        job = await client.send(song)
        cookies = client.cookies()
    async with serving(tmp_path) as chat, chat.client(cookies) as client:
        assert (await client.finished(job["id"]))["state"] == "done"
        await chat.lets_go()


async def test_a_song_that_nobody_has_looked_at_survives_a_restart(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, inspect=_never) as chat, chat.browser() as client:
        job = await client.send(song)
        cookies = client.cookies()
        left = chat.folder / "uploads" / "own-nobody.0123456789abcdef.part"
        left.write_bytes(b"half a song")
        (chat.folder / "uploads" / "my photos").mkdir()
    async with serving(tmp_path) as chat, chat.client(cookies) as client:
        assert not left.exists()
        (chat.folder / "uploads" / "my photos").rmdir()  # what is somebody's own was left alone
        assert (await client.finished(job["id"]))["state"] == "done"
        await chat.lets_go()


async def test_the_note_is_in_the_readers_language(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        german = await client.json(f"/api/jobs/{job['id']}", headers={"Accept-Language": "de"})
        assert german["note"].startswith("Geschätzte Qualität (dB SDR, Bereich mit 80 %): Gesang 6,0 (4,5–7,5) gut · ")


async def test_whoever_still_listens_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat, chat.browser() as client:
        await client.send(write_song(tmp_path / "a.wav", SLOW))
        async with client.get("/api/events") as answer:
            await answer.content.readline()
            # far less than the song takes
            async with asyncio.timeout(15):
                await chat.app.stop()


async def test_other_pages_and_names_are_refused(chat: Chat) -> None:
    async with chat.client() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert await client.refused("POST", "/api/jobs", data=_with_file(_form()), headers=headers) == 403
            assert await client.refused("DELETE", "/api/jobs", headers=headers) == 403
        for host in ("evil.example", "127.0.0.1.evil.example:8080", "192.168.1.2", "["):
            assert await client.refused("GET", "/", headers={"Host": host}) == 403
        for host in ("localhost:9999", "127.0.0.1", "[::1]:8080"):
            async with client.get("/", headers={"Host": host}) as answer:
                assert answer.status == 200


async def test_behind_a_proxy_that_keeps_its_own_host_the_browser_tells_whose_page_it_is(chat: Chat) -> None:
    async with chat.browser() as client:
        for site, status in (("same-origin", 404), ("same-site", 403), ("cross-site", 403)):
            headers = {"Origin": "https://music.example.org", "Sec-Fetch-Site": site}
            assert await client.refused("DELETE", "/api/jobs/nothing-here", headers=headers) == status


@pytest.mark.parametrize("proto", ["http", "https"])
async def test_behind_https_no_cookie_goes_over_http(tmp_path: Path, proto: str) -> None:
    headers = {"X-Forwarded-Proto": proto}
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.client() as client:
        async with client.get("/api/page", headers=headers) as page:
            assert [bool(cookie["secure"]) for cookie in page.cookies.values()] == [proto == "https"]
        async with client.request("POST", "/api/access", json={"code": "Secret-Code"}, headers=headers) as answer:
            assert [bool(cookie["secure"]) for cookie in answer.cookies.values()] == [proto == "https"]


async def test_every_answer_has_the_headers(chat: Chat) -> None:
    async with chat.browser() as client:
        for path in ("/", "/app.js", "/api/page", "/api/jobs", "/api/events", "/nothing", "/api/jobs/xxxxxxxxxxxx"):
            async with client.get(path) as answer:
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
                assert answer.headers["Cache-Control"] == ("no-cache" if path in ("/", "/app.js") else "no-store")
        assert "unsafe" not in HEADERS["Content-Security-Policy"]


async def test_only_the_page_itself_is_served(chat: Chat) -> None:
    async with chat.client() as client:
        for file in PAGE.iterdir():
            async with client.get("/" if file.name == "index.html" else f"/{file.name}") as answer:
                assert await answer.read() == file.read_bytes()
                tag = answer.headers["ETag"]
            async with client.get(str(answer.url.path), headers={"If-None-Match": tag}) as answer:
                assert answer.status == 304
        for path in ("/..%2fapp.py", "/..%2fconfig.py", "/%2e%2e/config.py", "/style.css/", "/api/"):
            assert await client.refused("GET", path) == 404
        async with client.request("PUT", "/api/jobs") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "DELETE,GET,HEAD,POST")
            assert (await answer.json())["error"]


async def test_what_has_no_length_has_no_head(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        for path in ("/api/events", f"/api/jobs/{job['id']}/events", f"/api/jobs/{job['id']}/zip"):
            async with client.request("HEAD", path) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        async with client.request("HEAD", job["stems"]["bass"]) as answer:
            assert answer.status == 200


async def test_beyond_this_machine_the_code_is_asked_for(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, host="0.0.0.0") as chat:
        code = chat.app.code
        assert code is not None
        assert code in str(chat.app)
        async with chat.browser() as client:
            assert (await client.json("/api/page"))["admitted"] is False
            assert await client.refused("GET", "/api/jobs") == 401
            assert await client.refused("POST", "/api/jobs", data=_with_file(_form())) == 401
            async with client.request("POST", "/api/access", json={"code": code.lower().replace("-", " ")}) as answer:
                assert answer.status == 200
            assert (await client.json("/api/page"))["admitted"] is True
            assert (await client.done(song))["state"] == "done"
            cookies = client.cookies()
    async with serving(tmp_path, host="0.0.0.0") as chat, chat.client(cookies) as client:
        assert chat.app.code == code
        assert len((await client.json("/api/jobs"))["jobs"]) == 1
    async with serving(tmp_path, host="0.0.0.0", access_code="another code") as chat, chat.client(cookies) as client:
        assert await client.refused("GET", "/api/jobs") == 401


async def test_the_link_lets_in_whatever_is_in_the_code(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Rock & Roll+100 %") as chat:
        link = str(chat.app).rpartition("(")[2].rstrip(")")
        assert parse_qs(urlsplit(link).fragment) == {"code": ["Rock & Roll+100 %"]}


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", [*(["::", "::1"] if _has_ipv6() else []), "0.0.0.0", "localhost"])
async def test_the_address_that_is_told_answers(tmp_path: Path, host: str) -> None:
    async with (
        serving(tmp_path, host=host) as chat,
        ClientSession() as session,
        session.get(f"{chat.app.address}/healthz") as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("limit", ["_WRONG_CODES", "_WRONG_CODES_OF_ALL"])
async def test_codes_cannot_be_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr("bot.web.access._WRONG_CODES", 50)
    monkeypatch.setattr(f"bot.web.access.{limit}", 5)
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.browser() as client:
        for _ in range(5):
            assert await client.refused("POST", "/api/access", json={"code": "AAAA-AAAA"}) == 403
        assert await client.refused("POST", "/api/access", json={"code": "Secret-Code"}) == 429
        assert await client.refused("POST", "/api/access", json=["Secret-Code"]) == 400
        # a minute later
        monkeypatch.setattr("bot.web.access._WRONG_CODES_WITHIN_S", -1.0)
        async with client.request("POST", "/api/access", json={"code": "Secret-Code"}) as answer:
            assert answer.status == 200


async def test_behind_a_proxy_here_who_mistypes_a_code_keeps_nobody_else_out(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.browser() as client:
        mine, theirs = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        for _ in range(5):
            assert await client.refused("POST", "/api/access", json={"code": "AAAA-AAAA"}, headers=theirs) == 403
        assert await client.refused("POST", "/api/access", json={"code": "Secret-Code"}, headers=theirs) == 429
        async with client.request("POST", "/api/access", json={"code": "Secret-Code"}, headers=mine) as answer:
            assert answer.status == 200


async def test_the_address_is_the_one_that_the_proxy_added_also_in_a_line_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.browser() as client:
        answers = []
        for number in range(6):
            said_and_added = [("X-Forwarded-For", f"203.0.113.{number}"), ("X-Forwarded-For", "198.51.100.7")]
            code = {"code": "AAAA-AAAA"}
            answers.append(await client.refused("POST", "/api/access", json=code, headers=said_and_added))
        assert answers == [403] * 5 + [429]


async def test_a_code_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.web.app._IDLE_S", 1.0)
    async with serving(tmp_path, access_code="Secret-Code") as chat:
        reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
        writer.write(b"POST /api/access HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{")
        async with asyncio.timeout(20):
            assert b" 400 " in await reader.readline()
        writer.close()


async def test_a_mark_opens_one_bot_alone(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", access_code="Secret-Code") as chat, chat.browser() as client:
        async with client.request("POST", "/api/access", json={"code": "Secret-Code"}):
            assert (await client.json("/api/jobs"))["jobs"] == []
        cookies = client.cookies()
    async with serving(tmp_path / "b", access_code="Secret-Code") as chat, chat.client(cookies) as client:
        assert await client.refused("GET", "/api/jobs") == 401


async def test_secrets_are_for_us_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, host="0.0.0.0") as chat:
        for name in ("secret", "access_code"):
            assert (chat.folder / name).stat().st_mode & 0o077 == 0
        for folder in (chat.folder, chat.folder / "uploads"):
            assert folder.stat().st_mode & 0o077 == 0


async def test_a_port_in_use_is_told_in_a_sentence(chat: Chat, tmp_path: Path) -> None:
    second = WebApp(settings_for(tmp_path, port=chat.port), chat.service)
    with pytest.raises(StartError, match=rf"{chat.port}.*in use.*SPECTACLES_WEB__PORT"):
        await second.start()


async def test_the_page_speaks_the_browsers_language(chat: Chat) -> None:
    async with chat.client() as client:
        english, german = [
            (await client.json("/api/page", headers={"Accept-Language": wish}))["sentences"]
            for wish in ("en-GB,en;q=0.9", "de-AT,de;q=0.9,en;q=0.8")
        ]
        assert english.keys() == german.keys()
        assert (english["page.play"], german["page.play"]) == ("Play", "Abspielen")
        async with client.get("/api/jobs/nothing-here", headers={"Accept-Language": "de"}) as answer:
            assert (await answer.json())["error"] == "So ein Lied gibt es hier nicht."


@pytest.mark.parametrize(
    ("wish", "known"),
    [
        ("", "en"),
        ("fr", "en"),
        ("fr, de;q=0.3", "de"),
        ("de;q=0.4, en;q=0.6", "en"),
        ("en, de", "en"),
        ("de, en", "de"),
        ("de;q=x, ;;,q=", "en"),
    ],
)
def test_language(wish: str, known: str) -> None:
    headers = CIMultiDictProxy(CIMultiDict({hdrs.ACCEPT_LANGUAGE: wish}))
    assert language(headers) == known


def test_every_sentence_of_the_server_exists() -> None:
    used = {key for file in PAGE.parent.glob("*.py") for key in re.findall(r'"((?:web|note)\.\w+)"', file.read_text())}
    assert len(used) > 30
    gaps = ["stems", "mixes", "formats", "grades", "passages", "stem", "start", "end", "db", "name", "megabytes"]
    for key in used:
        for known in LANGUAGES:
            assert sentence(key, known, **dict.fromkeys(gaps, "x"))


def test_every_sentence_of_the_page_exists() -> None:
    used = {key for file in PAGE.glob("*.js") for key in re.findall(r'"(page\.\w+)"', file.read_text())}
    assert used == {key for key in page_sentences("en") if key.startswith("page.")}

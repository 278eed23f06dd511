"""Songs on their way in: forms, limits, full disks, connections that break."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from bot.refusals import disk_full, disk_in_trouble
from bot.words import sentence
from tests.bot.web.chat import Chat, form_of, never, serving, with_file
from tests.service_fakes import Usage


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (with_file(form_of(), type="text/plain"), 415),
        (with_file(form_of(), type="image/png"), 415),
        (with_file(form_of(), content=b""), 400),
        (with_file(form_of(stems="guitar")), 400),
        (with_file(form_of(mix="duet")), 400),
        (with_file(form_of(format="exe")), 400),
        (with_file(form_of(speed="11")), 400),
        (with_file(form_of(stems="bass," * 201)), 400),
        (with_file(with_file(form_of())), 400),
    ],
    ids=["text", "image", "empty", "stem", "mix", "format", "field", "long field", "two songs"],
)
async def test_a_wrong_form_is_refused_and_nothing_of_it_kept(chat: Chat, form: FormData, status: int) -> None:
    async with chat.browser() as client:
        assert await client.refused("POST", "/api/jobs", data=form) == status
        assert chat.uploads() == []
        assert (await client.json("/api/jobs"))["jobs"] == []


async def test_a_song_is_on_the_disk_before_it_is_accepted(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: settled.append(os.stat(descriptor).st_size))
    async with chat.browser() as client:
        await client.send(song)
    assert settled[0] == song.stat().st_size


async def test_a_file_under_another_name_is_told_which_it_should_have(chat: Chat, song: Path) -> None:
    form = FormData()
    form.add_field("song", song.read_bytes(), filename="song.wav")
    async with chat.browser() as client, client.request("POST", "/api/jobs", data=form) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"] == sentence("web.no_file", "en")
    assert chat.uploads() == []


@pytest.mark.parametrize("type", ["text/vnd.trolltech.linguist", "model/vnd.mts"])
async def test_videos_of_camcorders_are_listened_to(chat: Chat, song: Path, type: str) -> None:
    async with chat.browser() as client:
        form = with_file(form_of(), song.read_bytes(), type, "clip.mts")
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
        ("/api/jobs", "multipart/form-data; a=" + "(" * 3900, b"--x--\r\n", {}),
        ("/api/jobs", "multipart/form-data; boundary=x", b"not gzip", {"Content-Encoding": "gzip"}),
        ("/api/access", "application/json", b"[" * 100_000, {}),
        ("/api/access", "application/json", b"not gzip", {"Content-Encoding": "gzip"}),
    ],
)
async def test_what_cannot_be_read_is_no_mistake_of_ours(
    chat: Chat, path: str, type: str, body: bytes, headers: dict[str, str]
) -> None:
    async with chat.browser() as client:
        assert await client.refused("POST", path, data=body, headers={"Content-Type": type, **headers}) == 400


async def test_nothing_is_read_before_the_first_boundary(chat: Chat) -> None:
    async def empty_lines() -> AsyncIterator[bytes]:
        yield b"\r\n" * 100
        await asyncio.Event().wait()

    async with chat.browser() as client:
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        async with client.request("POST", "/api/jobs", data=empty_lines(), headers=form) as answer:
            assert (await answer.json())["error"] == sentence("web.broken_form", "en")


async def test_a_file_that_is_too_large_is_refused_while_it_arrives(tmp_path: Path) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(100_000)

    async with serving(tmp_path, largest_file_mb=1) as chat, chat.browser() as client:
        told = with_file(form_of(), content=bytes(2_000_000))
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


async def test_no_stems_go_for_a_song_that_is_only_announced(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat.browser() as client:
        kept = chat.result_folder((await client.done(song))["id"])
        monkeypatch.setattr("bot.shelf._size_bytes", lambda folder: 10**9)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10**9 * (not kept.exists())))
        reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
        writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\nno form\r\n".encode())
        assert b" 400 " in await reader.readline()
        writer.close()
        assert kept.exists()


async def test_a_song_that_says_it_is_too_large_is_refused_before_it_comes(chat: Chat) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(f"{_HEAD}Content-Length: 3000000000\r\n\r\n".encode())
    async with asyncio.timeout(20):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_song_takes_room_but_once(chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = round(chat.settings.storage.keep_free_mb * 1e6) + song.stat().st_size + 1000  # and the form
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _left(room, chat))
    async with chat.browser() as client:
        assert (await client.send(song))["error"] is None


async def test_songs_that_come_at_once_leave_the_disk_the_room_that_is_kept_free(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_free = round(chat.settings.storage.keep_free_mb * 1e6)
    room = kept_free + 1_900_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _left(room, chat))
    connections = [await _half_sent(chat) for _ in range(3)]
    for _, writer in connections:
        writer.write(bytes(600_000))
    answers = [asyncio.create_task(reader.readline()) for reader, _ in connections]
    done, _ = await asyncio.wait(answers, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert any(b" 503 " in answer.result() for answer in done)
    assert _left(room, chat).free >= kept_free
    for _, writer in connections:
        writer.close()
    await asyncio.wait(answers)
    await chat.lets_go()


def _left(room: int, chat: Chat) -> Usage:
    """Of ``room`` for uploads, what those that are there leave."""
    return Usage(1, 1, room - sum(file.stat().st_size for file in chat.uploads()))


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


async def test_a_compressed_body_is_not_blown_up(tmp_path: Path) -> None:
    body = gzip.compress(b'{"code": "Secret-Code"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.client() as client:
        assert await client.refused("POST", "/api/access", data=body, headers=headers) == 400


async def test_who_stops_sending_keeps_nobody_else_out(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.uploads._MOST_AT_ONCE", 1)
    monkeypatch.setattr("bot.web.uploads._SILENCE_S", 2.0)
    async with serving(tmp_path, inspect=never) as chat, chat.browser() as client:
        reader, writer = await _half_sent(chat)
        assert await client.refused("POST", "/api/jobs", data=with_file(form_of())) == 503
        assert b" 503 " in await reader.readline()
        assert chat.uploads() == []
        writer.close()
        for _ in range(2):
            await client.send(song)


async def test_one_address_does_not_keep_all_others_out(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.uploads._MOST_OF_ONE", 2)
    async with serving(tmp_path, inspect=never) as chat, chat.browser() as client:
        held = [await _half_sent(chat) for _ in range(2)]
        assert await client.refused("POST", "/api/jobs", data=with_file(form_of(), song.read_bytes())) == 503
        other = {"X-Forwarded-For": "192.0.2.7"}
        form = with_file(form_of(), song.read_bytes())
        async with client.request("POST", "/api/jobs", data=form, headers=other) as answer:
            assert answer.status == 202
        for _, writer in held:
            writer.close()
        while len(chat.uploads()) > 1:
            await asyncio.sleep(0.02)
        await client.send(song)


async def test_who_stops_in_the_midst_of_a_field_is_not_waited_for(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.web.uploads._SILENCE_S", 1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    part = '--x\r\nContent-Disposition: form-data; name="stems"\r\n\r\nvoc'
    writer.write(f"{_HEAD}Content-Length: 1000000\r\n\r\n{part}".encode())
    async with asyncio.timeout(20):
        assert b" 503 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (errno.ENOSPC, disk_full()),
        (errno.EROFS, disk_in_trouble()),
        (errno.EFBIG, disk_in_trouble()),
    ],
)
async def test_a_disk_that_takes_nothing_is_a_sentence(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch, kind: int, told: str
) -> None:
    def write(*_: object) -> None:
        raise OSError(kind, os.strerror(kind))

    monkeypatch.setattr("bot.web.uploads._write", write)
    async with chat.browser() as client:
        form = with_file(form_of(), song.read_bytes())
        async with client.request("POST", "/api/jobs", data=form) as answer:
            assert (answer.status, await answer.json()) == (503, {"error": told})
        assert chat.uploads() == []


@pytest.mark.parametrize("moved", ["web/uploads", "web", "."])
async def test_folders_that_were_moved_are_a_sentence(chat: Chat, song: Path, moved: str) -> None:
    folder = (chat.settings.data_folder / moved).resolve()
    elsewhere = folder.with_name("elsewhere")
    async with chat.browser() as client:
        form = with_file(form_of(), song.read_bytes())
        folder.rename(elsewhere)
        async with client.request("POST", "/api/jobs", data=form) as answer:
            assert (answer.status, await answer.json()) == (503, {"error": disk_in_trouble()})
        elsewhere.rename(folder)
        assert chat.uploads() == []


async def test_a_disk_that_knows_no_links_will_do(chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    async with chat.browser() as client:
        await client.done(song)

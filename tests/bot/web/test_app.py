"""The web server itself: what it serves, where it listens, and what it says."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession

from bot.jobs import StartError
from bot.web.access import HEADERS
from bot.web.app import PAGE, WebApp
from bot.words import LANGUAGES, page_sentences, sentence
from tests.bot.web.chat import Chat, serving, settings_for


async def test_connections_without_end_leave_files_for_the_other_chats(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bot.web.app._MOST_CONNECTIONS", 2)
    opened = [await asyncio.open_connection("127.0.0.1", chat.port) for _ in range(2)]
    await asyncio.sleep(0.1)  # to a client it is open before the server has it
    opened.append(await asyncio.open_connection("127.0.0.1", chat.port))
    assert await opened[2][0].read() == b""
    assert "turns more of them away" in caplog.text
    assert not opened[0][0].at_eof()
    for _, writer in opened:
        writer.close()
    await asyncio.sleep(0.1)
    async with chat.client() as client:
        assert (await client.json("/healthz")) == {"status": "ok"}


async def test_many_browsers_that_keep_connections_leave_room_for_more(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.app._MOST_CONNECTIONS", 4)
    opened = []
    for number in range(8):
        reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
        opened.append((reader, writer))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        assert (b"Connection: close" in head) == (number >= 2)
        assert b"ok" in await reader.readuntil(b"}")
        if number >= 2:
            assert await reader.read() == b""
    assert not any(reader.at_eof() for reader, _ in opened[:2])
    for _, writer in opened:
        writer.close()


async def test_what_scanners_send_leaves_no_traceback_in_the_log(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
    writer.write(b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert caplog.records == []


async def test_every_answer_has_the_headers(chat: Chat) -> None:
    async with chat.browser() as client:
        for path in ("/", "/app.js", "/api/page", "/api/jobs", "/api/events", "/nothing", "/api/jobs/xxxxxxxxxxxx"):
            async with client.get(path) as answer:
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
                assert answer.headers["Cache-Control"] == ("no-cache" if path in ("/", "/app.js") else "no-store")
        assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_no_colour_is_lost_in_browsers_of_four_years_ago() -> None:
    """What they do not know in a value with var() is no value at all: buttons vanished below the pointer."""
    assert "color-mix(" not in (PAGE / "style.css").read_text(encoding="utf-8")


async def test_the_page_comes_small_to_who_can_unpack_it(chat: Chat) -> None:
    whole, sizes = (PAGE / "style.css").read_bytes(), []
    async with chat.client() as client:
        for known in ("identity", "gzip, deflate, br"):
            async with client.get("/style.css", headers={"Accept-Encoding": known}) as answer:
                assert await answer.read() == whole
                sizes.append(int(answer.headers["Content-Length"]))
    assert sizes[0] == len(whole) > 2 * sizes[1]


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


async def test_a_port_in_use_is_told_in_a_sentence(chat: Chat, tmp_path: Path) -> None:
    second = WebApp(settings_for(tmp_path, port=chat.port), chat.service)
    with pytest.raises(StartError, match=rf"{chat.port}.*in use.*SPECTACLES_WEB__PORT"):
        await second.start()


@pytest.mark.parametrize("host", ["192.168..5", ".", "a" * 64, "x\0y"])
async def test_a_host_that_is_no_name_is_told_in_a_sentence(chat: Chat, tmp_path: Path, host: str) -> None:
    second = WebApp(settings_for(tmp_path, host=host), chat.service)
    with pytest.raises(StartError, match=r"\(no such name\); set web\.host \(SPECTACLES_WEB__HOST\) to an address of"):
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


def test_every_sentence_of_the_server_exists() -> None:
    used = {key for file in PAGE.parent.glob("*.py") for key in re.findall(r'"((?:web|note)\.\w+)"', file.read_text())}
    assert len(used) > 20
    gaps = ["stems", "mixes", "formats", "grades", "passages", "stem", "start", "end", "db", "name", "megabytes"]
    for key in used:
        for known in LANGUAGES:
            assert sentence(key, known, **dict.fromkeys(gaps, "x"))


def test_every_sentence_of_the_page_exists() -> None:
    used = {key for file in PAGE.glob("*.js") for key in re.findall(r'"(page\.\w+)"', file.read_text())}
    assert used == {key for key in page_sentences("en") if key.startswith("page.")}

"""Who may ask the web chat what: cookies, codes, proxies, other people's pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from bot.web.access import language
from spectacles_engine.messages import MIXES, STEMS
from tests.bot.web.chat import Chat, form_of, never, serving, with_file
from tests.fake_engine import write_song

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
        assert await stranger.refused("DELETE", "/api/jobs") == 404
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
    async with serving(tmp_path, inspect=never) as chat, chat.client(keeps_cookies=False) as client:
        form = with_file(form_of(), song.read_bytes())
        headers = {"Cookie": "spectacles_browser=../../evil"}
        async with client.request("POST", "/api/jobs", data=form, headers=headers) as answer:
            assert answer.status == 202
            cookie = answer.cookies["spectacles_browser"]
        assert (cookie.value[:5], cookie["httponly"], cookie["samesite"]) == ("open-", True, "Strict")
        assert len(chat.uploads()) == 1


async def test_half_a_character_opens_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.client() as client:
        assert await client.refused("GET", "/api/jobs", headers={"Cookie": "spectacles_admitted=\udcff"}) == 401
        assert await client.refused("POST", "/api/access", json={"code": "\ud800"}) == 403


async def test_other_pages_and_names_are_refused(chat: Chat) -> None:
    async with chat.client() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert await client.refused("POST", "/api/jobs", data=with_file(form_of()), headers=headers) == 403
            assert await client.refused("DELETE", "/api/jobs", headers=headers) == 403
            async with client.get("/", headers=headers) as answer:  # as by a link
                assert answer.status == 200
            # by a link to this the browser would get another id, and so lose its songs
            assert await client.refused("GET", "/api/page", headers=headers) == 403
        assert client.cookies() == {}
        # as from http:// in a local network, where browsers say no more
        ours = {"Origin": f"http://127.0.0.1:{chat.port}"}
        assert await client.refused("DELETE", "/api/jobs/nothing-here", headers=ours) == 404
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


async def test_beyond_this_machine_the_code_is_asked_for(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, host="0.0.0.0") as chat:
        code = chat.app.code
        assert code is not None
        assert code in str(chat.app)
        async with chat.browser() as client:
            assert (await client.json("/api/page"))["admitted"] is False
            assert await client.refused("GET", "/api/jobs") == 401
            assert await client.refused("POST", "/api/jobs", data=with_file(form_of())) == 401
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


async def test_a_code_that_is_not_asked_for_any_more_does_no_harm(chat: Chat) -> None:
    async with chat.browser() as client:
        async with client.request("POST", "/api/access", json={"code": "of an old link"}) as answer:
            assert answer.status == 200
        assert (await client.json("/api/page"))["admitted"] is True


async def test_the_link_lets_in_whatever_is_in_the_code(tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Rock & Roll+100 %") as chat:
        link = str(chat.app).rpartition("(")[2].rstrip(")")
        assert parse_qs(urlsplit(link).fragment) == {"code": ["Rock & Roll+100 %"]}


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


async def test_who_is_no_proxy_here_cannot_say_what_its_address_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.browser() as client:
        monkeypatch.setattr("bot.web.access.is_loopback", lambda host: False)
        answers = []
        for number in range(6):
            said, code = {"X-Forwarded-For": f"203.0.113.{number}"}, {"code": "AAAA-AAAA"}
            answers.append(await client.refused("POST", "/api/access", json=code, headers=said))
        assert answers == [403] * 5 + [429]


async def test_a_code_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.web.app._IDLE_S", 1.0)
    async with serving(tmp_path, access_code="Secret-Code") as chat:
        reader, writer = await asyncio.open_connection("127.0.0.1", chat.port)
        writer.write(b"POST /api/access HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{")
        async with asyncio.timeout(20):
            assert b" 400 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("odd", ["charset=none", "charset=punycode", "a=" + "(" * 3900], ids=["none", "slow", "long"])
async def test_a_code_is_read_whatever_type_it_says_it_has(tmp_path: Path, odd: str) -> None:
    async with serving(tmp_path, access_code="Secret-Code") as chat, chat.browser() as client:
        code, headers = b'{"code": "Secret-Code"}', {"Content-Type": f"application/json; {odd}"}
        async with client.request("POST", "/api/access", data=code, headers=headers) as answer:
            assert answer.status == 200


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


@pytest.mark.parametrize(
    ("wish", "known"),
    [
        ("", "en"),
        ("fr", "en"),
        ("fr, de;q=0.3", "de"),
        ("de;q=0.4, en;q=0.6", "en"),
        ("de; q=0.9, en; q=0.1", "de"),
        ("en, de", "en"),
        ("de, en", "de"),
        ("de;q=x, ;;,q=", "en"),
    ],
)
def test_language(wish: str, known: str) -> None:
    headers = CIMultiDictProxy(CIMultiDict({hdrs.ACCEPT_LANGUAGE: wish}))
    assert language(headers) == known

"""What becomes of songs that are sent to the web chat, and what is told of them."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from spectacles_engine.audio_files import Inspected
from spectacles_engine.messages import STEMS
from tests.bot.web.chat import Chat, form_of, never, serving, with_file
from tests.fake_engine import Behaviour, write_song

SLOW = Behaviour(steps=200, step_s=0.1)


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


async def test_a_script_needs_no_cookie(chat: Chat, song: Path) -> None:
    async with chat.client(keeps_cookies=False) as script:
        job = await script.done(song)
        async with script.get(job["stems"]["vocals"]) as answer:
            assert answer.status == 200
        async with script.request("DELETE", f"/api/jobs/{job['id']}") as answer:
            assert answer.status == 200
        assert await script.refused("GET", f"/api/jobs/{job['id']}") == 404


async def test_who_keeps_no_cookie_is_not_known(chat: Chat) -> None:
    async with chat.client(keeps_cookies=False) as script, chat.browser() as client:
        assert await script.json("/api/jobs") == {"jobs": [], "known": False}
        assert await client.json("/api/jobs") == {"jobs": [], "known": True}


async def test_scripts_at_one_address_are_one_chat(tmp_path: Path, song: Path) -> None:
    """Else each of their songs would have its turn before other chats' next one, and no limit would hold them."""
    async with serving(tmp_path, inspect=never) as chat, chat.client(keeps_cookies=False) as script:
        for _ in range(50):
            await script.send(song)
        form = with_file(form_of(), song.read_bytes())
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


async def test_who_is_forgotten_leaves_no_title_where_somebody_else_has_the_song(
    chat: Chat, song: Path, tmp_path: Path
) -> None:
    secret = Path(shutil.copy(song, tmp_path / "Geheimnis.wav"))
    async with chat.browser() as ann, chat.browser() as bob:
        jobs = [await ann.done(secret), await bob.done(song)]
        folder = chat.result_folder(jobs[1]["id"])
        assert chat.result_folder(jobs[0]["id"]) == folder
        for client, job in zip((ann, bob), jobs, strict=True):
            for name in ("karaoke", "vocals"):
                async with client.get(f"/api/jobs/{job['id']}/stems/{name}?format=mp3") as answer:
                    assert answer.status == 200
        assert _holds(folder, "Geheimnis") == 2
        async with ann.request("DELETE", f"/api/jobs/{jobs[0]['id']}") as answer:
            assert answer.status == 200
        assert _holds(folder, "Geheimnis") == 0
        assert _holds(folder, "song") == 2


def _holds(folder: Path, title: str) -> int:
    """How many MP3s there have a title in their tags."""
    return sum(title.encode() in file.read_bytes() for file in folder.glob("*.mp3"))


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


async def _inspect(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """As the real one, but without a child for each song."""
    digest = hashlib.sha256(await asyncio.to_thread(path.read_bytes))
    return Inspected(digest.hexdigest(), 0.5, 44_100, 2, None, None, ())


async def test_what_the_service_refuses_is_told_in_the_readers_language(tmp_path: Path, song: Path) -> None:
    async with serving(tmp_path, inspect=never) as chat, chat.browser() as client:
        for _ in range(20):
            await client.send(song)
        for status, words in ((429, "schon 20 Lieder in Arbeit"), (503, "wird gerade beendet")):
            form, headers = with_file(form_of(), song.read_bytes()), {"Accept-Language": "de"}
            async with client.request("POST", "/api/jobs", data=form, headers=headers) as answer:
                assert answer.status == status
                assert words in (await answer.json())["error"]
            await chat.service.stop()
        assert len(chat.uploads()) == 20


async def test_a_quiet_stream_shows_that_it_is_alive(
    tmp_path: Path, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.jobs._ALIVE_S", 0.05)
    async with serving(tmp_path, inspect=never) as chat, chat.browser() as client:
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
    async with serving(tmp_path, inspect=never) as chat, chat.browser() as client:
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
        assert german["note"].startswith("Geschätzte Qualität (dB SDR, 80-%-Bereich): Gesang 6,0 (4,5–7,5) gut · ")


async def test_whoever_still_listens_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat, chat.browser() as client:
        await client.send(write_song(tmp_path / "a.wav", SLOW))
        async with client.get("/api/events") as answer:
            await answer.content.readline()
            # far less than the song takes
            async with asyncio.timeout(15):
                await chat.app.stop()

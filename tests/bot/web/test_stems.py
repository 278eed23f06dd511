"""Stems as they are listened to and taken along: ranges, formats, archives, segments."""

from __future__ import annotations

import asyncio
import errno
import io
import shutil
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientError

from bot.delivery import Rung
from bot.jobs import Job, StoredResult
from bot.refusals import disk_full
from bot.web import stems
from bot.web.access import HEADERS
from bot.words import sentence
from spectacles_engine.messages import MIXES, STEMS
from spectacles_engine.playback import written
from tests.bot.web.chat import Chat
from tests.fake_engine import Behaviour, write_song
from tests.service_fakes import Usage, eventually


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


async def test_stems_that_are_not_there_are_told_why(chat: Chat, song: Path, tmp_path: Path) -> None:
    slow = write_song(tmp_path / "slow.wav", Behaviour(steps=2000, step_s=0.01))
    async with chat.browser() as client:
        done, waiting = await client.done(song), await client.send(slow)

        async def told(job: dict[str, Any], name: str) -> str:
            async with client.get(f"/api/jobs/{job['id']}/stems/{name}") as answer:
                assert answer.status == 404
                return str((await answer.json())["error"])

        assert await told(done, "guitar") == sentence("web.no_stem", "en", stems=", ".join((*STEMS, *MIXES)))
        assert await told(waiting, "bass") == sentence("web.not_done", "en")
        async with client.request("DELETE", f"/api/jobs/{waiting['id']}") as answer:
            assert (await answer.json())["state"] == "cancelled"
        assert await told(waiting, "bass") == sentence("web.never_done", "en")


def test_a_zip_is_sent_while_it_grows() -> None:
    sizes = [len(block) for block in stems._zip_blocks({"a": io.BytesIO(bytes(10 * stems._BLOCK_BYTES))})]
    assert sum(sizes) > 10 * stems._BLOCK_BYTES
    assert max(sizes) < 2 * stems._BLOCK_BYTES


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


async def test_who_asks_for_everything_keeps_nobody_waiting(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = list[str](), asyncio.Event()

    async def encode(job: Job, result: StoredResult, name: str, rung: Rung, path: Path) -> None:
        begun.append(name)
        if job.place.chat != other.place.chat:
            await may_end.wait()
        path.write_bytes(b"sound")

    async with chat.browser() as greedy, chat.browser() as modest:
        job, others = await greedy.done(song), await modest.done(song)
        found = chat.service.job(others["id"])
        assert found
        other = found
        monkeypatch.setattr("bot.web.downloads.encode", encode)
        everything = asyncio.create_task(greedy.read(f"/api/jobs/{job['id']}/zip?format=mp3"))
        await eventually(lambda: bool(begun))
        assert await modest.read(f"{others['stems']['bass']}?format=opus") == b"sound"
        assert len(begun) == 2
        may_end.set()
        assert await everything


async def test_there_is_no_download_for_which_there_is_no_room(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(1, 1, 10))
        async with client.get(f"{job['stems']['bass']}?format=wav") as answer:
            assert (answer.status, await answer.json()) == (503, {"error": disk_full()})
        async with client.get(job["stems"]["bass"]) as answer:
            assert answer.status == 200


async def test_what_was_forgotten_while_it_was_encoded_leaves_no_title(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def encode(job: Job, result: StoredResult, name: str, rung: Rung, path: Path) -> None:
        begun.set()
        await may_end.wait()
        path.write_text(job.order.title)

    monkeypatch.setattr("bot.web.downloads.encode", encode)
    async with chat.browser() as client, chat.browser() as other:
        job, kept = await client.done(song), await other.done(song)
        asking = asyncio.create_task(client.refused("GET", f"{job['stems']['bass']}?format=mp3"))
        await begun.wait()
        async with client.request("DELETE", f"/api/jobs/{job['id']}") as answer:
            assert answer.status == 200
        may_end.set()
        assert await asking == 404
        assert not list(chat.result_folder(kept["id"]).glob("*.mp3"))


async def test_stems_that_are_gone_are_called_gone(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        shutil.rmtree(chat.result_folder(job["id"]))
        async with client.get(job["stems"]["bass"]) as answer:
            assert (answer.status, await answer.json()) == (404, {"error": sentence("web.gone", "en")})


async def test_a_file_that_could_not_be_written_is_written_when_it_is_asked_for_again(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with chat.browser() as client:
        job = await client.done(song)
        url = f"{job['stems']['bass']}?format=mp3"
        with monkeypatch.context() as patch:
            patch.setattr("bot.web.downloads.encode", full)
            async with client.get(url) as answer:
                assert (answer.status, await answer.json()) == (503, {"error": sentence("web.not_written", "en")})
        async with client.get(url) as answer:
            assert answer.status == 200


async def test_segments_that_could_not_be_made_are_made_when_they_are_asked_for_again(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        url = f"/api/jobs/{job['id']}/peaks"
        with monkeypatch.context() as patch:
            patch.setattr("bot.web.playback.written", lambda folder, channels: written(folder / "gone", channels))
            async with client.get(url) as answer:
                assert (answer.status, await answer.json()) == (503, {"error": sentence("web.no_playback", "en")})
        async with client.get(url) as answer:
            assert answer.status == 200


async def test_what_has_no_length_has_no_head(chat: Chat, song: Path) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        for path in ("/api/events", f"/api/jobs/{job['id']}/events", f"/api/jobs/{job['id']}/zip"):
            async with client.request("HEAD", path) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        async with client.request("HEAD", job["stems"]["bass"]) as answer:
            assert answer.status == 200


async def test_a_zip_that_breaks_off_is_cut_and_holds_no_other_answer(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def zipped(files: Any) -> Any:
        yield b"PK"
        raise FileNotFoundError("gone meanwhile")

    monkeypatch.setattr("bot.web.stems._zipped", zipped)
    async with chat.browser() as client:
        job = await client.done(song)
        with pytest.raises(ClientError):
            async with client.get(f"/api/jobs/{job['id']}/zip?format=flac") as answer:
                await answer.read()


async def test_a_zip_arrives_whole_though_its_stems_are_deleted_meanwhile(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        folder = chat.result_folder(job["id"])
        blocks = stems._zip_blocks

        def deleted_meanwhile(files: Any) -> Iterator[bytes]:
            shutil.rmtree(folder)
            yield from blocks(files)

        monkeypatch.setattr("bot.web.stems._zip_blocks", deleted_meanwhile)
        async with client.get(f"/api/jobs/{job['id']}/zip?format=flac") as answer:
            assert zipfile.ZipFile(io.BytesIO(await answer.read())).testzip() is None


async def test_a_clock_that_stands_in_1970_is_no_trouble(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.web.stems.time", SimpleNamespace(localtime=lambda: time.gmtime(0)))
    async with chat.browser() as client:
        job = await client.done(song)
        async with client.get(f"/api/jobs/{job['id']}/zip?format=flac") as answer:
            assert zipfile.ZipFile(io.BytesIO(await answer.read())).testzip() is None


@pytest.mark.parametrize("what", ["stems/bass", "zip", "peaks"])
async def test_what_is_listened_to_or_taken_along_is_wanted(
    chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with chat.browser() as client:
        job = await client.done(song)
        wanted: list[StoredResult] = []
        monkeypatch.setattr(chat.service, "note_use", wanted.append)
        async with client.get(f"/api/jobs/{job['id']}/{what}") as answer:
            assert answer.status == 200
        assert len(wanted) == 1

"""The service with an engine in this process and a chat that records: what becomes of jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.jobs import State
from tests.service_fakes import FakeCourier, FakeEngine, audio_of, house, order


async def test_a_song_becomes_stems(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.service.accept(order("a"))
        assert job.state is State.PREPARING
        standing = home.service.standing(job.id)
        assert standing is not None
        assert standing.position == 1
        job = await home.told(job)
        assert (job.state, job.audio, job.seconds, job.error) == (State.DONE, audio_of("a"), 100.0, None)
        assert home.courier.answers() == [("1", "a")]
        result = home.service.result(job)
        assert result is not None
        assert (result.seconds, result.sample_rate, result.channels) == (100.0, 44_100, 2)
        # the song itself is not kept, and nothing else either
        kept = [f"results/{audio_of('a')}", *(f"results/{audio_of('a')}/{s}.flac" for s in ("bass", "drums", "other"))]
        assert home.files() == [*kept, f"results/{audio_of('a')}/vocals.flac"]
        states = [told.job.state for told in home.courier.told]
        assert states[0] is State.PREPARING
        assert states[-1] is State.DONE
        assert states == sorted(states, key=list(State).index)


async def test_the_same_song_is_separated_once(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.may_go.clear()
    async with house(tmp_path, engine=engine) as home:
        jobs = [await home.service.accept(order("a", chat=chat)) for chat in "123"]
        for job in jobs:
            await home.until(job, State.RUNNING)
        late = await home.service.accept(order("a", chat="4"))
        await home.until(late, State.RUNNING)
        engine.may_go.set()
        for job in (*jobs, late):
            assert (await home.told(job)).state is State.DONE
        again = await home.service.accept(order("a", chat="5"))
        assert (await home.told(again)).state is State.DONE
        assert engine.begun == ["a"]
        assert sorted(home.courier.answers()) == [(chat, "a") for chat in "12345"]

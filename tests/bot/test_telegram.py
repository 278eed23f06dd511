"""What people do on Telegram, and what they see."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import soundfile

from spectacles_engine.messages import STEMS
from tests.bot.telegram_world import World, telegram_world
from tests.fake_engine import Behaviour, write_song
from tests.telegram_server import Json, labels

ANN, BOB = 11, 12
GROUP = -1001
QUICK = Behaviour()
SLOW = Behaviour(steps=10_000, step_s=0.05)


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with telegram_world(tmp_path, monkeypatch) as world:
        yield world


def wav(folder: Path, behaviour: Behaviour = QUICK, *, seconds: float = 1.0, seed: int = 0) -> bytes:
    return write_song(folder / f"song-{seed}.wav", behaviour, seconds=seconds, seed=seed).read_bytes()


def sound_of(world: World, message: Json) -> float:
    """How loud an uploaded file is at most; it must be audio at the song's rate."""
    samples, rate = soundfile.read(io.BytesIO(world.server.data(message)))
    assert rate == 44_100
    return float(abs(samples).max())


async def test_a_song_in_a_private_chat(world: World, tmp_path: Path) -> None:
    song = world.server.send(
        ANN, ANN, "audio", wav(tmp_path), file_name="x.wav", title="Blue", performer="The Ann", duration=1
    )
    await world.answered(ANN)
    assert world.server.names(ANN) == [f"Blue – {stem}.mp3" for stem in STEMS]
    for message, stem in zip(world.server.files(ANN), STEMS, strict=True):
        assert message["audio"]["title"] == f"Blue – {stem}"
        assert message["audio"]["performer"] == "The Ann"
        assert message["audio"]["duration"] == 1
        assert message["reply_to_message"]["message_id"] == song["message_id"]
        assert sound_of(world, message) > 0.01
    assert len({message["media_group_id"] for message in world.server.files(ANN)}) == 1
    (note,) = world.server.notes(ANN)
    assert "Estimated quality (dB SDR, 80 % range): vocals 6.0 (4.5–7.5) good" in note["text"]
    assert labels(note) == ["Vocals", "Drums", "Bass", "Other", "Karaoke", "FLAC", "Delete"]
    # the message that counted up has gone: the stems are the answer
    assert world.server.texts(ANN) == [note["text"]]
    assert "Blue: " in world.server.said[0][2]
    assert [command["command"] for command in world.server.menu][:2] == ["stems", "vocals"]

"""What people do on Discord, and what they see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bot.discord_world import discord_world
from tests.fake_engine import Behaviour, write_song


def wav(tmp_path: Path, **about: object) -> bytes:
    return write_song(tmp_path / "a.wav", **about).read_bytes()


async def test_a_song_in_a_private_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with discord_world(tmp_path, monkeypatch) as world:
        alice = world.env.create_user("alice")
        await world.post(alice, alice.dm_channel, ("my_song.wav", wav(tmp_path)))
        result = await world.result(alice.dm_channel)
        print(world.env.transcript())
        print(world.texts(alice.dm_channel))

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bot.web.chat import Chat, serving
from tests.fake_engine import write_song


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with serving(tmp_path) as chat:
        yield chat


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_song(tmp_path / "Ünique – song.wav", seconds=5.0)

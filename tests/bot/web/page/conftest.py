"""A browser for each file of tests, a chat, and songs that no other test has."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.bot.web.chat import Chat, serving
from tests.bot.web.chromium import CHROMIUM, FLAGS
from tests.bot.web.page.browsing import QUICK, Write
from tests.fake_engine import Behaviour, write_song

_SEEDS = itertools.count()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chat(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chat]:
    async with serving(tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _closes_pages(browser: Browser) -> AsyncIterator[None]:
    yield
    for context in browser.contexts:
        await context.close()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes songs that no other test has."""

    def write(name: str, behaviour: Behaviour = QUICK, seconds: float = 3) -> Path:
        return write_song(tmp_path / f"{name}.wav", behaviour, seconds=seconds, seed=next(_SEEDS))

    return write


@pytest.fixture
def song(write: Write) -> Path:
    return write("A song", seconds=30)

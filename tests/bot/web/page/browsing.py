"""What tests of the page do first: open it, and send songs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.bot.web.chat import PATIENCE_S, Chat
from tests.bot.web.chromium import CHROMIUM, DESKTOP, PHONE
from tests.fake_engine import Behaviour

QUICK = Behaviour(steps=8, step_s=0.1)


SLOW = Behaviour(steps=30, step_s=0.1)


ENDLESS = Behaviour(steps=300, step_s=0.1)


Write = Callable[..., Path]


IN_CHROMIUM = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to show the page in"),
    # aiohttp opens files in a thread; a browser that hangs up just then leaves one to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


async def open_page(browser: Browser, chat: Chat, size: ViewportSize = DESKTOP, **options: Any) -> Page:
    is_phone = size is PHONE
    context = await browser.new_context(
        viewport=size, has_touch=is_phone, is_mobile=is_phone, reduced_motion="reduce", **{"locale": "en-US"} | options
    )
    context.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    page = await context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
    await page.goto(chat.url)
    await expect(page.get_by_text("Choose songs")).to_be_visible()
    return page


async def another_tab(page: Page) -> Page:
    other = await page.context.new_page()
    await other.goto(page.url)
    return other


async def hide(page: Page) -> None:
    """As another tab in front of it does: no tab of this Chromium is hidden."""
    await page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def send(page: Page, *songs: Path) -> None:
    await page.set_input_files("#songs", songs)


async def position_s(page: Page) -> float:
    """Where the playhead is, in seconds of the song."""
    share = await page.evaluate("getComputedStyle(document.querySelector('.player')).getPropertyValue('--at')")
    return float(share) * 30

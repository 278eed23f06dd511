"""Stems that are taken along, while they are made and where nothing can be played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from bot.delivery import encode
from bot.words import sentence
from spectacles_engine.errors import OutputError
from spectacles_engine.messages import STEMS
from tests.bot.web.chat import Chat
from tests.bot.web.page.browsing import IN_CHROMIUM, open_page, send

pytestmark = IN_CHROMIUM


async def test_where_nothing_can_be_played_the_stems_can_be_taken_along(
    browser: Browser, chat: Chat, song: Path
) -> None:
    page = await open_page(browser, chat)
    await page.context.add_init_script("delete window.AudioContext")
    await page.reload()
    await send(page, song)
    await expect(page.locator(".note")).to_contain_text("Estimated quality")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Drums").click()
    assert (await coming.value).suggested_filename == "A song – drums.flac"
    await page.reload()
    await expect(page.get_by_role("link", name="Everything (zip)")).to_be_visible()


async def _with_mp3s(browser: Browser, chat: Chat, song: Path) -> Page:
    """A page with a song that is done, whose downloads have to be made."""
    page = await open_page(browser, chat)
    await send(page, song)
    await page.get_by_label("Format of downloads").select_option("mp3")
    return page


def _encode_late(goes_on: Mapping[str, asyncio.Event]) -> Callable[..., Awaitable[None]]:
    """As ``encode``, each stem once its event is set."""

    async def encode_late(*about: Any) -> None:
        await goes_on[about[2]].wait()
        await encode(*about)

    return encode_late


async def test_a_download_that_has_to_be_made_is_told_of(
    browser: Browser, chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()

    async def encode_late(*about: Any) -> None:
        await goes_on.wait()
        if about[2] == "bass":
            raise OutputError("the disk is full")
        await encode(*about)

    monkeypatch.setattr("bot.web.downloads.encode", encode_late)
    page = await _with_mp3s(browser, chat, song)
    told = page.locator(".downloads").get_by_role("status")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download Drums").click()
        await expect(told).to_have_text("The download comes as soon as it is made …")
        goes_on.set()
    assert (await coming.value).suggested_filename == "A song – drums.mp3"
    await expect(told).to_have_text("")
    await page.get_by_role("link", name="Everything (zip)").click()
    await expect(told).to_have_text(sentence("web.not_written", "en"))


async def test_of_two_downloads_that_have_to_be_made_the_second_is_still_told_of(
    browser: Browser, chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = {"drums": asyncio.Event(), "bass": asyncio.Event()}
    monkeypatch.setattr("bot.web.downloads.encode", _encode_late(goes_on))
    page = await _with_mp3s(browser, chat, song)
    told = page.locator(".downloads").get_by_role("status")
    for name in ("Drums", "Bass"):
        await page.get_by_role("link", name=f"Download {name}").click()
    async with page.expect_download(), page.expect_response("**/stems/drums?format=mp3"):
        goes_on["drums"].set()
    await page.wait_for_timeout(200)  # in which it could be taken away
    await expect(told).to_have_text("The download comes as soon as it is made …")
    async with page.expect_download():
        goes_on["bass"].set()
    await expect(told).to_have_text("")


async def test_while_all_stems_are_made_for_downloads_they_can_be_played(
    browser: Browser, chat: Chat, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()
    monkeypatch.setattr("bot.web.downloads.encode", _encode_late(dict.fromkeys(STEMS, goes_on)))
    page = await _with_mp3s(browser, chat, song)
    for name in ("Vocals", "Drums", "Bass", "Other"):
        await page.get_by_role("link", name=f"Download {name}").click()
    try:
        await page.get_by_role("slider", name="Place in the song").press("End")
        await page.get_by_role("slider", name="Place in the song").press("ArrowLeft")
        await expect(page.locator(".time")).to_have_text("0:25 / 0:30")
        await page.get_by_role("button", name="Play", exact=True).click()
        await expect(page.locator(".time")).not_to_have_text("0:25 / 0:30", timeout=8000)
    finally:
        goes_on.set()

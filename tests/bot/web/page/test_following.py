"""Songs once they are sent: to their end, through reloads and lost connections, until they are forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, ViewportSize, expect

from bot.web.app import WebApp
from tests.bot.web.chat import Chat, serving, settings_for
from tests.bot.web.chromium import DESKTOP, PHONE
from tests.bot.web.page.browsing import ENDLESS, IN_CHROMIUM, SLOW, Write, another_tab, open_page, position_s, send

pytestmark = IN_CHROMIUM


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_send_a_song_and_listen(browser: Browser, chat: Chat, song: Path, size: ViewportSize) -> None:
    page = await open_page(browser, chat, size)
    await send(page, song)
    card = page.locator(".card")
    await expect(card.get_by_role("progressbar")).to_be_visible()
    await expect(card.locator(".line")).to_contain_text("Separating")
    await expect(page.locator(".note")).to_contain_text("Estimated quality")
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time")).not_to_have_text("0:00 / 0:30")
    await page.get_by_role("button", name="Pause").click()
    stopped_at = await position_s(page)
    await expect(page.locator(".time")).to_have_text(f"0:{int(stopped_at):02} / 0:30")
    box = await page.locator(".wave").nth(2).bounding_box()
    assert box
    await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    assert await position_s(page) == pytest.approx(15, abs=0.5)
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]


async def test_reload_in_the_middle_goes_on(browser: Browser, chat: Chat, write: Write) -> None:
    page = await open_page(browser, chat, PHONE)
    await send(page, write("Long", SLOW))
    await expect(page.locator(".line")).to_contain_text("Separating")
    await page.reload()
    await expect(page.locator(".line")).to_contain_text("Separating")
    await expect(page.get_by_role("heading", name="Long")).to_be_visible()
    await expect(page.locator(".player")).to_be_visible()


async def test_a_page_that_is_looked_at_again_shows_what_another_one_did(
    browser: Browser, chat: Chat, song: Path, write: Write
) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await send(page, write("Kept"))
    await expect(page.get_by_role("button", name="Open the player")).to_be_visible()
    other = await another_tab(page)
    await send(other, write("New"))
    await other.get_by_role("button", name="Forget A song").click()
    await other.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(other.locator(".card h2")).to_have_text(["New", "Kept"])
    await expect(other.locator("[data-state=done]")).to_have_count(2)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # no tab of this Chromium is hidden
    await expect(page.locator(".card h2")).to_have_text(["New", "Kept"])


async def test_progress_survives_a_lost_connection(browser: Browser, write: Write, tmp_path: Path) -> None:
    added = "node => getComputedStyle(node, '::after').content"
    refused = tmp_path / "notes.txt"
    refused.write_text("no song")
    async with serving(tmp_path) as chat:
        page = await open_page(browser, chat)
        await send(page, refused)
        await expect(page.locator("[data-state=failed]")).to_be_visible()
        await send(page, write("Long", SLOW))
        await expect(page.locator(".line").first).to_contain_text("Separating")
        port = chat.port
        await chat.app.stop()
        await expect(page.locator("body")).to_have_class(re.compile("offline"))
        assert await page.locator("[data-state=running] .line").evaluate(added) == '" · Waiting for the connection …"'
        assert await page.locator("[data-state=failed] .line").evaluate(added) == "none"
        again = WebApp(settings_for(chat.settings.data_folder, port=port), chat.service)
        await again.start()
        await expect(page.locator(".player")).to_be_visible()
        await again.stop()


async def test_a_bot_that_ends_is_waited_for(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        page = await open_page(browser, chat)
        await send(page, write("Endless", ENDLESS))
        await expect(page.locator(".line").first).to_contain_text("Separating")
        await chat.service.stop()
        await chat.app.stop()
        await expect(page.locator("body")).to_have_class(re.compile("offline"))


async def test_a_browser_that_keeps_no_cookies_is_told_so(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    await expect(page.get_by_role("alert")).to_have_text("")
    await page.route("**/api/jobs", lambda route: route.fulfill(json={"jobs": [], "known": False}))
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("keeps no cookie")


async def test_a_browser_that_keeps_no_cookies_is_told_why_the_code_does_not_help(
    browser: Browser, tmp_path: Path
) -> None:
    async with serving(tmp_path, access_code="Wood-Wind") as chat:
        page = await (await browser.new_context(locale="en")).new_page()
        await page.route("**/api/access", lambda route: route.fulfill(json={"admitted": True}))
        await page.goto(f"{chat.url}/#code=Wood-Wind")
        await expect(page.get_by_role("alert")).to_contain_text("keeps no cookie")


async def test_an_old_browser_gets_a_sentence(browser: Browser, chat: Chat) -> None:
    page = await (await browser.new_context(locale="en")).new_page()
    await page.route("**/api.js", lambda route: route.fulfill(content_type="text/javascript", body="class {"))
    await page.goto(chat.url)
    await expect(page.locator("body")).to_contain_text("This browser is too old for SpecTacles.")


async def test_a_server_that_is_away_while_the_page_opens_is_waited_for(browser: Browser, chat: Chat) -> None:
    page = await (await browser.new_context(locale="en")).new_page()
    await page.route("**/api/page", lambda route: route.abort())
    async with page.expect_event("requestfailed"):
        await page.goto(chat.url)
    await expect(page.locator("body")).to_have_text("")
    await page.unroute("**/api/page")
    await expect(page.get_by_text("Choose songs")).to_be_visible()


async def test_a_new_code_is_asked_for(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Wood-Wind") as chat:
        page = await (await browser.new_context(locale="en")).new_page()
        await page.goto(f"{chat.url}/#code=Wood-Wind")
        await send(page, write("Endless", ENDLESS))
        await expect(page.locator(".line")).to_contain_text("Separating")
        port = chat.port
        await chat.app.stop()
        settings = settings_for(chat.settings.data_folder, port=port, access_code="Brass-Band")
        again = WebApp(settings, chat.service)
        await again.start()
        await page.get_by_label("Access code").fill("Brass-Band")
        await page.get_by_role("button", name="Enter").click()
        await expect(page.get_by_role("heading", name="Endless")).to_be_visible()
        await again.stop()


async def test_cancel_and_forget(browser: Browser, chat: Chat, write: Write, song: Path, tmp_path: Path) -> None:
    page = await open_page(browser, chat)
    refused = tmp_path / "notes.txt"
    refused.write_text("no song")
    await send(page, song, write("Endless", ENDLESS), refused)
    await expect(page.locator("[data-state=failed] .line")).to_have_text("Not an audio file.")
    endless = page.locator(".card", has=page.get_by_role("heading", name="Endless"))
    await expect(endless).to_have_attribute("data-state", re.compile("queued|running"))
    await endless.get_by_role("button", name="Cancel Endless").click()
    await expect(endless).to_contain_text("Cancelled.")
    await expect(page.locator(".player")).to_be_visible()
    await page.get_by_role("button", name="Forget A song").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator(".player")).to_be_hidden()
    await page.get_by_role("button", name="Forget all my songs").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget all my songs").click()
    await expect(page.locator(".card")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_role("heading", name="Take a song apart")).to_be_visible()


async def test_the_keyboard_goes_on_beside_what_was_deleted(
    browser: Browser, chat: Chat, song: Path, tmp_path: Path
) -> None:
    page = await open_page(browser, chat)
    refused = tmp_path / "notes.txt"
    refused.write_text("no song")
    await send(page, refused, song)
    await page.get_by_role("button", name="Forget A song").press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    await expect(page.get_by_role("heading", name="notes")).to_be_focused()
    await page.get_by_role("button", name="Forget notes").press("Enter")
    await expect(page.locator("#songs")).to_be_focused()
    await send(page, refused)
    await page.get_by_role("button", name="Forget all my songs").press("Enter")
    await page.get_by_role("dialog").get_by_role("button", name="Forget all my songs").press("Enter")
    await expect(page.locator("#songs")).to_be_focused()


async def test_the_keyboard_goes_on_below_a_notice_that_was_closed(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    for below in (page.locator("#songs"), page.locator(".card h2")):
        await page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(); }")
        await page.get_by_role("button", name="Record").press("Enter")
        await page.get_by_role("button", name="Close").press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("")
        await expect(below).to_be_focused()
        await send(page, song)

"""Whoever reads the page: by screen reader, by finger, in colours and a direction of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, Route, ViewportSize, expect

from tests.bot.web.chat import Chat, serving
from tests.bot.web.chromium import DESKTOP, PHONE
from tests.bot.web.page.browsing import ENDLESS, IN_CHROMIUM, Write, open_page, send

pytestmark = IN_CHROMIUM


async def test_a_title_is_read_in_its_own_direction(browser: Browser, chat: Chat, write: Write) -> None:
    page = await open_page(browser, chat, PHONE)
    await send(page, write("שיר אהבה (Live) – 1!"), write("Choral"))
    for title, direction in (("שיר", "rtl"), ("Choral", "ltr")):
        heading = page.get_by_role("heading", name=title)
        assert await heading.evaluate("node => getComputedStyle(node).direction") == direction


async def test_the_page_asks_nobody_else_and_is_light(browser: Browser, chat: Chat) -> None:
    page = await open_page(browser, chat)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.reload(wait_until="networkidle")
    assert all(url.startswith(chat.url) for url in asked)
    assert len(asked) <= 15


async def test_a_screen_reader_hears_that_a_song_is_ready(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    line = page.locator(".card").get_by_role("status").first
    await expect(line).to_have_text("The stems of A song are ready.")
    box = await line.bounding_box()
    assert box
    assert box["height"] <= 1


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
async def test_axe_finds_nothing_serious(
    browser: Browser, chat: Chat, song: Path, write: Write, size: ViewportSize, scheme: str
) -> None:
    page = await open_page(browser, chat, size, color_scheme=scheme)
    await _assert_accessible(page)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await send(page, write("Endless", ENDLESS))
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await page.keyboard.press("2")
    await page.keyboard.press("l")
    await page.wait_for_timeout(100)
    await page.keyboard.press("l")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Take a song apart")
    await _assert_accessible(page)
    await page.get_by_role("button", name="Cancel Endless").click()
    await expect(page.get_by_text("Cancelled.")).to_be_visible()


async def test_on_a_phone_what_is_pressed_is_as_tall_as_a_finger(browser: Browser, chat: Chat, song: Path) -> None:
    async def with_weak_spot(route: Route) -> None:
        answer = await route.fetch()
        known = await answer.json()
        for job in known["jobs"]:
            job["quality"]["weak_spots"] = [{"stem": "vocals", "from_s": 7, "to_s": 12}]
        await route.fulfill(response=answer, json=known)

    page = await open_page(browser, chat, PHONE)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await page.route("**/api/jobs", with_weak_spot)
    await page.reload()
    await page.get_by_role("button", name="Vocals is weaker from 0:07 to 0:12").tap()
    await expect(page.locator(".time")).to_have_text("0:07 / 0:30")
    for target in await page.locator("button:visible, .button:visible, select:visible").all():
        box = await target.bounding_box()
        assert box
        assert box["height"] >= 44, await target.inner_text()


async def test_a_font_twice_as_large_fits_a_phone(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat, PHONE)
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Page.setFontSizes", {"fontSizes": {"standard": 32}})
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def _assert_accessible(page: Page) -> None:
    found = (await Axe().run(page)).response["violations"]
    serious = [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
    assert serious == []


async def test_colours_of_ones_own_hide_nothing(browser: Browser, chat: Chat, song: Path, write: Write) -> None:
    page = await open_page(browser, chat, forced_colors="active", color_scheme="dark")
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await send(page, write("Endless", ENDLESS))
    await page.get_by_role("button", name="Mute Drums").click()
    await page.get_by_role("button", name="Solo Bass").click()
    background = "node => getComputedStyle(node).backgroundColor"
    for kind, pressed, released in (("toggle.muted", 1, 0), ("toggle.solo", 2, 0)):
        buttons = page.locator(f".{kind}")
        assert await buttons.nth(pressed).evaluate(background) != await buttons.nth(released).evaluate(background)
    lane = await page.locator(".wave").first.evaluate(background)
    assert await page.locator(".wave .head").first.evaluate(background) != lane
    progress = page.get_by_role("progressbar")
    assert await progress.evaluate("node => getComputedStyle(node).borderTopWidth") == "1px"
    await page.get_by_role("button", name="Cancel Endless").click()
    await expect(progress).to_have_count(0)


async def test_the_code_opens_the_page(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Wood-Wind") as chat:
        context = await browser.new_context(locale="de-DE")
        page = await context.new_page()
        await page.goto(chat.url)
        await page.get_by_label("Zugangscode").fill("Brass-Band")
        await page.get_by_role("button", name="Eintreten").click()
        await expect(page.get_by_role("alert")).to_have_text("Das ist nicht der Zugangscode.")
        await _assert_accessible(page)
        await page.get_by_label("Zugangscode").fill("woodwind")
        await page.get_by_role("button", name="Eintreten").click()
        await expect(page.get_by_text("Lieder auswählen")).to_be_visible()
        other = await (await browser.new_context(locale="en")).new_page()
        await other.goto(f"{chat.url}/#code=Wood-Wind")
        await expect(other.get_by_text("Choose songs")).to_be_visible()
        assert "Wood" not in other.url
        late = await (await browser.new_context(locale="en")).new_page()
        await late.goto(f"{chat.url}/#code=Old-Code")
        await expect(late.get_by_role("alert")).to_have_text("This is not the access code.")
        await late.goto(f"{chat.url}/#code=Wood-Wind")
        await expect(late.get_by_text("Choose songs")).to_be_visible()
        await late.goto(f"{chat.url}/#code=Wood-Wind")
        await expect(late).to_have_url(f"{chat.url}/")
        await late.goto("about:blank")
        await late.goto(f"{chat.url}/#code=Wood-Wind")
        await expect(late.get_by_text("Choose songs")).to_be_visible()
        assert "Wood" not in late.url

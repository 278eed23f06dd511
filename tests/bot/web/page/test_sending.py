"""Songs on their way to the bot: chosen, dropped, recorded; what breaks, is refused or cancelled."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Route, expect

from bot.jobs import Job, Order
from bot.web.app import WebApp
from tests.bot.web.chat import Chat, serving, settings_for
from tests.bot.web.chromium import PHONE
from tests.bot.web.page.browsing import ENDLESS, IN_CHROMIUM, Write, another_tab, hide, open_page, send

pytestmark = IN_CHROMIUM

IN_PROGRESS = "[data-state=queued], [data-state=running]"


_ADDED = "node => getComputedStyle(node, '::after').content"


async def test_what_did_not_arrive_is_sent_again_and_what_was_not_begun_waits(
    browser: Browser, chat: Chat, write: Write
) -> None:
    sent: list[Route] = []

    async def cut(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route)
        await (route.abort() if sent else route.continue_())

    page = await open_page(browser, chat)
    await page.route("**/api/jobs", cut)
    await send(page, *(write(f"Song {n}") for n in range(4)))
    await expect(page.locator("[data-state=failed] .line")).to_contain_text(["does not answer"] * 2)
    await expect(page.locator("body")).to_have_class(re.compile("offline"))
    waiting = page.locator("[data-state=uploading] .line")
    await expect(waiting).to_have_text(["Waits for its turn"] * 2)
    assert await waiting.first.evaluate(_ADDED) == '" · Waiting for the connection …"'
    await page.unroute("**/api/jobs")
    await expect(page.locator("[data-state=done]")).to_have_count(2)
    failed = page.locator("[data-state=failed]", has=page.get_by_role("heading", name="Song 0"))
    await failed.get_by_role("button", name="Send again").press("Enter")
    await expect(page.get_by_role("heading", name="Song 0")).to_be_focused()
    await expect(page.locator("[data-state=done]")).to_have_count(3)
    assert len(sent) == 2


async def test_a_server_that_is_away_when_a_song_is_chosen_is_waited_for(
    browser: Browser, song: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path) as chat:
        page = await open_page(browser, chat)
        port = chat.port
        await chat.app.stop()
        await send(page, song)
        await expect(page.locator("body")).to_have_class(re.compile("offline"))
        await expect(page.locator(".line")).to_have_text("Waits for its turn")
        again = WebApp(settings_for(chat.settings.data_folder, port=port), chat.service)
        await again.start()
        await expect(page.locator(".player")).to_be_visible()
        await again.stop()


async def test_cancelled_when_all_is_sent_but_not_answered(
    browser: Browser, chat: Chat, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, goes_on = asyncio.Event(), asyncio.Event()
    accept = chat.service.accept

    async def accept_late(order: Order) -> Job:
        arrived.set()
        await goes_on.wait()
        return await accept(order)

    monkeypatch.setattr(chat.service, "accept", accept_late)
    page = await open_page(browser, chat)
    await send(page, write("Endless", ENDLESS))
    await arrived.wait()
    await expect(page.locator(".line")).to_have_text("Sending: 100 %")
    await page.get_by_role("button", name="Cancel Endless").click()
    goes_on.set()
    await expect(page.locator(".card")).to_have_attribute("data-state", "cancelled")


async def test_forget_all_ends_what_is_being_sent(
    browser: Browser, chat: Chat, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()
    accept = chat.service.accept

    async def accept_late(order: Order) -> Job:
        await goes_on.wait()
        return await accept(order)

    monkeypatch.setattr(chat.service, "accept", accept_late)
    page = await open_page(browser, chat)
    await send(page, *(write(f"Endless {n}", ENDLESS) for n in range(3)))
    await expect(page.get_by_text("Sending: 100 %")).to_have_count(2)
    await page.get_by_role("button", name="Forget all my songs").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget all my songs").click()
    await expect(page.locator(".card")).to_have_count(2)
    await expect(page.get_by_role("alert")).to_contain_text("Songs deleted")
    goes_on.set()
    await expect(page.locator("[data-state=cancelled]")).to_have_count(2)


async def test_a_song_that_the_stream_tells_of_before_its_answer_comes_has_one_card(
    browser: Browser, chat: Chat, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()
    accept = chat.service.accept

    async def answer_late(order: Order) -> Job:
        job = await accept(order)
        if order.title == "Late":
            await goes_on.wait()
        return job

    monkeypatch.setattr(chat.service, "accept", answer_late)
    page = await open_page(browser, chat)
    await send(page, write("Late", ENDLESS))
    await expect(page.locator(".line")).to_have_text("Sending: 100 %")
    await send(page, write("Endless", ENDLESS))
    await expect(page.get_by_role("heading", name="Late")).to_have_count(2)
    goes_on.set()
    await expect(page.get_by_role("heading", name="Late")).to_have_count(1)
    await expect(page.locator(IN_PROGRESS)).to_have_count(2)
    await page.get_by_role("button", name="Cancel Endless").click()
    await page.get_by_role("button", name="Cancel Late").click()
    await expect(page.locator("[data-state=cancelled]")).to_have_count(2)


async def test_a_bad_file_gets_a_sentence(browser: Browser, chat: Chat, tmp_path: Path, song: Path) -> None:
    bad = tmp_path / "Bad.mp3"
    bad.write_bytes(b"no sound in here" * 99)
    page = await open_page(browser, chat, PHONE)
    await send(page, bad, song)
    card = page.locator(".card", has=page.get_by_role("heading", name="Bad"))
    await expect(card.locator(".line")).to_contain_text("ot an audio file")
    await expect(page.locator(".player")).to_be_visible()
    await card.get_by_role("button", name="Forget Bad").click()
    await expect(card).to_have_count(0)


async def test_every_song_that_is_too_large_is_told_of(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, largest_file_mb=1) as chat:
        page = await open_page(browser, chat)
        await send(page, write("Long", seconds=9), write("Longer", seconds=10), write("Short", seconds=1))
        for name in ("Long", "Longer"):
            card = page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))
            await expect(card.locator(".line")).to_have_text(f"{name}.wav is larger than 1 MB.")
        await expect(page.locator(".player")).to_be_visible()


async def test_a_song_that_a_proxy_finds_too_large_is_told_of(browser: Browser, chat: Chat, song: Path) -> None:
    async def refuse(route: Route) -> None:
        is_song = route.request.method == "POST"
        await (route.fulfill(status=413, content_type="text/html", body="<html>") if is_song else route.continue_())

    page = await open_page(browser, chat)
    await page.route("**/api/jobs", refuse)
    await send(page, song)
    await expect(page.locator(".line")).to_have_text("A server on the way takes no file as large as this.")
    await expect(page.get_by_role("button", name="Send again")).to_have_count(0)


async def test_songs_beyond_what_may_be_in_progress_wait_in_the_page(
    browser: Browser, write: Write, tmp_path: Path
) -> None:
    async with serving(tmp_path, most_songs=2) as chat:
        page = await open_page(browser, chat)
        await send(page, *(write(f"Song {n}", ENDLESS) for n in range(4)))
        await expect(page.locator(IN_PROGRESS)).to_have_count(2)
        await expect(page.get_by_text("Waits for its turn")).to_have_count(2)
        async with page.expect_event("dialog") as coming:
            await page.evaluate("setTimeout(() => location.reload())")
            await (await coming.value).dismiss()
        await page.get_by_role("button", name="Cancel Song 2").click()
        other = await another_tab(page)
        await hide(page)
        await other.get_by_role("button", name="Cancel Song 0").click()
        third = page.locator(".card", has=page.get_by_role("heading", name="Song 3"))
        await expect(third).to_have_attribute("data-state", "queued")


async def test_songs_of_another_tab_count_too(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, most_songs=2) as chat:
        page = await open_page(browser, chat)
        await send(page, write("Song 0", ENDLESS))
        await expect(page.locator(IN_PROGRESS)).to_have_count(1)
        other = await another_tab(page)
        await send(other, write("Song 1", ENDLESS))
        await expect(other.locator(IN_PROGRESS)).to_have_count(2)
        await send(page, write("Song 2", ENDLESS), write("Song 3", ENDLESS))
        await expect(page.locator(IN_PROGRESS)).to_have_count(2)
        await expect(page.get_by_text("Waits for its turn")).to_have_count(2)
        await other.get_by_role("button", name="Cancel Song 0").click()
        third = page.locator(".card", has=page.get_by_role("heading", name="Song 2"))
        await expect(third).to_have_attribute("data-state", "queued")


async def test_what_is_sent_while_the_tab_is_hidden_is_followed(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, most_songs=1) as chat:
        page = await open_page(browser, chat)
        await send(page, write("Song 0", ENDLESS))
        await expect(page.locator(IN_PROGRESS)).to_have_count(1)
        other = await another_tab(page)
        await hide(page)
        await send(page, write("Song 1", ENDLESS))
        await expect(page.get_by_text("Waits for its turn")).to_be_visible()
        await other.get_by_role("button", name="Cancel Song 0").click()
        second = page.locator(".card", has=page.get_by_role("heading", name="Song 1"))
        await expect(second).to_have_attribute("data-state", "queued")


async def test_songs_are_found_again_though_the_cookie_was_deleted_before(
    browser: Browser, chat: Chat, write: Write
) -> None:
    page = await open_page(browser, chat)
    await page.context.clear_cookies()
    await send(page, write("Song 0"), write("Song 1"))
    await expect(page.locator("[data-state=done]")).to_have_count(2)
    await page.reload()
    await expect(page.locator("[data-state=done]")).to_have_count(2)


async def test_a_folder_is_called_one(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    drag = {"x": 700, "y": 300, "data": {"items": [], "files": [str(song.parent)], "dragOperationsMask": 1}}
    devtools = await page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        await devtools.send("Input.dispatchDragEvent", {"type": step, **drag})
    await expect(page.locator(".line")).to_have_text("This is a folder, or a file that cannot be read.")
    await expect(page.get_by_role("button", name="Send again")).to_have_count(0)
    await page.get_by_role("button", name=f"Forget {song.parent.name}").click()
    await expect(page.locator(".card")).to_have_count(0)


async def test_record_a_song(browser: Browser, chat: Chat) -> None:
    page = await open_page(browser, chat, permissions=["microphone"])
    await page.get_by_role("button", name="Record").click()
    await page.wait_for_timeout(1500)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.url.endswith("/api/jobs") else None)
    await page.get_by_role("button", name="Stop and separate").click()
    await expect(page.locator(".card")).to_contain_text("Recording")
    await expect(page.locator(".card")).not_to_have_attribute("data-state", "uploading")
    assert "POST" in sent


# Keeps the streams that were given, and takes its time over each.
_MICROPHONES = """() => {
  const give = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.streams = [];
  navigator.mediaDevices.getUserMedia = async (wish) => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    streams.push(await give(wish));
    return streams.at(-1);
  };
}"""


async def test_a_recording_is_not_lost_by_a_reload(browser: Browser, chat: Chat) -> None:
    page = await open_page(browser, chat, permissions=["microphone"])
    await page.get_by_role("button", name="Record").click()
    stop = page.get_by_role("button", name="Stop and separate")
    await stop.wait_for()
    async with page.expect_event("dialog") as coming:
        await page.evaluate("setTimeout(() => location.reload())")
        dialog = await coming.value
        await dialog.dismiss()
    assert dialog.type == "beforeunload"
    await stop.click()
    await expect(page.locator(".card")).to_contain_text("Recording")


async def test_a_microphone_that_goes_away_loses_nothing(browser: Browser, chat: Chat) -> None:
    page = await open_page(browser, chat, permissions=["microphone"])
    await page.evaluate(_MICROPHONES)
    await page.get_by_role("button", name="Record").dblclick()
    await page.get_by_role("button", name="Stop and separate").wait_for()
    await page.wait_for_timeout(1500)
    assert await page.evaluate("streams.length") == 1
    await page.evaluate("streams[0].getTracks()[0].stop()")
    await expect(page.locator(".card")).to_contain_text("Recording")
    await expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()


# Safari's: a page whose sound is for playback gets no microphone.
_AUDIO_SESSION = """() => {
  const session = { type: "auto" };
  Object.defineProperty(navigator, "audioSession", { value: session });
  const give = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wish) => {
    if (session.type === "playback") throw new DOMException("", "InvalidStateError");
    return give(wish);
  };
}"""


async def test_safari_records_after_it_has_played(browser: Browser, chat: Chat, song: Path) -> None:
    async def session() -> str:
        return str(await page.evaluate("navigator.audioSession.type"))

    page = await open_page(browser, chat, permissions=["microphone"])
    await page.evaluate(_AUDIO_SESSION)
    await send(page, song)
    play, pause = (page.get_by_role("button", name=name, exact=True) for name in ("Play", "Pause"))
    await play.wait_for()
    assert await session() == "auto"
    await play.click()
    await pause.click()
    assert await session() == "playback"
    record = page.get_by_role("button", name="Record", exact=True)
    await record.click()
    stop = page.get_by_role("button", name="Stop and separate")
    await stop.wait_for()
    await play.click()
    await pause.click()
    assert await session() == "play-and-record"
    await stop.click()
    await record.wait_for()
    assert await session() == "playback"
    for refusal in (
        "MediaRecorder = class { constructor() { throw new Error(); } }",
        "navigator.mediaDevices.getUserMedia = () => Promise.reject()",
    ):
        await page.evaluate(f"() => {{ {refusal} }}")
        await record.click()
        await expect(page.get_by_role("alert")).to_contain_text("There is no microphone")
        assert await session() == "playback"
        await page.get_by_role("button", name="Close").click()

"""The real page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, Route, ViewportSize, async_playwright, expect

from bot.delivery import encode
from bot.jobs import Job, Order
from bot.web.app import WebApp
from bot.words import sentence
from spectacles_engine.errors import OutputError
from spectacles_engine.messages import STEMS
from tests.bot.web.chat import PATIENCE_S, Chat, serving, settings_for
from tests.bot.web.chromium import CHROMIUM, DESKTOP, FLAGS, PHONE
from tests.fake_engine import Behaviour, write_song

QUICK, SLOW, ENDLESS = (Behaviour(steps=steps, step_s=0.1) for steps in (8, 30, 300))
Write = Callable[..., Path]

_SEEDS = itertools.count()

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to show the page in"),
]


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


async def _open(browser: Browser, chat: Chat, size: ViewportSize = DESKTOP, **options: Any) -> Page:
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


async def _send(page: Page, *songs: Path) -> None:
    await page.set_input_files("#songs", songs)


async def _position_s(page: Page) -> float:
    """Where the playhead is, in seconds of the song."""
    share = await page.evaluate("getComputedStyle(document.querySelector('.player')).getPropertyValue('--at')")
    return float(share) * 30


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_send_a_song_and_listen(browser: Browser, chat: Chat, song: Path, size: ViewportSize) -> None:
    page = await _open(browser, chat, size)
    await _send(page, song)
    card = page.locator(".card")
    await expect(card.get_by_role("progressbar")).to_be_visible()
    await expect(card.locator(".line")).to_contain_text("Separating")
    await expect(page.locator(".note")).to_contain_text("Estimated quality")
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time")).not_to_have_text("0:00 / 0:30")
    await page.get_by_role("button", name="Pause").click()
    stopped_at = await _position_s(page)
    await expect(page.locator(".time")).to_have_text(f"0:{int(stopped_at):02} / 0:30")
    box = await page.locator(".wave").nth(2).bounding_box()
    assert box
    await page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    assert await _position_s(page) == pytest.approx(15, abs=0.5)
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]


async def _levels(page: Page) -> list[float]:
    """Peak of what each stem sends to the loudspeakers, over half a second."""
    levels: list[float] = await page.evaluate("window.levels()")
    return levels


# Listens behind every stem's gain: what reaches the loudspeakers, not what the buttons look like.
_LISTEN = """
const connect = AudioNode.prototype.connect;
const heard = [];
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const ear = new AnalyserNode(this.context, { fftSize: 2048 });
    connect.call(this, ear);
    heard.push(ear);
  }
  return connect.call(this, to, ...rest);
};
window.levels = async () => {
  const peaks = heard.map(() => 0);
  const samples = new Float32Array(2048);
  for (let n = 0; n < 25; n++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    heard.forEach((ear, stem) => {
      ear.getFloatTimeDomainData(samples);
      peaks[stem] = Math.max(peaks[stem], ...samples.map(Math.abs));
    });
  }
  return peaks;
};
"""


async def _playing(browser: Browser, chat: Chat, song: Path) -> Page:
    page = await _open(browser, chat)
    await page.evaluate(_LISTEN)
    await _send(page, song)
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time")).not_to_have_text("0:00 / 0:30")
    return page


def _sounding(levels: list[float]) -> list[bool]:
    return [level > 0.01 for level in levels]


async def test_mute_solo_volume_and_the_mixture(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _playing(browser, chat, song)
    assert _sounding(await _levels(page)) == [True] * 4
    await page.get_by_role("button", name="Mute Drums").click()
    await page.wait_for_timeout(200)
    assert _sounding(await _levels(page)) == [True, False, True, True]
    await page.keyboard.press("1")
    await page.wait_for_timeout(200)
    assert _sounding(await _levels(page)) == [False, False, True, True]
    await page.get_by_role("button", name="Only Vocals").click()
    await page.wait_for_timeout(200)
    assert _sounding(await _levels(page)) == [True, False, False, False]
    await page.get_by_role("button", name="Original").click()
    await page.wait_for_timeout(200)
    whole = await _levels(page)
    assert _sounding(whole) == [True] * 4
    await page.get_by_role("button", name="Original").click()
    await page.keyboard.press("Shift+Digit1")
    await page.keyboard.press("1")
    await page.keyboard.press("2")
    await page.get_by_role("slider", name="Volume of Bass").fill("50")
    await page.wait_for_timeout(200)
    softer = await _levels(page)
    assert _sounding(softer) == [True] * 4
    assert softer[2] == pytest.approx(whole[2] / 4, rel=0.1)
    assert softer[0] == pytest.approx(whole[0], rel=0.1)


async def test_where_nothing_can_be_played_the_stems_can_be_taken_along(
    browser: Browser, chat: Chat, song: Path
) -> None:
    page = await _open(browser, chat)
    await page.context.add_init_script("delete window.AudioContext")
    await page.reload()
    await _send(page, song)
    await expect(page.locator(".note")).to_contain_text("Estimated quality")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Drums").click()
    assert (await coming.value).suggested_filename == "A song – drums.flac"
    await page.reload()
    await expect(page.get_by_role("link", name="Everything (zip)")).to_be_visible()


async def test_waves_are_drawn_by_what_old_browsers_have(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _open(browser, chat)
    await page.context.add_init_script("delete CanvasRenderingContext2D.prototype.roundRect")  # Safari 15
    await page.reload()
    await _send(page, song)
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time")).not_to_have_text("0:00 / 0:30")
    await expect(page.locator(".transport").get_by_role("status")).to_have_text("")
    drawn = "document.querySelector('.ahead').getContext('2d').getImageData(0, 0, 60, 60).data.some(Boolean)"
    assert await page.evaluate(drawn)


async def _with_mp3s(browser: Browser, chat: Chat, song: Path) -> Page:
    """A page with a song that is done, whose downloads have to be made."""
    page = await _open(browser, chat)
    await _send(page, song)
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


async def test_a_paused_player_sees_the_connection_come_back(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _open(browser, chat)
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await page.route("**/playback/*", lambda route: route.abort())
    await page.get_by_role("slider", name="Place in the song").press("ArrowUp")
    status = page.locator(".transport").get_by_role("status")
    await expect(status).to_have_text("Waiting for the connection …")
    await page.unroute("**/playback/*")
    await expect(status).to_have_text("")


async def test_only_one_player_sounds_and_keys_speak_to_one_that_is_there(
    browser: Browser, chat: Chat, song: Path, write: Write
) -> None:
    page = await _open(browser, chat)
    await _send(page, song, write("Another", seconds=30))
    await page.get_by_role("button", name="Open the player").click()
    players = page.get_by_role("group", name="Player of")
    for n in (0, 1):
        await players.nth(n).get_by_role("button", name="Play", exact=True).click()
        await expect(players.nth(n).get_by_role("button", name="Pause")).to_be_visible()
    assert await page.get_by_role("button", name="Pause").count() == 1
    await page.locator(".card").nth(1).get_by_role("button", name="Forget").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(players).to_have_count(1)
    await page.keyboard.press("k")
    await expect(players.get_by_role("button", name="Pause")).to_be_visible()


async def test_a_player_that_gives_way_keeps_no_sound(browser: Browser, chat: Chat, song: Path, write: Write) -> None:
    page = await _playing(browser, chat, song)
    kept = 56  # buffers: 14 segments of four stems
    while await _buffers(page) < kept:
        await page.get_by_role("slider", name="Place in the song").press("ArrowUp")
    await _send(page, write("Another", seconds=30))
    await page.get_by_role("button", name="Open the player").click()
    await page.get_by_role("group", name="Player of Another").get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time").first).not_to_have_text("0:00 / 0:30")
    assert await _buffers(page) < kept
    await page.get_by_role("group", name="Player of A song").get_by_role("button", name="Play", exact=True).click()
    at = await page.locator(".time").last.inner_text()
    await expect(page.locator(".time").last).not_to_have_text(at)


async def _buffers(page: Page) -> int:
    """How many pieces of decoded sound the page holds."""
    devtools = await page.context.new_cdp_session(page)
    prototype = await devtools.send("Runtime.evaluate", {"expression": "AudioBuffer.prototype"})
    found = await devtools.send("Runtime.queryObjects", {"prototypeObjectId": prototype["result"]["objectId"]})
    count = {"objectId": found["objects"]["objectId"], "functionDeclaration": "function () { return this.length }"}
    held = int((await devtools.send("Runtime.callFunctionOn", count))["result"]["value"])
    await devtools.detach()
    return held


async def test_a_loop_is_kept_to(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _playing(browser, chat, song)
    await page.keyboard.press("l")
    await page.wait_for_timeout(700)
    await page.keyboard.press("l")
    await expect(page.get_by_role("button", name="End the loop")).to_have_attribute("aria-pressed", "true")
    start, end = (page.get_by_role("slider", name=f"{edge} of the loop") for edge in ("Start", "End"))
    from_s, to_s = [float(await edge.get_attribute("aria-valuenow") or "") for edge in (start, end)]
    assert 0.3 < to_s - from_s < 5
    await page.wait_for_timeout(int(1500 * (to_s - from_s)))
    assert from_s - 0.1 <= await _position_s(page) <= to_s + 0.1
    await end.press("ArrowRight")
    assert float(await end.get_attribute("aria-valuenow") or "") == pytest.approx(to_s + 0.1, abs=0.06)
    await page.get_by_role("button", name="End the loop").click()
    await expect(end).to_be_hidden()


# What all four stems play, sample by sample, against what the server gave; seeks and loops are cut to the sample.
_RENDER = """async ([id, seconds, loop]) => {
  const { StemSound, RATE, decode } = await import("/sound.js");
  const { segment } = await import("/api.js");
  const length = 2 * RATE;
  const context = new OfflineAudioContext(4, seconds * RATE, RATE);
  const merger = context.createChannelMerger(4);
  merger.connect(context.destination);
  const gains = [0, 1, 2, 3].map((stem) => {
    const gain = context.createGain();
    const left = context.createChannelSplitter(2);
    gain.connect(left);
    left.connect(merger, 0, stem);
    return gain;
  });
  const segments = [];
  for (let n = 0; n < 15; n++) segments.push(await decode(context, await segment(id, n), 4));
  const sound = new StemSound({ context, gains, load: async (n) => segments[n], samples: 30 * RATE, segment: length });
  sound.setLoop(loop);
  sound.prepare();
  await new Promise((resolve) => setTimeout(resolve, 50));
  sound.play();
  // Time stands still now and then, for the timer that schedules to come.
  for (let at = 1; at < seconds; at += 2) {
    context.suspend(at).then(() => setTimeout(() => context.resume(), 300));
  }
  const played = await context.startRendering();
  sound.pause();
  const lead = Math.ceil(0.06 * RATE);
  let worst = 0;
  let loudest = 0;
  for (let frame = lead, sample = 0; frame < seconds * RATE; frame++, sample++) {
    if (loop && sample >= loop.to) sample = loop.from;
    for (let stem = 0; stem < 4; stem++) {
      const right = segments[Math.floor(sample / length)][stem].getChannelData(0)[sample % length];
      worst = Math.max(worst, Math.abs(played.getChannelData(stem)[frame] - right));
      loudest = Math.max(loudest, Math.abs(right));
    }
  }
  return { worst, loudest };
}"""


async def test_the_stems_are_locked_to_the_sample(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _open(browser, chat)
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    job_id = await page.locator(".card").get_attribute("data-job")
    for loop in (None, {"from": 12_345, "to": 100_001}, {"from": 88_200, "to": 92_610}):
        difference = await page.evaluate(_RENDER, [job_id, 12, loop])
        assert difference["loudest"] > 0.01
        assert difference["worst"] < 1e-7


async def test_reload_in_the_middle_goes_on(browser: Browser, chat: Chat, write: Write) -> None:
    page = await _open(browser, chat, PHONE)
    await _send(page, write("Long", SLOW))
    await expect(page.locator(".line")).to_contain_text("Separating")
    await page.reload()
    await expect(page.locator(".line")).to_contain_text("Separating")
    await expect(page.get_by_role("heading", name="Long")).to_be_visible()
    await expect(page.locator(".player")).to_be_visible()


async def test_a_page_that_is_looked_at_again_shows_what_another_one_did(
    browser: Browser, chat: Chat, song: Path, write: Write
) -> None:
    page = await _open(browser, chat)
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await _send(page, write("Kept"))
    await expect(page.get_by_role("button", name="Open the player")).to_be_visible()
    other = await page.context.new_page()
    await other.goto(chat.url)
    await _send(other, write("New"))
    await other.get_by_role("button", name="Forget A song").click()
    await other.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(other.locator("[data-state=done]")).to_have_count(2)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # no tab of this Chromium is hidden
    await expect(page.locator(".card h2")).to_have_text(["New", "Kept"])


async def test_progress_survives_a_lost_connection(browser: Browser, write: Write, tmp_path: Path) -> None:
    added = "node => getComputedStyle(node, '::after').content"
    refused = tmp_path / "notes.txt"
    refused.write_text("no song")
    async with serving(tmp_path) as chat:
        page = await _open(browser, chat)
        await _send(page, refused)
        await expect(page.locator("[data-state=failed]")).to_be_visible()
        await _send(page, write("Long", SLOW))
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


async def test_a_server_that_is_away_while_the_page_opens_is_waited_for(browser: Browser, chat: Chat) -> None:
    page = await (await browser.new_context(locale="en")).new_page()
    await page.route("**/api/page", lambda route: route.abort())
    async with page.expect_event("requestfailed"):
        await page.goto(chat.url)
    await expect(page.locator("body")).to_have_text("")
    await page.unroute("**/api/page")
    await expect(page.get_by_text("Choose songs")).to_be_visible()


async def test_what_did_not_arrive_is_sent_again(browser: Browser, song: Path, tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        page = await _open(browser, chat)
        port = chat.port
        await chat.app.stop()
        await _send(page, song)
        await expect(page.locator(".line")).to_contain_text("does not answer")
        again = WebApp(settings_for(chat.settings.data_folder, port=port), chat.service)
        await again.start()
        await page.get_by_role("button", name="Send again").click()
        await expect(page.locator(".player")).to_be_visible()
        await again.stop()


async def test_a_new_code_is_asked_for(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, access_code="Wood-Wind") as chat:
        page = await (await browser.new_context(locale="en")).new_page()
        await page.goto(f"{chat.url}/#code=Wood-Wind")
        await _send(page, write("Endless", ENDLESS))
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
    page = await _open(browser, chat)
    refused = tmp_path / "notes.txt"
    refused.write_text("no song")
    await _send(page, song, write("Endless", ENDLESS), refused)
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
    page = await _open(browser, chat)
    await _send(page, write("Endless", ENDLESS))
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
    page = await _open(browser, chat)
    await _send(page, *(write(f"Endless {n}", ENDLESS) for n in range(3)))
    await expect(page.get_by_text("Sending: 100 %")).to_have_count(2)
    await page.get_by_role("button", name="Forget all my songs").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget all my songs").click()
    await expect(page.locator(".card")).to_have_count(2)
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
    page = await _open(browser, chat)
    await _send(page, write("Late", ENDLESS))
    await expect(page.locator(".line")).to_have_text("Sending: 100 %")
    await _send(page, write("Endless", ENDLESS))
    await expect(page.get_by_role("heading", name="Late")).to_have_count(2)
    goes_on.set()
    await expect(page.get_by_role("heading", name="Late")).to_have_count(1)
    await page.get_by_role("button", name="Cancel Endless").click()
    await page.get_by_role("button", name="Cancel Late").click()
    await expect(page.locator("[data-state=cancelled]")).to_have_count(2)


async def test_a_bad_file_gets_a_sentence(browser: Browser, chat: Chat, tmp_path: Path, song: Path) -> None:
    bad = tmp_path / "Bad.mp3"
    bad.write_bytes(b"no sound in here" * 99)
    page = await _open(browser, chat, PHONE)
    await _send(page, bad, song)
    card = page.locator(".card", has=page.get_by_role("heading", name="Bad"))
    await expect(card.locator(".line")).to_contain_text("ot an audio file")
    await expect(page.locator(".player")).to_be_visible()
    await card.get_by_role("button", name="Forget Bad").click()
    await expect(card).to_have_count(0)


async def test_every_song_that_is_too_large_is_told_of(browser: Browser, write: Write, tmp_path: Path) -> None:
    async with serving(tmp_path, largest_file_mb=1) as chat:
        page = await _open(browser, chat)
        await _send(page, write("Long", seconds=9), write("Longer", seconds=10), write("Short", seconds=1))
        for name in ("Long", "Longer"):
            card = page.locator(".card", has=page.get_by_role("heading", name=name, exact=True))
            await expect(card.locator(".line")).to_have_text(f"{name}.wav is larger than 1 MB.")
        await expect(page.locator(".player")).to_be_visible()


async def test_a_folder_is_called_one(browser: Browser, chat: Chat, song: Path) -> None:
    page = await _open(browser, chat)
    drag = {"x": 700, "y": 300, "data": {"items": [], "files": [str(song.parent)], "dragOperationsMask": 1}}
    devtools = await page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        await devtools.send("Input.dispatchDragEvent", {"type": step, **drag})
    await expect(page.locator(".line")).to_have_text("This is a folder, or a file that cannot be read.")
    await expect(page.get_by_role("button", name="Send again")).to_have_count(0)
    await page.get_by_role("button", name=f"Forget {song.parent.name}").click()
    await expect(page.locator(".card")).to_have_count(0)


async def test_a_title_is_read_in_its_own_direction(browser: Browser, chat: Chat, write: Write) -> None:
    page = await _open(browser, chat, PHONE)
    await _send(page, write("שיר אהבה (Live) – 1!"), write("Choral"))
    for title, direction in (("שיר", "rtl"), ("Choral", "ltr")):
        heading = page.get_by_role("heading", name=title)
        assert await heading.evaluate("node => getComputedStyle(node).direction") == direction


async def test_record_a_song(browser: Browser, chat: Chat) -> None:
    page = await _open(browser, chat, permissions=["microphone"])
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
    page = await _open(browser, chat, permissions=["microphone"])
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
    page = await _open(browser, chat, permissions=["microphone"])
    await page.evaluate(_MICROPHONES)
    await page.get_by_role("button", name="Record").dblclick()
    await page.get_by_role("button", name="Stop and separate").wait_for()
    await page.wait_for_timeout(1500)
    assert await page.evaluate("streams.length") == 1
    await page.evaluate("streams[0].getTracks()[0].stop()")
    await expect(page.locator(".card")).to_contain_text("Recording")
    await expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()


async def test_the_page_asks_nobody_else_and_is_light(browser: Browser, chat: Chat) -> None:
    page = await _open(browser, chat)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.reload(wait_until="networkidle")
    assert all(url.startswith(chat.url) for url in asked)
    assert len(asked) <= 15


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
async def test_axe_finds_nothing_serious(
    browser: Browser, chat: Chat, song: Path, write: Write, size: ViewportSize, scheme: str
) -> None:
    page = await _open(browser, chat, size, color_scheme=scheme)
    await _assert_accessible(page)
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await _send(page, write("Endless", ENDLESS))
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await page.keyboard.press("2")
    await page.keyboard.press("l")
    await page.wait_for_timeout(100)
    await page.keyboard.press("l")
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

    page = await _open(browser, chat, PHONE)
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await page.route("**/api/jobs", with_weak_spot)
    await page.reload()
    await page.get_by_role("button", name="Vocals is weaker from 0:07 to 0:12").tap()
    await expect(page.locator(".time")).to_have_text("0:07 / 0:30")
    for target in await page.locator("button:visible, .button:visible, select:visible").all():
        box = await target.bounding_box()
        assert box
        assert box["height"] >= 44, await target.inner_text()


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
    page = await _open(browser, chat, forced_colors="active", color_scheme="dark")
    await _send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await _send(page, write("Endless", ENDLESS))
    await page.get_by_role("button", name="Mute Drums").click()
    await page.get_by_role("button", name="Only Bass").click()
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

"""The stem player: what sounds, and when."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.bot.web.chat import PATIENCE_S, Chat
from tests.bot.web.page.browsing import IN_CHROMIUM, Write, open_page, position_s, send

pytestmark = IN_CHROMIUM


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
    page = await open_page(browser, chat)
    await page.evaluate(_LISTEN)
    await send(page, song)
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
    await page.get_by_role("button", name="Solo Vocals").click()
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


async def test_waves_are_drawn_by_what_old_browsers_have(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    await page.context.add_init_script("delete CanvasRenderingContext2D.prototype.roundRect")  # Safari 15
    await page.reload()
    await send(page, song)
    await page.get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time")).not_to_have_text("0:00 / 0:30")
    await expect(page.locator(".transport").get_by_role("status")).to_have_text("")
    drawn = "document.querySelector('.ahead').getContext('2d').getImageData(0, 0, 60, 60).data.some(Boolean)"
    assert await page.evaluate(drawn)


async def test_waves_follow_the_systems_change_to_dark(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat, color_scheme="light")
    await send(page, song)
    await page.get_by_role("button", name="Mute Vocals").click()
    await page.emulate_media(color_scheme="dark")
    await page.wait_for_function("""() => {
      const canvas = document.querySelector(".ahead");
      const { data } = canvas.getContext("2d").getImageData(0, canvas.height / 2, 1, 1);
      return String(data) === "243,143,192,255";
    }""")


async def test_a_paused_player_sees_the_connection_come_back(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    await page.route("**/playback/*", lambda route: route.abort())
    await page.get_by_role("slider", name="Place in the song").press("ArrowUp")
    status = page.locator(".transport").get_by_role("status")
    await expect(status).to_have_text("Waiting for the connection …")
    await page.unroute("**/playback/*")
    await expect(status).to_have_text("")


async def test_a_lost_connection_is_told_of_once(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    async with page.expect_response("**/peaks"):
        await send(page, song)
    await page.route("**/playback/*", lambda route: route.abort())
    for key in ("End", "ArrowDown"):
        await page.get_by_role("slider", name="Place in the song").press(key)
    status = page.locator(".transport").get_by_role("status")
    await expect(status).to_have_text("Waiting for the connection …")
    await status.evaluate(
        "node => new MutationObserver(() => (window.isToldAgain = true)).observe(node, { childList: true })"
    )
    for _ in range(4):
        async with page.expect_event("requestfailed"):
            pass
    assert not await page.evaluate("window.isToldAgain")


async def test_only_one_player_sounds_and_keys_speak_to_one_that_is_there(
    browser: Browser, chat: Chat, song: Path, write: Write
) -> None:
    page = await open_page(browser, chat)
    await send(page, song, write("Another", seconds=30))
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
    await send(page, write("Another", seconds=30))
    await page.get_by_role("button", name="Open the player").click()
    await page.get_by_role("group", name="Player of Another").get_by_role("button", name="Play", exact=True).click()
    await expect(page.locator(".time").first).not_to_have_text("0:00 / 0:30")
    assert await _buffers(page) < kept
    await page.get_by_role("group", name="Player of A song").get_by_role("button", name="Play", exact=True).click()
    at = await page.locator(".time").last.inner_text()
    await expect(page.locator(".time").last).not_to_have_text(at)


async def test_a_player_that_is_only_looked_at_keeps_no_sound(
    browser: Browser, chat: Chat, song: Path, write: Write
) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    one, before = 0, -1
    while one != before or not one:
        one, before = await _buffers(page), one
        await asyncio.sleep(0.3)
    await send(page, write("Another", seconds=30))
    async with page.expect_response("**/playback/*"):
        await page.get_by_role("button", name="Open the player").click()
    await expect(page.locator(".player")).to_have_count(2)
    await asyncio.sleep(0.5)
    assert await _buffers(page) <= one


async def test_a_slide_along_the_song_asks_for_no_more_than_where_it_ends(
    browser: Browser, chat: Chat, song: Path
) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    asked, aborted = [], []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    await page.route("**/playback/*", lambda route: asked.append(route.request.url))  # and none is answered
    place = page.get_by_role("slider", name="Place in the song")
    for _ in range(4):
        await place.press("ArrowUp")
    async with asyncio.timeout(PATIENCE_S):
        while len(asked) < 5 or len(set(asked) - set(aborted)) > 4:
            await asyncio.sleep(0.05)


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
    assert from_s - 0.1 <= await position_s(page) <= to_s + 0.1
    await end.press("ArrowRight")
    assert float(await end.get_attribute("aria-valuenow") or "") == pytest.approx(to_s + 0.1, abs=0.06)
    await end.press("End")
    await expect(end).to_have_attribute("aria-valuetext", "0:30.0")
    await start.press("Home")
    await expect(start).to_have_attribute("aria-valuetext", "0:00.0")
    await start.press("ArrowRight")
    await expect(start).to_have_attribute("aria-valuetext", "0:00.1")
    await page.get_by_role("button", name="End the loop").click()
    await expect(end).to_be_hidden()


async def test_keys_heed_caps_lock_and_act_once_while_they_are_held(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    for key in ("ArrowRight", "K", "L", "1", "O"):
        await page.keyboard.down(key)
        await page.keyboard.down(key)
        await page.keyboard.up(key)
        if key == "ArrowRight":
            await expect(page.locator(".time")).to_have_text("0:10 / 0:30")
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    await expect(page.get_by_role("button", name="Loop to here")).to_be_visible()
    for name in ("Mute Vocals", "Original"):
        await expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")


async def test_keys_speak_to_the_player_after_a_song_was_chosen(browser: Browser, chat: Chat, song: Path) -> None:
    page = await open_page(browser, chat)
    async with page.expect_file_chooser() as choosing:
        await page.get_by_text("Choose songs").click()
    await (await choosing.value).set_files(song)
    await expect(page.locator(".player")).to_be_visible()
    await page.keyboard.press("Space")
    await expect(page.get_by_role("button", name="Pause")).to_be_visible()
    # by keyboard it can be gone back to: Space is its own then
    await page.locator("#songs").focus()
    await page.keyboard.press("1")
    await expect(page.get_by_role("button", name="Mute Vocals")).to_have_attribute("aria-pressed", "true")
    async with page.expect_file_chooser():
        await page.keyboard.press("Space")


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
    page = await open_page(browser, chat)
    await send(page, song)
    await expect(page.locator(".player")).to_be_visible()
    job_id = await page.locator(".card").get_attribute("data-job")
    for loop in (None, {"from": 12_345, "to": 100_001}, {"from": 88_200, "to": 92_610}):
        difference = await page.evaluate(_RENDER, [job_id, 12, loop])
        assert difference["loudest"] > 0.01
        assert difference["worst"] < 1e-7

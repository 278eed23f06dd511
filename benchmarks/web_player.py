"""The page in a real Chromium: its weight, the time from the player to sound, drift, pictures.

::

    python -m benchmarks.web_player --minutes 4 --pictures FOLDER

The fast fake engine answers the same noise for every stem, so that one sample of drift is heard. The pictures show the
excerpt of the demo and what `lite` makes of it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from playwright.async_api import Browser, Page, Response, async_playwright

from spectacles_engine import demo, worker
from spectacles_engine.messages import SAMPLE_RATE_HZ, EngineOptions
from spectacles_engine.process import EngineProcess
from tests.bot.web.chat import serving
from tests.bot.web.chromium import CHROMIUM, DESKTOP, FLAGS, PHONE

LISTENER = """() => {
  window.heard = { done: 0, sound: 0, samples: 0, worst: 0, gaps: 0 };
  const connect = AudioNode.prototype.connect;
  let merger, number = 0;
  // every stem reaches the loudspeaker through a gain of its own: there we listen to its left channel
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode && this instanceof GainNode) {
      if (!merger) {
        merger = this.context.createChannelMerger(4);
        const ear = this.context.createScriptProcessor(4096, 4, 1);
        connect.call(merger, ear);
        connect.call(ear, this.context.destination);
        ear.onaudioprocess = ({ inputBuffer }) => {
          const [first, ...others] = [0, 1, 2, 3].map((k) => inputBuffer.getChannelData(k));
          if (first.every((sample) => sample === 0)) {
            heard.gaps += heard.samples ? 1 : 0;
            return;
          }
          heard.sound ||= performance.now();
          heard.samples += first.length;
          for (const other of others) {
            heard.worst = Math.max(heard.worst, ...other.map((sample, k) => Math.abs(sample - first[k])));
          }
        };
      }
      const split = this.context.createChannelSplitter(2);
      connect.call(this, split);
      connect.call(split, merger, 0, number++);
    }
    return connect.call(this, to, ...rest);
  };
  const look = () => {
    const play = document.querySelector(".play");
    if (!play) return setTimeout(look, 5);
    heard.done = performance.now();
    play.click();
  };
  look();
}"""


async def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--pictures", type=Path, help="folder for screenshots on a phone and on a desktop")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        parser.error("there is no Chromium here")
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as chat, async_playwright() as playwright:
            flags = [*FLAGS, "--autoplay-policy=no-user-gesture-required"]
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
            try:
                await _listen(browser, chat.url, Path(folder), arguments.minutes)
                if arguments.pictures:
                    await _pictures(browser, Path(folder), arguments.pictures)
            finally:
                await browser.close()


async def _listen(browser: Browser, url: str, folder: Path, minutes: float) -> None:
    noise = folder / "noise.wav"
    samples = np.random.default_rng(0).uniform(-1, 1, (round((60 * minutes + 5) * SAMPLE_RATE_HZ), 2))
    soundfile.write(noise, samples, SAMPLE_RATE_HZ)
    page = await browser.new_page()
    page.set_default_timeout(120_000)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    await _opened(page, url)
    weights = [(await answer.request.sizes())["responseBodySize"] for answer in answers if "events" not in answer.url]
    print(f"the page, over the wire: {sum(weights) / 1000:.0f} kB in {len(answers)} requests")
    await page.evaluate(LISTENER)
    await page.set_input_files("#songs", noise)
    while not (heard := await page.evaluate("heard"))["sound"]:  # the page forbids what wait_for_function needs
        await asyncio.sleep(0.1)
    print(f"from the player's coming to sound: {(heard['sound'] - heard['done']) / 1000:.2f} s", flush=True)
    await asyncio.sleep(60 * minutes)
    heard = await page.evaluate("heard")
    played_s = heard["samples"] / await page.evaluate("new AudioContext().sampleRate")
    print(
        f"{played_s:.0f} s played; largest difference between stems: {heard['worst']:g} "
        f"(a sample of drift: 0.5); gaps: {heard['gaps']}"
    )
    await page.close()


async def _opened(page: Page, url: str) -> None:
    await page.goto(url)
    await page.wait_for_selector(".composer")
    await page.wait_for_load_state("load")


async def _pictures(browser: Browser, folder: Path, to: Path) -> None:
    demo.write_mixture(demo.references(), folder / "excerpt.wav")
    excerpt, rate = soundfile.read(folder / "excerpt.wav")
    soundfile.write(folder / "Sunday jam.flac", np.tile(excerpt, (5, 1)), rate)
    for name, size in (("phone", PHONE), ("desktop", DESKTOP)):
        (to / name).mkdir(parents=True, exist_ok=True)
        engine = EngineProcess(EngineOptions(folder / "models"), target=worker.main)
        async with serving(folder / name, engine=engine) as chat:
            page = await browser.new_page(viewport=size)
            page.set_default_timeout(120_000)
            await _opened(page, chat.url)
            await page.screenshot(path=to / name / "empty.png")
            await page.set_input_files("#songs", folder / "Sunday jam.flac")
            await page.wait_for_selector("text=/[1-9][0-9] %/")
            await page.screenshot(path=to / name / "running.png")
            await page.wait_for_selector(".play")
            await asyncio.sleep(5)  # the waves come from a process of their own
            await page.screenshot(path=to / name / "finished.png")
            await page.close()
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main())

"""What people read: a morning of songs on a simulated Telegram and Discord, with the real bots and the preset `lite`.

::

    python -m benchmarks.conversations --platform telegram discord --seconds 540

It prints every message of a person and each state that the bot's messages went through; ``--seconds``: of the long
song, which is too long for a chat's limits and goes down the ladder.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from bot.discord.commands import MENU
from bot.store import JobStore
from spectacles_engine import demo, worker
from spectacles_engine.audio_files import encode
from spectacles_engine.messages import EngineOptions
from tests.bot.discord import world as discord_world
from tests.bot.telegram import world as telegram_world

PATIENCE_S = 3600.0
ANN, BOB, CLASS = 11, 12, -1001


@dataclass(frozen=True)
class Songs:
    """Files as phones send them."""

    voice: bytes
    phone: bytes
    another: bytes
    long: bytes
    another_long: bytes


async def recorded(folder: Path, seconds: int) -> Songs:
    """The excerpt of the demo in the formats of phones; again and again it is the long song."""
    demo.write_mixture(demo.references(), folder / "excerpt.wav")
    excerpt, rate = soundfile.read(folder / "excerpt.wav", dtype="float32")
    with soundfile.SoundFile(folder / "long.wav", "w", rate, 2) as file:
        for _ in range(seconds * rate // len(excerpt)):
            file.write(excerpt)
    soundfile.write(folder / "another.wav", 0.5 * excerpt[::-1], rate)
    files = []
    for name, format, bitrate_kbps in (
        ("excerpt", "opus", 32),
        ("excerpt", "m4a", 192),
        ("another", "mp3", 192),
        ("long", "m4a", 128),
        ("long", "mp3", 96),
    ):
        target = folder / f"{name}.{format}"
        await encode([folder / f"{name}.wav"], target, format, bitrate_kbps=bitrate_kbps)
        files.append(target.read_bytes())
    return Songs(*files)


class Conversation:
    """Prints what a person does, then every state of the bot's messages until nothing is left to do."""

    def __init__(self, said: Callable[[], Sequence[str]], store: JobStore) -> None:
        self._said, self._store, self._told = said, store, 0

    async def step(self, words: str, until: str = "") -> None:
        """After a person did it. Waits until something with ``until`` in it is said, or for an answer and its end."""
        print(f"\n> {words}", flush=True)
        async with asyncio.timeout(PATIENCE_S):
            while not self._is_there(until):
                await asyncio.sleep(0.1)
        for text in self._new():
            print(text.replace("\n", "\n    "))
        self._told = len(self._said())

    def end(self, uploads: Sequence[Mapping[str, int]]) -> None:
        """What was uploaded for all that, in bytes by name."""
        for upload in uploads:
            print("(uploaded) " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in upload.items()))

    def _new(self) -> Sequence[str]:
        return self._said()[self._told :]

    def _is_there(self, until: str) -> bool:
        is_idle = not self._store.unfinished() and not self._store.untold()
        return any(until in text for text in self._new()) and (bool(until) or is_idle)


async def on_telegram(folder: Path, songs: Songs, patch: pytest.MonkeyPatch) -> None:
    """In a private chat and in a group."""
    engine = EngineOptions(folder / "models")
    async with telegram_world.telegram_world(folder, patch, options=engine, target=worker.main, pace_s=3.0) as world:
        server = world.server
        where = {ANN: "to Ann", BOB: "to Bob", CLASS: "in class"}
        talk = Conversation(lambda: [f"{where[chat]}: {text}" for _, chat, text in server.said], world.store)
        server.send(ANN, ANN, "voice", songs.voice, mime_type="audio/ogg")
        await talk.step("Ann sends a voice note")
        song = server.send(CLASS, ANN, "audio", songs.phone, file_name="Sunday jam.m4a")
        server.say(CLASS, BOB, "/stems vocals drums", reply=song)
        await talk.step("Ann sends Sunday jam.m4a to the class. Bob replies to it: /stems vocals drums")
        separations = world.separations
        server.say(CLASS, BOB, "/bass", reply=song)
        await talk.step("Bob replies to it: /bass")
        note = server.notes(CLASS)[-1]
        server.tap(note, ANN, "Karaoke")
        await talk.step("Ann taps on Karaoke")
        print(f"(songs separated for these two: {world.separations - separations})")
        print(f"\n> Ann taps on Delete under what Bob asked for\n(alert) {await server.tapped(note, ANN, 'Delete')}")
        server.send(CLASS, ANN, "audio", songs.another, file_name="another.mp3", caption="/drums flac")
        await talk.step("Ann sends another.mp3 to the class with the caption /drums flac")
        server.send(ANN, ANN, "audio", songs.long, file_name="A long song.m4a", caption="flac")
        await talk.step("Ann sends A long song.m4a with the caption flac", "separating, ")
        server.send(BOB, BOB, "audio", songs.another_long, file_name="Waiting.mp3")
        await talk.step("Bob sends Waiting.mp3 meanwhile", "place 1")
        server.say(BOB, BOB, "/cancel")
        await talk.step("Bob: /cancel", "cancelled")
        await talk.step("(the long song goes on)")
        server.send(BOB, BOB, "audio", songs.another_long, file_name="Too long to wait for.mp3")
        await talk.step("Bob sends Too long to wait for.mp3", "separating, ")
        server.say(BOB, BOB, "/cancel")
        await talk.step("Bob: /cancel")
        server.say(ANN, ANN, "/forget")
        await talk.step("Ann: /forget", "eleted")
        talk.end(server.uploads)


async def on_discord(folder: Path, songs: Songs, patch: pytest.MonkeyPatch) -> None:
    """In a channel of a server that takes files of 10 MiB."""
    engine = EngineOptions(folder / "models")
    async with discord_world.discord_world(folder, patch, options=engine, target=worker.main, pace_s=3.0) as world:
        channel = world.env.create_guild().create_text_channel("class")
        ann, bob = (world.env.guild.add_member(world.env.create_user(name)) for name in ("ann", "bob"))
        talk = Conversation(lambda: read_on_discord(world), world.service._store)
        voice = await world.post(ann, channel, ("voice-message.ogg", songs.voice), voice_s=5.8)
        await bob.context_menu(channel, MENU, voice)
        await talk.step("Ann sends a voice message. Bob chooses Apps > Separate stems on it")
        await ann.slash(channel, "separate", attachment=("Sunday jam.m4a", songs.phone), stems="vocals, drums")
        await talk.step("Ann: /separate Sunday jam.m4a stems: vocals, drums")
        work = world.separations
        result = world.results(channel)[-1]
        await bob.click(result, label="Karaoke")
        await talk.step("Bob clicks on Karaoke")
        print(f"(songs separated for this: {world.separations - work})")
        await bob.click(result, label="Delete")
        await talk.step("Bob clicks on Delete under what Ann asked for")
        await ann.slash(channel, "separate", attachment=("A long song.m4a", songs.long), format="flac")
        await talk.step("Ann: /separate A long song.m4a format: flac", "separating, ")
        await bob.slash(channel, "separate", attachment=("Waiting.mp3", songs.another_long))
        await talk.step("Bob: /separate Waiting.mp3 meanwhile", "place 1")
        await bob.slash(channel, "cancel")
        await talk.step("Bob: /cancel", "cancelled")
        await talk.step("(the long song goes on)")
        await bob.slash(channel, "separate", attachment=("Too long to wait for.mp3", songs.another_long))
        await talk.step("Bob: /separate Too long to wait for.mp3", "separating, ")
        await bob.slash(channel, "cancel")
        await talk.step("Bob: /cancel")
        await ann.slash(channel, "forget")
        await talk.step("Ann: /forget")
        talk.end(world.wire.uploads)


def read_on_discord(world: discord_world.World) -> list[str]:
    """Messages of the bot, new or edited, and answers that one person alone sees."""
    read = []
    for kind, name, said in world.env.backend.transcript:
        if kind == "GATEWAY" and name in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and said["author"]["bot"]:
            files = "".join(f"\n  [{file['filename']}]" for file in said["attachments"])
            buttons = [button["label"] for row in said["components"] for button in row["components"]]
            read.append(f"in class: {said['content']}{files}" + (f"\n  ({' · '.join(buttons)})" if buttons else ""))
        elif kind == "HTTP" and ("/webhooks/" in name or "/callback" in name):
            answer = said.get("data", said).get("content")
            read += [f"for one alone: {answer}"] if answer else []
    return read


PLATFORMS = {"telegram": on_telegram, "discord": on_discord}


async def main() -> None:
    """One platform after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--platform", nargs="+", choices=PLATFORMS, default=list(PLATFORMS))
    parser.add_argument("--seconds", type=int, default=540)
    arguments = parser.parse_args()
    for platform in arguments.platform:
        print(f"\n## {platform}")
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            await PLATFORMS[platform](Path(folder), await recorded(Path(folder), arguments.seconds), patch)


if __name__ == "__main__":
    asyncio.run(main())

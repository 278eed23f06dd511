"""Stand-ins until bot/requests.py, bot/delivery.py and the sentences in bot/replies.py are there. To be deleted."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bot.jobs import Forgotten, Job, Standing, State, StoredResult, Wish
from bot.names import song_folder
from bot.replies import as_sentence, clock
from spectacles_engine.audio_files import encode
from spectacles_engine.messages import FORMATS, MIXES, STEMS

LADDER = (("flac", None), ("mp3", 320), ("mp3", 192), ("mp3", 128), ("opus", 96))


def parse(text: str) -> Wish:
    words = re.findall(r"[\w-]+", text.lower())
    stems = tuple(stem for stem in STEMS if stem in words)
    mix = next((word for word in words if word in MIXES), None)
    format = next((word for word in words if word in FORMATS), None)
    return Wish(stems or (() if mix else STEMS), mix, format)


def status(standing: Standing, title: str) -> str:
    job = standing.job
    match job.state:
        case State.PREPARING | State.QUEUED:
            return f"{title}: place {standing.position or '?'} in the queue."
        case State.RUNNING:
            return f"{title}: {standing.share:.0%}"
        case State.DELIVERING:
            return f"{title}: sending the stems."
        case State.FAILED:
            return f"{title}: {as_sentence(job.error or '')}"
        case State.CANCELLED:
            return f"{title}: cancelled."
        case _:
            return f"{title}: done."


def queue(standings: Sequence[Standing], person: str) -> str:
    return "\n".join(status(standing, standing.job.order.title) for standing in standings) or "Nothing is waiting here."


def cancelled(jobs: Sequence[Job]) -> str:
    return f"Cancelled: {', '.join(job.order.title for job in jobs)}." if jobs else "You have nothing to cancel here."


def forgotten(what: Forgotten) -> str:
    return f"Deleted: {what.songs} songs, {what.megabytes:.0f} MB of stems."


def help_text() -> str:
    return "Send me a song."


def privacy(keep_hours: float) -> str:
    return f"Songs are deleted after {keep_hours:g} hours."


def accepted() -> str:
    return "I have it. The answer comes here in the channel."


def not_yours() -> str:
    return "Only who asked for these stems can do that."


def no_longer_stored() -> str:
    return "That song is no longer stored. Please send it again."


def deleted() -> str:
    return "Deleted."


def song_gone() -> str:
    return "Discord no longer has that file. Please send it again."


def no_song() -> str:
    return "There is no song in that message."


def cannot_write_here() -> str:
    return "I may not send messages with files in this channel. Ask for that, or send me the song in a private message."


def caption(title: str, note: str, length_s: float) -> str:
    return f"{title} ({clock(length_s)})\n{note}"


BUTTONS = (*((stem, stem.capitalize()) for stem in STEMS), ("karaoke", "Karaoke"), ("flac", "FLAC"))


def too_long_for_this_chat() -> str:
    return "The stems are too large for this chat."


async def offers(job: Job, result: StoredResult, most_bytes: int) -> AsyncIterator[list[Path]]:
    rungs = [(job.order.wish.format or "mp3", None), *LADDER]
    with tempfile.TemporaryDirectory() as folder:
        for format, kbps in dict.fromkeys(rungs):
            if format in ("mp3", "opus") and (kbps or 320) * 125 * result.seconds > most_bytes:
                continue
            if format == "flac" and job.order.wish.format != "flac":
                continue
            files = []
            for name in job.order.wish.names:
                file = Path(folder) / f"{song_folder(job.order.title + '.x')} – {name}.{format}"
                stems = [result.stem(stem) for stem in MIXES.get(name, (name,))]
                await encode(stems, file, format, bitrate_kbps=kbps)
                files.append(file)
            if all(file.stat().st_size <= most_bytes for file in files):
                yield files

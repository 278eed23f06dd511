"""What a person hands in on Discord → orders. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

import discord

from bot import requests
from bot.config import DiscordSettings
from bot.jobs import Order, Place, Wish
from bot.names import one_line
from bot.replies import stem_title
from bot.translation import said
from spectacles_engine.messages import MIXES, STEMS

PLATFORM = "discord"

_NO_SONG = re.compile(r"(image|text|font)/|application/(?!octet-stream|ogg|mp4)")
_STEM_ENDS = tuple(stem_title("", name) for name in (*STEMS, *MIXES))


def songs_in(message: discord.Message) -> list[discord.Attachment]:
    """The attachments of a message, its own or those of a forwarded one, that may hold a song."""
    attachments = message.attachments or _forwarded(message)
    return [file for file in attachments if not _NO_SONG.match(file.content_type or "")]


def has_link(message: discord.Message) -> bool:
    """Whether a message, or what it forwards, leads elsewhere."""
    return any(map(requests.has_link, (message.content, *(shot.content for shot in message.message_snapshots))))


def forwards_stems(message: discord.Message) -> bool:
    """Whether a message forwards stems of ours: what is forwarded has no author, but its files have descriptions."""
    return any((file.description or "").endswith(_STEM_ENDS) for file in _forwarded(message))


def order(
    place: Place,
    wish: Wish,
    song: discord.Attachment,
    *,
    guild: int | None,
    message: discord.Message | None,
    language: str,
) -> Order:
    """``guild``: None in private. ``message`` holds the song, and is answered; a song beside a command has none."""
    message_id = message.id if message else None
    source = {"guild": guild, "message": message_id, "attachment": song.id, "url": song.url}
    return Order(
        place=place,
        wish=wish,
        source=source,
        title=_title(song, language),
        source_key=str(song.id),
        size_bytes=song.size,
        seconds=song.duration,
        answers={"message": message_id} if message_id else {},
        language=language,
    )


def plain(text: str) -> str:
    """``text`` as it reads: what is markup to Discord, or a mention or a time in ``<>``, comes from a title."""
    # piece by piece: it takes two links, or all up to a later bracket, for a single one
    return r"\[".join(map(discord.utils.escape_markdown, text.split("["))).replace("<", r"\<")


def is_served(settings: DiscordSettings, guild: int | None, channels: Sequence[int]) -> bool:
    """Whether a place is on the lists of ``settings``. ``channels``: the place itself, and what it is a thread of."""
    lists = (settings.allowed_guilds, settings.allowed_channels)
    return not any(lists) or guild in settings.allowed_guilds or any(id in settings.allowed_channels for id in channels)


def lacks(permissions: discord.Permissions, channel: object) -> bool:
    """Whether the bot cannot answer with files in a channel. The menu of a message works in a locked thread, too."""
    may_send = permissions.send_messages
    if isinstance(channel, discord.Thread):
        may_send = permissions.send_messages_in_threads and (permissions.manage_threads or not channel.locked)
    return not (permissions.view_channel and may_send and permissions.attach_files)


def _forwarded(message: discord.Message) -> list[discord.Attachment]:
    return [file for shot in message.message_snapshots for file in shot.attachments]


def _title(song: discord.Attachment, language: str) -> str:
    """Discord writes blanks in file names as underscores, unless it knows a title, and marks spoilers with a word."""
    if song.is_voice_message():
        return said("voice message", language)
    name = PurePath(song.filename.removeprefix("SPOILER_")).stem
    return one_line(song.title or "") or one_line(name.replace("_", " ")) or said("song", language)

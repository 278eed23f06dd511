"""Strays: messages of ours whose numbers we do not know, because the answers to our requests were lost.

Telegram knows no nonce, and nobody can tell whether such a message arrived. So a later message is sent, which has a
number, and each number before it is asked for. Asking is an edit that changes nothing: of a message's caption, which a
text has not got.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import chain

from telegram import Bot
from telegram.error import BadRequest

from bot.telegram.http import insist


class Kind(Enum):
    """What a message is."""

    MEDIA = "media"
    TEXT = "text"


async def strays(bot: Bot, chat: str, kind: Kind, numbers: Sequence[int], *, most_asked: int, enough: int) -> list[int]:
    """Which of ``numbers`` are messages of ours, of one kind: ``enough`` at most. They are near either end."""
    both_ends = chain.from_iterable(zip(reversed(numbers), numbers, strict=True))
    found: set[int] = set()
    for number in list(dict.fromkeys(both_ends))[:most_asked]:
        if await _kind(bot, chat, number) is kind:
            found.add(number)
        if len(found) == enough:
            break
    return sorted(found)


async def _kind(bot: Bot, chat: str, number: int) -> Kind | None:
    """What a message of ours is; None if it is not ours, or not there."""
    try:
        await insist(lambda: bot.edit_message_caption(chat, number))
    except BadRequest as error:
        said = error.message.lower()
        if "no caption" in said:
            return Kind.TEXT
        return Kind.MEDIA if "not modified" in said else None
    return Kind.MEDIA

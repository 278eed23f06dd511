"""Chats: all that the bot sends to people on Telegram, and how nothing is said twice.

If the answer to a request is lost, nobody can tell whether its message arrived: see ``strays``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from telegram import Bot, InlineKeyboardMarkup, LinkPreviewOptions, Message, ReplyParameters, User
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, NetworkError, TelegramError

from bot import refusals
from bot.jobs import Reference, Refused
from bot.pace import Pace
from bot.telegram.http import Unconfirmed, insist, may_be_done
from bot.telegram.media import Item, opened
from bot.telegram.strays import Kind, strays

log = logging.getLogger(__name__)

T = TypeVar("T")

BETWEEN_EDITS_S = 3.0
BETWEEN_EDITS_IN_GROUPS_S = 6.0
"""A group takes 20 messages and edits a minute; half of them are left for answers."""

_MOST_CHATS = 10_000
"""So many rooms are kept; what is forgotten was asked for longest ago."""
_MOST_ASKED, _MOST_ASKED_IN_GROUPS = 300, 40
"""Messages, in one search for strays. In private chats numbers go on over all chats of the bot: it may be far off."""
_SHOWS_S = 4.0
"""“Sending a file …” is shown for five seconds each time."""
STILL_AT_WORK_S = 3.0
"""Telegram may go on with a request whose connection is gone."""
_MEDIA_READ_TIMEOUT_S = 300.0
"""Telegram answers when it has stored the files."""
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


@dataclass
class _Room:
    """What is known of a chat. ``newest``: the highest number of a message there that was seen."""

    pace: Pace
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    newest: int = 0
    own: deque[int] = field(default_factory=lambda: deque(maxlen=200))


class Chats:
    """Sends, edits and deletes; ``chat`` is an id as text. Raises TelegramError for what trying again does not mend."""

    def __init__(self, bot: Bot, on_moved: Callable[[str, str], None]) -> None:
        """``on_moved``: called with the id of a group, and with its new one, when it has become a supergroup."""
        self._bot, self._on_moved = bot, on_moved
        self._room = lru_cache(_MOST_CHATS)(_new_room)
        """By chat; the cache makes what it lacks."""
        self._moved: dict[str, str] = {}
        """Groups that became supergroups: the id that callers may still know → the one that Telegram knows now."""

    def moved(self, chat: str, to: str) -> None:
        """A group has become a supergroup: what is sent goes there. Old numbers mean other messages there."""
        self._moved[chat] = to
        self._on_moved(chat, to)

    def now(self, chat: str) -> str:
        """The id of a chat, which may have moved."""
        return self._moved.get(chat, chat)

    def saw(self, chat: str, message: int) -> None:
        """A person's message came in."""
        room = self._room(chat)
        room.newest = max(room.newest, message)

    def newest(self, chat: str) -> int:
        """The number of the last message that is known there; 0 if none is, since the start."""
        return self._room(chat).newest

    async def may_edit(self, chat: str) -> bool:
        """Waits until the chat may see another edit; False if that took too long."""
        return await self._room(chat).pace.got_turn()

    async def say(
        self,
        chat: str,
        text: str,
        *,
        answers: Reference | None = None,
        keyboard: InlineKeyboardMarkup | None = None,
        is_silent: bool = False,
    ) -> int:
        """Sends a text, once; returns its number."""
        lost = 0

        async def send() -> int:
            nonlocal lost
            try:
                message = await self._bot.send_message(
                    text=text,
                    reply_markup=keyboard,
                    disable_notification=is_silent,
                    link_preview_options=_NO_PREVIEW,
                    **self._to(chat, answers),
                )
            except NetworkError as error:
                lost += may_be_done(error)
                raise
            return message.message_id

        room = self._room(chat)
        async with room.turn:
            before = room.newest
            try:
                number = await self._sent(chat, send, is_once=True)
            except Unconfirmed:
                await asyncio.sleep(STILL_AT_WORK_S)
                number = await self._sent(chat, send)
            self._note_own(chat, [number])
            if lost and before:
                now = self.now(chat)
                with suppress(TelegramError):  # else it is there twice, and this one is known all the same
                    await self.delete(now, await self._strays(now, Kind.TEXT, before, number, lost))
        return number

    async def send(self, chat: str, items: Sequence[Item], answers: Reference) -> list[Message]:
        """Sends files of one kind, several as an album. Raises Unconfirmed: look for them with ``find``."""

        async def send() -> list[Message]:
            with opened(items) as media:
                about = self._to(chat, answers) | {"read_timeout": _MEDIA_READ_TIMEOUT_S}
                if len(items) > 1:
                    return list(await self._bot.send_media_group(media=media, **about))
                return [await self._send_one(items[0], media[0], about)]

        messages = await self._sent(chat, send, is_once=True)
        self._note_own(chat, [message.message_id for message in messages])
        return messages

    async def find(self, chat: str, after: int, before: int, enough: int) -> list[int]:
        """Files of ours among the messages between two numbers, as far as nobody knows of them; ``enough`` at most.

        Raises Unconfirmed if there are fewer among those that could be asked, and others are left.
        """
        async with self._room(chat).turn:
            found = await self._strays(chat, Kind.MEDIA, after, before, enough)
        if len(found) < enough and before - after - 1 > _most_asked(chat):
            raise Unconfirmed
        return found

    @asynccontextmanager
    async def busy(self, chat: str, answers: Reference) -> AsyncIterator[None]:
        """Shows that files are on their way; not in groups, where each showing counts as a message."""

        async def show() -> None:
            while True:
                with suppress(TelegramError):
                    thread = answers.get("thread")
                    await self._bot.send_chat_action(chat, ChatAction.UPLOAD_DOCUMENT, message_thread_id=thread)
                await asyncio.sleep(_SHOWS_S)

        showing = None if is_group(chat) else asyncio.create_task(show())
        try:
            yield
        finally:
            if showing:
                showing.cancel()
                await asyncio.wait([showing])

    async def edit(self, chat: str, message: int, text: str, keyboard: InlineKeyboardMarkup | None) -> None:
        """Gives a message of ours another text; raises ChatMigrated if it stayed in a group that has moved."""

        async def edit() -> None:
            await self._bot.edit_message_text(
                text, chat, message, reply_markup=keyboard, link_preview_options=_NO_PREVIEW
            )

        try:
            await self._asked(chat, edit)
        except BadRequest as error:
            if "not modified" not in error.message.lower():
                raise

    async def is_from_admin(self, message: Message) -> bool:
        """Whether an admin of its group wrote it; admins may write in the name of the group."""
        if message.sender_chat or not message.from_user:
            return message.sender_chat == message.chat
        return await self.is_admin(str(message.chat_id), message.from_user)

    async def is_admin(self, chat: str, person: User) -> bool:
        """Whether a person is an admin of a group; raises Refused if Telegram does not say."""
        try:
            # of any other member, Telegram need not tell a bot that is no admin itself
            admins = await insist(lambda: self._bot.get_chat_administrators(chat))
        except TelegramError as error:
            raise Refused(refusals.admins_unknown()) from error
        return person in [admin.user for admin in admins]

    async def delete(self, chat: str, messages: Sequence[int]) -> None:
        """Deletes messages of ours; those that are gone, or too old for that, are left."""
        if not messages:
            return
        try:
            await insist(lambda: self._bot.delete_messages(chat, list(messages)))
        except (BadRequest, ChatMigrated) as error:
            log.info("messages cannot be deleted (%s)", error)

    async def _send_one(self, item: Item, media: Any, about: dict[str, Any]) -> Message:
        if not item.is_audio:
            return await self._bot.send_document(document=media.media, disable_content_type_detection=True, **about)
        details = {"title": media.title, "performer": media.performer, "duration": media.duration}
        return await self._bot.send_audio(audio=media.media, **details, **about)

    async def _strays(self, chat: str, kind: Kind, after: int, before: int, enough: int) -> list[int]:
        """Messages of ours between two numbers that we do not know of."""
        own = set(self._room(chat).own)
        unknown = [number for number in range(after + 1, before) if number not in own]
        return await strays(self._bot, chat, kind, unknown, most_asked=_most_asked(chat), enough=enough)

    async def _sent(self, chat: str, call: Callable[[], Awaitable[T]], *, is_once: bool = False) -> T:
        """As ``insist``; if the group has moved, it is sent there."""
        try:
            return await self._asked(chat, call, is_once=is_once)
        except ChatMigrated:
            return await insist(call, is_once=is_once)

    async def _asked(self, chat: str, call: Callable[[], Awaitable[T]], *, is_once: bool = False) -> T:
        """As ``insist``; it is noted if the group has moved."""
        try:
            return await insist(call, is_once=is_once)
        except ChatMigrated as error:
            self.moved(chat, str(error.new_chat_id))
            raise

    def _to(self, chat: str, answers: Reference | None) -> dict[str, Any]:
        """Parameters of a message: where it goes. In a group that has moved, old numbers mean other messages."""
        if new := self._moved.get(chat):
            return {"chat_id": new}
        return {"chat_id": chat, **_answering(answers)}

    def _note_own(self, chat: str, numbers: Sequence[int]) -> None:
        room = self._room(self.now(chat))
        room.own.extend(numbers)
        room.newest = max(room.newest, *numbers)


def _new_room(chat: str) -> _Room:
    return _Room(Pace(BETWEEN_EDITS_IN_GROUPS_S if is_group(chat) else BETWEEN_EDITS_S))


def is_group(chat: str) -> bool:
    """Private chats have the numbers of persons, and groups negative ones."""
    return chat.startswith("-")


def _most_asked(chat: str) -> int:
    return _MOST_ASKED_IN_GROUPS if is_group(chat) else _MOST_ASKED


def _answering(answers: Reference | None) -> dict[str, Any]:
    """Parameters of a message that is a reply; if what it answers is gone, it comes all the same."""
    if not answers:
        return {}
    reply = ReplyParameters(answers["message"], allow_sending_without_reply=True)
    return {"reply_parameters": reply, "message_thread_id": answers.get("thread")}

"""Where people's wishes on Telegram become orders, and where they hear at once what became of them."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from telegram import CallbackQuery, ExternalReplyInfo, Message, Update
from telegram.error import TelegramError
from telegram.ext import CallbackContext

from bot import refusals, replies, requests
from bot.config import Settings
from bot.jobs import Job, Order, Place, Refused, TooLarge, Wish
from bot.service import SeparationService
from bot.telegram.buttons import parse_data
from bot.telegram.chats import Chats
from bot.telegram.http import insist
from bot.telegram.orders import (
    PLATFORM,
    Song,
    answers_to,
    language_of,
    order,
    place_of,
    quoted_by,
    song_in,
    text_of,
    was_sent_by,
)
from bot.translation import translated

log = logging.getLogger(__name__)

Context = CallbackContext[Any, Any, Any, Any]

ALBUM_S = 0.7
"""The words beside an album come with one of its files, mostly the last: so long each waits, and all keep in order."""
_EDITED_WITHIN = timedelta(hours=1)
_MOST_ALBUMS = 200
_MOST_CHARACTERS_OF_A_TAP = 200
_MOST_BYTES = 20 << 20
"""Of a file that Telegram gives to a bot, but for a local server's: it speaks of 20 MB, and means MiB."""


@dataclass
class _Album:
    """What its messages have in common. The words beside it come with one of them, and go for all."""

    wish: Wish | None = None
    has_song: bool = False
    is_answered: bool = False


class Desk:
    """Answers messages and taps; what takes longer comes through the courier."""

    def __init__(self, chats: Chats, settings: Settings, service: SeparationService) -> None:
        self._chats, self._settings, self._service = chats, settings, service
        self._albums: dict[tuple[str, str], _Album] = {}

    async def message(self, update: Update, context: Context) -> None:
        """A message: a command, a song, or words. One that was edited: only a command for stems that it then holds."""
        message, place = update.effective_message, place_of(update)
        if message is None:
            return
        self._chats.saw(place.chat, message.message_id)
        command = requests.command_of(text_of(message), context.bot.username)
        wished = command if command and command[0] in requests.WISHES else None
        if update.edited_message and not (wished and self._can_be_put_right(message, place)):
            return
        try:
            if wished:
                await self._wished(message, place, requests.parse_wish(*wished), context.bot.id)
            elif command and (answer := await self._answer(command[0], message, place)):
                await self._say(message, answer)
            elif command and _in_group(message) and _names(message, context.bot.username):
                await self._say(message, replies.help_text(language_of(message), in_group=True))
            elif song := song_in(message):
                await self._unasked(message, place, song, context.bot.id)
            elif not _in_group(message):
                await self._without_song(message, place, _why_nothing(message))
        except Refused as refused:
            await self._say(message, translated(str(refused), language_of(message)))

    async def tapped(self, update: Update, context: Context) -> None:
        """A tap on a button under a message about a job."""
        del context
        query, place = update.callback_query, place_of(update)
        if query is None:
            return
        action, job_id = parse_data(query.data or "") or ("", "")
        job = self._service.job(job_id) if action else None
        if job and job.order.source.get("before") == place.chat:  # the message is from before its group moved
            place = replace(place, chat=job.place.chat)
        language, is_done = language_of(query), False
        try:
            if job is None and action == "delete":
                answer = replies.nothing_to_delete(language)
            # A message with buttons can be forwarded, and its data forged.
            elif job is None or job.place.whole_chat != place.whole_chat:
                answer = replies.no_longer_stored(language)
            elif action in ("cancel", "delete") and not await self._speaks_for(query, place, job):
                answer = replies.not_yours(language)
            else:
                answer = await self._do(action, job, query, place)
                is_done = True
        except Refused as refused:
            answer = translated(str(refused), language)
        await _answer_tap(query, answer, is_alert=not is_done)

    async def moved(self, update: Update, context: Context) -> None:
        """A group has become a supergroup: the old one says so, and the new one as well."""
        del context
        if (message := update.message) and message.migrate_to_chat_id:
            self._chats.moved(str(message.chat_id), str(message.migrate_to_chat_id))

    async def apologise(self, update: object, context: Context) -> None:
        """After an error that nobody expected: first the log, then the person."""
        log.error("an update failed", exc_info=context.error)
        if isinstance(update, Update):
            if query := update.callback_query:
                await _answer_tap(query, translated(refusals.mistake_of_ours(), language_of(query)), is_alert=True)
            elif message := update.effective_message:
                await self._say(message, translated(refusals.mistake_of_ours(), language_of(message)))

    # Songs.

    async def _wished(self, message: Message, place: Place, wish: Wish, me: int) -> None:
        """Some stems of the song that comes with the command, or that it is a reply to."""
        quoted, language = quoted_by(message), language_of(message)
        if song := song_in(message):
            await self._album(message, place, wish)
            await self._accept(self._order(place, wish, song, message))
        elif quoted is None:
            await self._without_song(message, place, replies.no_song(language), wish)
        elif (job := self._job_about(message, place)) and not _was_replaced(quoted, job):
            answers = answers_to(message)
            await self._accept(replace(job.order, place=place, wish=wish, answers=answers, language=language))
        elif isinstance(quoted, Message) and quoted.from_user and quoted.from_user.id == me:
            was_result = song_in(quoted) or quoted.reply_markup
            await self._say(message, (replies.no_longer_stored if was_result else replies.no_song)(language))
        elif was_sent_by(me, quoted):
            raise Refused(refusals.stems_already())
        elif song := song_in(quoted):
            await self._accept(self._order(place, wish, song, message))
        elif isinstance(quoted, Message) and requests.has_link(text_of(quoted)):
            raise Refused(refusals.no_links())
        else:
            await self._say(message, replies.nothing_to_hear(language))

    async def _unasked(self, message: Message, place: Place, song: Song, me: int) -> None:
        """A song without a command: in private it is a wish itself, in a group only in an album that was asked for."""
        wish: Wish | None = None
        if not (_in_group(message) or message.forward_origin):
            with suppress(Refused):  # words that are no wish are just words
                said = requests.parse_wish("stems", text_of(message))
                wish = said if said != Wish() else None  # "thanks" beside one song of an album wishes nothing of it
        album = await self._album(message, place, wish)
        wish = wish or album.wish
        if wish is None and _in_group(message):
            return
        if was_sent_by(me, message):
            raise Refused(refusals.stems_already())
        await self._accept(self._order(place, wish or Wish(), song, message))

    async def _without_song(self, message: Message, place: Place, answer: str, wish: Wish | None = None) -> None:
        """Says ``answer``, but once for an album, and not if there is a song in it."""
        album = await self._album(message, place, wish)
        if not (album.has_song or album.is_answered):
            album.is_answered = True
            await self._say(message, answer)

    async def _album(self, message: Message, place: Place, wish: Wish | None) -> _Album:
        """The album of a message, which may be one of its own, once the others are here."""
        if message.media_group_id is None:
            return _Album(wish)
        album = self._albums.setdefault((place.chat, message.media_group_id), _Album())
        while len(self._albums) > _MOST_ALBUMS:
            del self._albums[next(iter(self._albums))]
        album.wish = wish or album.wish
        album.has_song |= song_in(message) is not None
        await asyncio.sleep(ALBUM_S)
        return album

    def _can_be_put_right(self, message: Message, place: Place) -> bool:
        """Whether a message has led to no job; after a while nobody knows, as jobs are deleted."""
        if message.edit_date and message.edit_date - message.date > _EDITED_WITHIN:
            return False
        answered = (known.job.order.answers for known in self._service.history(place))
        return all(answers.get("message") != message.message_id for answers in answered)

    def _order(self, place: Place, wish: Wish, song: Song, message: Message) -> Order:
        """Raises TooLarge for a file that Telegram would not let us download."""
        if not self._settings.telegram.local_mode and (song.file_size or 0) > _MOST_BYTES:
            raise TooLarge(refusals.too_large_to_download())
        return order(place, wish, song, answers=message)

    async def _accept(self, wanted: Order) -> None:
        """Raises Refused. What was accepted before is an update that came twice, as happens after a crash."""
        if not any(wanted.is_same(known.job.order) for known in self._service.history(wanted.place)):
            await self._service.accept(wanted)

    def _job_about(self, message: Message, place: Place) -> Job | None:
        """The job of the message that ``message`` is a reply to: ours about a job, or somebody's that led to one."""
        quoted = quoted_by(message)
        if not isinstance(quoted, Message):
            return None
        number = quoted.message_id
        found = self._service.find(PLATFORM, place.chat, "message", number)
        return found or self._service.find(PLATFORM, place.chat, "answers", number)

    # Taps.

    async def _speaks_for(self, query: CallbackQuery, place: Place, job: Job) -> bool:
        """Whether a job is the tapper's own. Admins may have asked in the name of the group; they tap in their own."""
        in_its_name = job.place.person == job.place.chat
        return job.place == place or (in_its_name and await self._chats.is_admin(place.chat, query.from_user))

    async def _do(self, action: str, job: Job, query: CallbackQuery, place: Place) -> str:
        """Does what a button says; raises Refused."""
        language = language_of(query)
        if action == "cancel":
            ended = await self._service.cancel(job.id, job.place)
            return replies.cancelled([ended], language) if ended else replies.too_late(job, language)
        if action == "delete":
            await self._service.forget_job(job.id, job.place)
            with suppress(TelegramError):  # here it is all gone
                await self._chats.delete(place.chat, (job.status or {}).get("message", ()))
            return replies.deleted(language)
        seen = query.message
        answers = answers_to(seen) if seen and str(seen.chat.id) == place.chat else {}
        wish = requests.wish_of_button(action, job.order.wish)
        await self._service.accept(replace(job.order, place=place, wish=wish, answers=answers, language=language))
        return replies.accepted(language)

    # Commands without a song.

    async def _answer(self, command: str, message: Message, place: Place) -> str | None:
        """What is said to a command; None if there is no such command."""
        language = language_of(message)
        match command:
            case "start":
                return replies.welcome(replies.help_text(language, in_group=_in_group(message)), language)
            case "help":
                return replies.help_text(language, in_group=_in_group(message))
            case "privacy":
                return replies.privacy(self._settings.storage.keep_hours, language)
            case "queue":
                return replies.queue(self._service.jobs(place), language)
            case "cancel":
                return await self._cancel(message, place)
            case "forget":
                return await self._forget(message, place)
        return None

    async def _cancel(self, message: Message, place: Place) -> str:
        job, quoted, language = self._job_about(message, place), quoted_by(message), language_of(message)
        song = song_in(quoted) if quoted else None
        own = [standing.job for standing in self._service.jobs(place)]
        if song:
            own = [one for one in own if one.order.source_key == song.file_unique_id]
        if job and not (song and own):
            if job.place != place:
                return replies.not_yours(language)
            if job.state.is_final:
                return replies.too_late(job, language)
            own = [job]
        ended = [await self._service.cancel(one.id, place) for one in own]
        return replies.cancelled([one for one in ended if one], language)

    async def _forget(self, message: Message, place: Place) -> str:
        whole_chat = "chat" in re.findall(r"\w+", text_of(message).lower())
        if whole_chat and _in_group(message) and not await self._chats.is_from_admin(message):
            return replies.for_admins(language_of(message))
        forgotten = await self._service.forget(place, whole_chat=whole_chat)
        return replies.forgotten(forgotten, language_of(message))

    async def _say(self, message: Message, text: str) -> None:
        try:
            await self._chats.say(str(message.chat_id), text, answers=answers_to(message))
        except TelegramError as error:
            log.info("an answer cannot be sent (%s)", error)


async def _answer_tap(query: CallbackQuery, text: str, *, is_alert: bool) -> None:
    if len(text) > _MOST_CHARACTERS_OF_A_TAP:
        text = f"{text[: _MOST_CHARACTERS_OF_A_TAP - 1]}…"
    try:
        await insist(lambda: query.answer(text, show_alert=is_alert))
    except TelegramError as error:  # too old, most likely
        log.info("a tap cannot be answered (%s)", error)


def _why_nothing(message: Message) -> str:
    """What is said where there is neither a song nor a command."""
    language = language_of(message)
    if requests.has_link(text_of(message)):
        return translated(refusals.no_links(), language)
    is_strange = bool(message.document or message.photo)
    return (replies.nothing_to_hear if is_strange else replies.help_text)(language)


def _was_replaced(message: Message | ExternalReplyInfo, job: Job) -> bool:
    """Whether a message that led to a job holds another song by now, as it may once it is edited."""
    led_to_it = isinstance(message, Message) and message.message_id == job.order.answers.get("message")
    song = song_in(message)
    return led_to_it and song is not None and song.file_unique_id != job.order.source_key


def _names(message: Message, me: str) -> bool:
    """Whether a command says that it is for this bot."""
    return f"@{me}".lower() in text_of(message).lower()


def _in_group(message: Message) -> bool:
    return message.chat.type != message.chat.PRIVATE

"""TelegramCourier: fetches songs, shows where jobs stand, and sends stems. The job alone tells where.

A job's status (see ``Job.status``) holds ``message``, the numbers of our messages; ``answers``, the one they answer;
``status``, the one that counts up, and ``shown``, what it says; ``sending``, while stems are on their way, the number
after which theirs will come; ``sent``, once they are known to be there; ``note``, the message with the note.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from telegram import Audio, Bot, Document, Message
from telegram.constants import FileSizeLimit
from telegram.error import BadRequest, ChatMigrated, Forbidden, NetworkError, RetryAfter, TelegramError

from bot import delivery, refusals, replies
from bot.config import Settings
from bot.incoming import Gone
from bot.jobs import DeliveryError, Job, Refused, Standing, State, StoredResult, TooLarge
from bot.service import SeparationService
from bot.telegram.buttons import result_keyboard, status_keyboard
from bot.telegram.chats import Chats, is_group
from bot.telegram.http import Unconfirmed, download, insist, is_too_large
from bot.telegram.media import Item
from bot.telegram.orders import PLATFORM

log = logging.getLogger(__name__)

_PLAYABLE = ("mp3", "m4a")
"""What Telegram's player plays; the others go as documents."""

_MOST_BYTES, _MOST_BYTES_LOCAL = int(FileSizeLimit.FILESIZE_UPLOAD), int(FileSizeLimit.FILESIZE_UPLOAD_LOCAL_MODE)
_MOST_CHARACTERS = 3800
_LOCAL_GET_FILE_S = 1500.0
"""A local server answers when it has the whole file."""
_TRIES = 3
_LOST = (Forbidden, BadRequest)
"""A chat, or a message, that is no longer there for us."""
_AWAY = (NetworkError, RetryAfter)
"""It may do later."""
_Made = tuple[StoredResult, delivery.Rung]
"""The stems that files were made of, and how: what is remembered of an upload."""


class TelegramCourier:
    """The service's way to Telegram. It has one ``tell`` of a job at a time, and one ``deliver`` in a chat."""

    def __init__(self, bot: Bot, chats: Chats, settings: Settings, service: SeparationService) -> None:
        self._bot, self._chats, self._settings, self._service = bot, chats, settings, service
        self._most_together = _MOST_BYTES_LOCAL * 2
        """How large an album may be, in bytes; Telegram does not say, and so it is learned."""

    async def fetch(self, job: Job, to: Path) -> None:
        """See Courier."""
        most_bytes = self._settings.limits.largest_file_bytes
        try:
            patience: dict[str, Any] = {"read_timeout": _LOCAL_GET_FILE_S} if self._is_local else {}
            file = await insist(lambda: self._bot.get_file(job.order.source["file"], **patience))
            address = file.file_path or ""
            # the library makes an address of the path of a file that it does not see
            path = address.removeprefix(f"{self._bot.base_file_url}/")
            if Path(path).is_absolute():
                self._check_readable(path)
                await asyncio.to_thread(shutil.copyfile, path, to)
            else:
                await insist(lambda: download(address, to, most_bytes))
        except BadRequest as error:
            if is_too_large(error):
                raise TooLarge(refusals.too_large_to_download()) from error
            raise Refused(refusals.song_gone()) from error
        except Gone as error:
            raise Refused(refusals.song_gone()) from error
        except _AWAY as error:
            raise ConnectionError(type(error).__name__) from error

    def _check_readable(self, path: str) -> None:
        """Raises Refused for a file of a local server that is not to be had."""
        if not os.access(path, os.R_OK):
            folder = path.partition(str(self._bot.id))[0]  # what follows is the token
            log.error(
                "files of the local Bot API server below %s cannot be read: the bot must see the server's folder under "
                "the same path, and be allowed to read it",
                folder,
            )
            raise Refused(refusals.local_server_unreadable())

    async def tell(self, standing: Standing) -> None:
        """See Courier."""
        job = standing.job
        try:
            if job.state is State.DONE:
                await self._remove_status(job)  # the stems say all that there is to say
            elif "status" in _noted(job):
                await self._show_next(standing)
            else:
                await self._show_first(standing)
        except ChatMigrated:
            log.info("job %s: its group has moved, and it is told there", job.id)
        except _LOST as error:
            raise _not_taken(job, error) from error

    async def deliver(self, job: Job, result: StoredResult) -> None:
        """See Courier."""
        try:
            async with self._chats.busy(job.place.chat, job.order.answers):
                await self._deliver(job, result, _MOST_BYTES_LOCAL if self._is_local else _MOST_BYTES)
        except _LOST as error:
            raise _not_taken(job, error) from error
        except _AWAY as error:
            raise ConnectionError(type(error).__name__) from error

    async def _deliver(self, job: Job, result: StoredResult, limit_bytes: int) -> None:
        """Sends what fits, from the wished format downwards; ``limit_bytes`` is Telegram's for a file."""
        ladder = delivery.rungs(job.order.wish.format)
        most_bytes = limit_bytes
        for rung in ladder:
            note = delivery.note(job, result, rung, ladder[0], limit_bytes, _MOST_CHARACTERS)
            if (stored := self._stored(job, result, rung)) and await self._takes(job, stored, note):
                return
            each_bytes = min(most_bytes, self._most_together // len(job.order.wish.names))
            async with delivery.made(job, result, rung, each_bytes, self._service.make_room) as parcels:
                if not parcels:
                    continue
                if await self._takes(job, [_item(parcel) for parcel in parcels], note, (result, rung)):
                    return
                sizes = [parcel.size_bytes for parcel in parcels]
            if len(sizes) > 1:
                self._most_together = limit_bytes if sum(sizes) > limit_bytes else sum(sizes) - 1
            else:
                most_bytes = sizes[0] - 1
        raise DeliveryError(refusals.too_large_to_send(limit_bytes))

    # The message that counts up.

    async def _show_first(self, standing: Standing) -> None:
        job, text = standing.job, _status(standing)
        number = await self._chats.say(
            job.place.chat, text, answers=job.order.answers, keyboard=status_keyboard(job), is_silent=True
        )
        self._remember(job, [number], status=number, answers=job.order.answers.get("message"), shown=text)

    async def _show_next(self, standing: Standing) -> None:
        """Edits the status message: in turn, and then to what is true by then; at the end at once."""
        if not standing.job.state.is_final:
            if not await self._chats.may_edit(standing.job.place.chat):
                return
            standing = self._service.standing(standing.job.id) or standing
        job, text = standing.job, _status(standing)
        if _noted(job).get("shown") == text or job.state is State.DONE:
            return
        try:
            await self._chats.edit(job.place.chat, _noted(job)["status"], text, status_keyboard(job))
        except (BadRequest, ChatMigrated):
            if job.state is not State.FAILED:
                raise
            # somebody deleted the message, or the group has moved, and why there are no stems is still to be said
            await self._chats.say(job.place.chat, text, answers=job.order.answers)
        self._remember(job, shown=text)

    async def _remove_status(self, job: Job) -> None:
        if number := _noted(job).get("status"):
            await self._chats.delete(job.place.chat, [number])

    # The stems.

    async def _takes(self, job: Job, items: Sequence[Item], note: str, made: _Made | None = None) -> bool:
        """Sends stems and the note, once; False if Telegram takes no such files after all.

        What may have been sent already, before the bot was killed or when a connection dropped, is looked for first.
        ``made``: None where Telegram has the files. Raises ConnectionError if its answers are lost again and again.
        """
        for _ in range(_TRIES):
            if not await self._takes_files(job, items, made):
                return False
            job = self._latest(job)  # its group may have moved
            chat, noted = job.place.chat, _noted(job)
            is_sent = "sent" in noted
            found: list[int] = []
            try:
                number = noted.get("note") or await self._say_note(job, note)
            except TelegramError as error:
                if not is_sent:
                    raise
                log.warning("job %s: its stems are there, but without the note (%s)", job.id, error)
                return True
            if not is_sent:
                try:
                    # in a group that has moved, numbers begin anew
                    found = await self._chats.find(chat, noted.get("sending", 0), number, len(items))
                    is_sent = len(found) == len(items)  # of an album, some may have come
                except Unconfirmed:
                    is_sent = True  # perhaps; better asked for once more than sent twice
                    doubtful = f"{note}\n{replies.perhaps_sent(job.order.language)}"
                    await self._chats.edit(chat, number, doubtful, result_keyboard(job))
            if is_sent:
                self._remember(job, found, sending=None, sent=True)
                return True
            await self._chats.delete(chat, [*found, number])
            self._remember(job, sending=None, note=None)
        raise ConnectionError("its answers are lost")

    async def _say_note(self, job: Job, note: str) -> int:
        answers, keyboard = job.order.answers, result_keyboard(job)
        number = await self._chats.say(job.place.chat, note, answers=answers, keyboard=keyboard)
        self._remember(job, [number], note=number)
        return number

    async def _takes_files(self, job: Job, items: Sequence[Item], made: _Made | None) -> bool:
        """Sends stems, unless they have been sent, or may have been; False if Telegram takes no such files."""
        job = self._latest(job)
        noted, answered = _noted(job), job.order.answers.get("message", 0)
        if "sent" in noted or "sending" in noted:
            return True
        before = max(self._chats.newest(job.place.chat), answered, *noted.get("message", ()))
        self._remember(job, sending=before)
        try:
            await self._send(job, items, made)
        except Unconfirmed:
            log.info("job %s: its stems may have been sent, or not", job.id)
        except TelegramError as error:
            self._remember(job, sending=None)
            # Telegram forgets files that it had
            if not is_too_large(error) and not (isinstance(error, BadRequest) and made is None):
                raise
            return False
        return True

    async def _send(self, job: Job, items: Sequence[Item], made: _Made | None) -> None:
        messages = await self._chats.send(job.place.chat, items, job.order.answers)
        self._remember(job, [message.message_id for message in messages], sending=None, sent=True)
        if made:
            result, rung = made
            for name, message in zip(job.order.wish.names, messages, strict=True):
                if file := _file_of(message):
                    self._service.note_upload(result.audio, name, rung.upload_key(job), PLATFORM, file)

    def _stored(self, job: Job, result: StoredResult, rung: delivery.Rung) -> list[Item]:
        """The files as Telegram has them already; empty if it lacks one."""
        key = rung.upload_key(job)
        files = [self._service.upload(result.audio, name, key, PLATFORM) for name in job.order.wish.names]
        return [Item(file, rung.format in _PLAYABLE) for file in files if file] if all(files) else []

    def _remember(self, job: Job, messages: Sequence[int] = (), **more: Any) -> None:
        """Adds to what is noted of a job; None takes away."""
        noted = _noted(self._latest(job))
        noted = noted | more | {"message": [*noted.get("message", ()), *messages]}
        self._service.note_status(job.id, {key: value for key, value in noted.items() if value is not None})

    @property
    def _is_local(self) -> bool:
        return self._settings.telegram.local_mode

    def _latest(self, job: Job) -> Job:
        return self._service.job(job.id) or job


def _not_taken(job: Job, error: TelegramError) -> DeliveryError:
    """In a group an admin may not let us; a private chat takes everything from those whom its owner has not blocked."""
    is_kept_out = is_group(job.place.chat) or isinstance(error, Forbidden)
    return DeliveryError(refusals.cannot_write_here() if is_kept_out else refusals.delivery_failed())


def _status(standing: Standing) -> str:
    return replies.status(standing, standing.job.order.language)


def _noted(job: Job) -> dict[str, Any]:
    return dict(job.status or {})


def _item(parcel: delivery.Parcel) -> Item:
    return Item(parcel.path, parcel.rung.format in _PLAYABLE, parcel.title, parcel.performer, parcel.seconds)


def _file_of(message: Message) -> str | None:
    sent = message.effective_attachment
    return sent.file_id if isinstance(sent, Audio | Document) else None

"""DiscordCourier: fetches songs, shows where jobs stand, and sends stems. All in ordinary messages of a channel.

An interaction's own answers live for 15 minutes, and a job may outlive them: so channels and messages are all it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import discord

from bot import delivery, refusals, replies
from bot.config import Settings
from bot.discord.buttons import cancel_view, result_view
from bot.discord.http import download, insist, outages_told
from bot.discord.orders import plain, songs_in
from bot.incoming import Gone
from bot.jobs import DeliveryError, Job, Refused, Standing, State, StoredResult
from bot.pace import Pace
from bot.service import SeparationService

log = logging.getLogger(__name__)

_TOO_LARGE, _ARCHIVED, _NO_HISTORY = 40005, 50083, 160002
"""Discord's numbers: a file is too large; a thread is archived; a reply needs the permission to read the history."""

_DEFAULT_BYTES = 20 << 20
"""How large a file may be everywhere, since September 2026 (discord-api-docs, pull request 8578). discord.py knows of
half of it, and so did some of Discord's own servers then."""

_MESSAGE_BYTES = 199 << 20
"""How large the files of one message may be together, in whatever server: 200 MiB with all else are refused
(discord-api-docs, issue 7603)."""

_READY_S = 10.0

BETWEEN_EDITS_S = 3.0
"""In a channel."""
_MOST_CHANNELS = 10_000
"""Of so many the pace is kept; what is forgotten was edited in longest ago."""

_MOST_CHARACTERS, _MOST_ALT_CHARACTERS = 1700, 1024
"""Of a note: a message takes 2000, the rest is for backslashes before markup, for who asked, and for why the format is
another one. Of a file's description."""


class DiscordCourier:
    """The service's way to Discord. It has one ``tell`` of a job at a time, and one ``deliver`` in a channel.

    The ``client`` is logged in; whether Discord's events reach it is no matter.
    """

    def __init__(self, client: discord.Client, settings: Settings, service: SeparationService) -> None:
        self._client, self._settings, self._service = client, settings, service
        self._pace_of = lru_cache(_MOST_CHANNELS)(_new_pace)
        """By channel; the cache makes what it lacks."""
        self._shown: dict[str, str] = {}
        """By job: what its status message says."""
        self._is_up_to_date = True
        """Whether Discord takes what its documentation says, as far as we know."""

    async def fetch(self, job: Job, to: Path) -> None:
        """See Courier."""
        most_bytes = self._settings.limits.largest_file_bytes
        try:
            with outages_told():
                try:
                    await insist(lambda: download(self._client, job.order.source["url"], to, most_bytes))
                except Gone:
                    fresh = await self._fresh_url(job)
                    await insist(lambda: download(self._client, fresh, to, most_bytes))
        except Gone as gone:
            raise Refused(refusals.song_gone()) from gone

    async def tell(self, standing: Standing) -> None:
        """See Courier."""
        job = standing.job
        try:
            if job.state is State.DONE:
                await self._remove_status(job)  # the stems say all that there is to say
            elif job.status is None:
                await self._show_first(standing)
            else:
                await self._show_next(standing)
        except discord.HTTPException as error:
            if not _is_lost(error):
                raise
            raise DeliveryError(refusals.cannot_write_here()) from error
        finally:
            if job.state.is_final:
                self._shown.pop(job.id, None)

    async def deliver(self, job: Job, result: StoredResult) -> None:
        """See Courier."""
        with suppress(TimeoutError):  # without, its server's own limit is not known
            async with asyncio.timeout(_READY_S):
                await self._client.wait_until_ready()
        most_bytes = self._most_bytes(job)
        ladder = delivery.rungs(job.order.wish.format)
        try:
            with outages_told():
                for rung in ladder:
                    async with delivery.made(job, result, rung, most_bytes, self._service.make_room) as parcels:
                        if not parcels:
                            continue
                        note = delivery.note(job, result, rung, ladder[0], most_bytes, _MOST_CHARACTERS)
                        if await self._takes(job, _said(job, note), parcels):
                            return
                        largest_bytes = max(parcel.size_bytes for parcel in parcels)
                        self._is_up_to_date &= largest_bytes > _DEFAULT_BYTES
                        most_bytes = min(_least_limit_bytes(), largest_bytes - 1)
        except discord.HTTPException as error:
            if _is_lost(error):
                raise DeliveryError(refusals.cannot_write_here()) from error
            raise
        raise DeliveryError(refusals.too_large_to_send(most_bytes))

    async def _fresh_url(self, job: Job) -> str:
        """A new address of the song, from the message that holds it; raises Gone."""
        source = job.order.source
        if source["message"]:
            try:
                message = await insist(lambda: self._channel(job).fetch_message(source["message"]))
            except (discord.Forbidden, discord.NotFound) as error:
                raise Gone from error
            # None in a server: there Discord shows a bot no files but those that are put to it.
            for attachment in songs_in(message):
                if attachment.id == source["attachment"]:
                    return attachment.url
        raise Gone

    async def _show_first(self, standing: Standing) -> None:
        job, text = standing.job, _status(standing)
        message = await self._send(job, "s", text, lambda: {"view": _status_view(job)})
        self._shown[job.id] = text
        self._service.note_status(job.id, {"message": message.id})

    async def _show_next(self, standing: Standing) -> None:
        """Edits the status message: in turn, and then to what is true by then; at the end at once."""
        if not standing.job.state.is_final:
            if not await self._pace_of(standing.job.place.chat).got_turn():
                return
            standing = self._service.standing(standing.job.id) or standing
        job, text = standing.job, _status(standing)
        if self._shown.get(job.id) == text or job.state is State.DONE:
            return
        try:
            await insist(lambda: self._status_message(job).edit(content=text, view=_status_view(job)))
        except discord.HTTPException as error:
            if job.state is not State.FAILED or not _is_lost(error):
                raise
            # it was deleted, or its thread archived, and why there are no stems is still to be said
            await self._send(job, "f", text, dict)
        self._shown[job.id] = text

    async def _remove_status(self, job: Job) -> None:
        if job.status:
            await insist(self._status_message(job).delete)

    async def _takes(self, job: Job, text: str, parcels: Sequence[delivery.Parcel]) -> bool:
        """Sends stems; False if they are too large after all."""

        def content() -> dict[str, Any]:
            files = [discord.File(parcel.path, description=parcel.title[:_MOST_ALT_CHARACTERS]) for parcel in parcels]
            return {"files": files, "view": result_view(job)}

        try:
            await self._send(job, "r", text, content)
        except discord.HTTPException as error:
            if error.status != 413 and error.code != _TOO_LARGE:
                raise
            log.info("job %s: Discord promised to take larger files", job.id)
            return False
        return True

    async def _send(self, job: Job, part: str, text: str, content: Callable[[], dict[str, Any]]) -> discord.Message:
        """A message that answers the song's. ``content`` is called for each try, as the library closes files.

        Sent once more after a dropped connection, it still comes once: Discord knows it by its nonce.
        """
        channel, answered = self._channel(job), job.order.answers.get("message")
        about: dict[str, Any] = {"nonce": part + job.id, "suppress_embeds": True}
        if answered:
            song = discord.MessageReference(message_id=answered, channel_id=channel.id, fail_if_not_exists=False)
            try:
                return await insist(lambda: channel.send(text, reference=song, **about, **content()))
            except discord.HTTPException as error:
                if error.code != _NO_HISTORY:
                    raise
        return await insist(lambda: channel.send(text, **about, **content()))

    def _channel(self, job: Job) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(int(job.place.chat))

    def _status_message(self, job: Job) -> discord.PartialMessage:
        return self._channel(job).get_partial_message((job.status or {})["message"])

    def _most_bytes(self, job: Job) -> int:
        """How large a file may be there. What interactions say of it may be too much."""
        guild = self._client.get_guild(job.order.source["guild"] or 0)
        everywhere = _DEFAULT_BYTES if self._is_up_to_date else _least_limit_bytes()
        here = max(guild.filesize_limit if guild else 0, everywhere)
        return min(here, _MESSAGE_BYTES // len(job.order.wish.names))


def _is_lost(error: discord.HTTPException) -> bool:
    """A channel, or a message, that is no longer there for us. Into an archived thread one can send, but not edit."""
    return error.status in (403, 404) or error.code == _ARCHIVED


def _new_pace(channel: str) -> Pace:
    del channel
    return Pace(BETWEEN_EDITS_S)


def _least_limit_bytes() -> int:
    """What every place takes, also one that promised more."""
    return discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES


def _status(standing: Standing) -> str:
    return _said(standing.job, replies.status(standing, standing.job.order.language))


def _said(job: Job, text: str) -> str:
    """``text`` as it reads. In a server it begins with who asked, where it answers no message that would tell."""
    order = job.order
    return plain(text) if order.answers or not order.source["guild"] else f"<@{job.place.person}> {plain(text)}"


def _status_view(job: Job) -> discord.ui.View | None:
    return cancel_view(job) if job.state.is_before_delivery else None

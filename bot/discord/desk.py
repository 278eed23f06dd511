"""Where people's wishes on Discord become orders, and where they hear at once what became of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import discord

from bot import refusals, replies, requests
from bot.config import Settings
from bot.discord.buttons import Interaction
from bot.discord.http import DROPPED, insist
from bot.discord.orders import PLATFORM, forwards_stems, has_link, is_served, lacks, order, plain, songs_in
from bot.jobs import Job, Order, Place, Refused, State, Wish
from bot.service import SeparationService
from bot.translation import translated
from bot.words import ENGLISH, known_language

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_Handler = Callable[Concatenate["Desk", Interaction, _P], Coroutine[Any, Any, None]]


def _answered(work: Callable[Concatenate[Desk, Interaction, _P], Awaitable[str]]) -> _Handler[_P]:
    """A handler that says to the person what ``work`` returns, or why it refuses; first of all it takes its time."""

    @wraps(work)
    async def handler(desk: Desk, interaction: Interaction, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        await _take_time(interaction)
        try:
            text = await work(desk, interaction, *args, **kwargs)
        except Refused as refused:
            text = translated(str(refused), _language(interaction))
        await insist(lambda: interaction.edit_original_response(content=plain(text)))

    return handler


class Desk:
    """Answers commands, taps and private messages; what takes longer comes through the courier.

    Answers to an interaction are seen by that person alone. The first comes before all work: Discord waits 3 s. Only
    with interactions Discord says which language a person wants: private messages are answered in English.
    """

    def __init__(self, settings: Settings, service: SeparationService) -> None:
        self._settings, self._service = settings, service

    # Songs.

    @_answered
    async def separate(
        self,
        interaction: Interaction,
        songs: Sequence[discord.Attachment],
        text: str = "",
        message: discord.Message | None = None,
        command: str = "stems",
    ) -> str:
        """Orders the stems of ``songs``, which are a ``message``'s, or came with the command.

        Without either it is the song that this person handed in last in this channel.
        """
        me, language = interaction.client.user, _language(interaction)
        if message and (forwards_stems(message) or (message.attachments and message.author == me)):
            raise Refused(refusals.stems_already())
        place, guild, wish = _place(interaction), interaction.guild_id, requests.parse_wish(command, text)
        orders = [order(place, wish, song, guild=guild, message=message, language=language) for song in songs]
        if not orders and not message:
            jobs = [known.job for known in self._service.history(place)]
            # Not a file that turned out to hold no song.
            last = [job for job in jobs if job.audio or job.state is not State.FAILED][:1]
            orders = [replace(job.order, wish=wish, language=language) for job in last]
        if orders:
            return await self._ordered(interaction, orders)
        if message and has_link(message):
            raise Refused(refusals.no_links())
        return replies.nothing_to_hear(language) if message else replies.no_song_on_discord(language)

    async def private_message(self, message: discord.Message) -> None:
        """A song is separated, and the words beside it say how; words alone are answered with help."""
        place = Place(PLATFORM, str(message.channel.id), str(message.author.id))
        if not is_served(self._settings.discord, None, [message.channel.id]):
            await _reply(message, refusals.chat_not_allowed())
        elif forwards_stems(message):
            await _reply(message, refusals.stems_already())
        elif songs := songs_in(message):
            wish = Wish()
            with suppress(Refused):  # words that are no wish are just words
                wish = requests.parse_wish("stems", message.content)
            orders = [order(place, wish, song, guild=None, message=message, language=ENGLISH) for song in songs]
            if refused := await self._accept(orders):
                await _reply(message, refused)
        elif has_link(message):
            await _reply(message, refusals.no_links())
        else:
            answers = replies.nothing_to_hear if message.attachments else replies.help_on_discord
            await _reply(message, answers(ENGLISH))

    @_answered
    async def tapped(self, interaction: Interaction, action: str, job_id: str) -> str:
        """A tap on a button under a message about a job."""
        job, language = self._service.job(job_id), _language(interaction)
        if job is None and action == "delete" and not interaction.guild_id:
            # nobody but the bot can delete its messages there, and nobody but that person sees them
            return await _delete_tapped(interaction)
        if job is None:
            return replies.nothing_to_delete(language) if action == "delete" else replies.no_longer_stored(language)
        if action in ("cancel", "delete") and job.place != _place(interaction):
            return replies.not_yours(language)
        if action == "cancel":
            ended = await self._service.cancel(job.id, job.place)
            return replies.cancelled([ended], language) if ended else replies.too_late(job, language)
        if action == "delete":
            await self._service.forget_job(job.id, job.place)
            return await _delete_tapped(interaction)
        return await self._ordered(interaction, [_again(interaction, job, action)])

    async def _ordered(self, interaction: Interaction, orders: Sequence[Order]) -> str:
        """What is said to a wish that is understood; raises Refused for a place where none is granted."""
        channel = interaction.channel
        parents = [channel.parent_id] if isinstance(channel, discord.Thread) else []
        if not is_served(self._settings.discord, interaction.guild_id, [interaction.channel_id or 0, *parents]):
            raise Refused(refusals.chat_not_allowed())
        if interaction.guild_id and (_lacks_permission(interaction) or not await _is_let_in(interaction)):
            raise Refused(refusals.cannot_write_here())
        return await self._accept(orders) or replies.accepted(_language(interaction))

    async def _accept(self, orders: Sequence[Order]) -> str:
        """What is said about those that are refused, which are all in one language."""
        language = orders[0].language
        titles: dict[str, list[str]] = {}
        for one in orders:
            try:
                await self._service.accept(one)
            except Refused as refused:
                titles.setdefault(translated(str(refused), language), []).append(one.title)
        return "\n".join(
            sentence if len(those) == len(orders) else replies.some_refused(those, sentence, language)
            for sentence, those in titles.items()
        )

    # Jobs, and what is said without one.

    @_answered
    async def queue(self, interaction: Interaction) -> str:
        """Where a person's songs in this channel stand."""
        return replies.queue(self._service.jobs(_place(interaction)), _language(interaction))

    @_answered
    async def cancel(self, interaction: Interaction) -> str:
        """Ends what a person has waiting or running in this channel."""
        place = _place(interaction)
        ended = [await self._service.cancel(standing.job.id, place) for standing in self._service.jobs(place)]
        return replies.cancelled([job for job in ended if job], _language(interaction))

    @_answered
    async def forget(self, interaction: Interaction, *, whole_chat: bool) -> str:
        """Deletes all that is stored of a person, or of this channel, if whoever asks may delete messages in it."""
        if whole_chat and interaction.guild_id and not interaction.permissions.manage_messages:
            return replies.for_moderators(_language(interaction))
        forgotten = await self._service.forget(_place(interaction), whole_chat=whole_chat)
        return replies.forgotten(forgotten, _language(interaction))

    async def privacy(self, interaction: Interaction) -> None:
        """What is kept, and for how long."""
        text = replies.privacy(self._settings.storage.keep_hours, _language(interaction), on_discord=True)
        await interaction.response.send_message(text, ephemeral=True)

    async def help(self, interaction: Interaction) -> None:
        """How it is used."""
        await interaction.response.send_message(replies.help_on_discord(_language(interaction)), ephemeral=True)

    async def start(self, interaction: Interaction) -> None:
        """The same, with a greeting."""
        language = _language(interaction)
        text = replies.welcome(replies.help_on_discord(language), language)
        await interaction.response.send_message(text, ephemeral=True)

    async def apologise(self, interaction: Interaction, error: BaseException) -> None:
        """After an error that nobody expected: first the log, then the person."""
        log.error("an interaction failed", exc_info=error)
        sentence = translated(refusals.mistake_of_ours(), _language(interaction))
        with suppress(discord.HTTPException, *DROPPED):
            if interaction.response.is_done():
                await insist(lambda: interaction.edit_original_response(content=plain(sentence)))
            else:
                await interaction.response.send_message(sentence, ephemeral=True)

    async def apologise_in_private(self, message: discord.Message, error: BaseException) -> None:
        """The same, after a private message."""
        log.error("a private message was not understood", exc_info=error)
        with suppress(discord.HTTPException, *DROPPED):
            await _reply(message, refusals.mistake_of_ours())


async def _take_time(interaction: Interaction) -> None:
    try:
        await interaction.response.defer(ephemeral=True, thinking=True)
    except DROPPED:
        with suppress(discord.HTTPException):  # it arrived the first time
            await interaction.response.defer(ephemeral=True, thinking=True)


async def _reply(message: discord.Message, text: str) -> None:
    # the nonce: tried again after a lost answer, it comes once
    await insist(lambda: message.reply(plain(text), nonce=str(message.id)))


async def _delete_tapped(interaction: Interaction) -> str:
    if message := interaction.message:
        with suppress(discord.HTTPException, *DROPPED):  # it stays where we are no longer let in
            await insist(message.delete)
    return replies.deleted(_language(interaction))


def _language(interaction: Interaction) -> str:
    return known_language(str(interaction.locale))


def _place(interaction: Interaction) -> Place:
    return Place(PLATFORM, str(interaction.channel_id), str(interaction.user.id))


def _lacks_permission(interaction: Interaction) -> bool:
    """Also where a person brought the bot into a server that it is no member of."""
    is_member = interaction.client.get_guild(interaction.guild_id or 0) is not None
    return not is_member or lacks(interaction.app_permissions, interaction.channel)


async def _is_let_in(interaction: Interaction) -> bool:
    """Private threads take commands also for a bot that is no member of them, and then nothing else of it."""
    try:
        await interaction.client.get_partial_messageable(interaction.channel_id or 0).typing()
    except (discord.Forbidden, discord.NotFound):
        return False
    except (discord.HTTPException, *DROPPED):
        log.info("it does not show whether a channel lets the bot in")
    return True


def _again(interaction: Interaction, job: Job, action: str) -> Order:
    """The order behind a button: the same song, asked for by who taps, as an answer to the tapped message."""
    answers = {"message": interaction.message.id} if interaction.message else {}
    wish, language = requests.wish_of_button(action, job.order.wish), _language(interaction)
    return replace(job.order, place=_place(interaction), wish=wish, answers=answers, language=language)

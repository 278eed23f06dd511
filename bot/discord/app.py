"""The Discord chat: commands, menu, buttons and private messages, translated for the service."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Literal

import aiohttp
import discord
from discord import app_commands
from discord.backoff import ExponentialBackoff
from discord.ext import commands

from bot.config import Settings
from bot.discord.buttons import Interaction, JobButton
from bot.discord.commands import Commands, Descriptions
from bot.discord.courier import DiscordCourier
from bot.discord.desk import Desk
from bot.discord.http import DROPPED, UPLOAD_TIMEOUT, insist, proxy
from bot.discord.orders import PLATFORM
from bot.jobs import StartError, UnreachableError
from bot.patience import without_end
from bot.service import SeparationService

log = logging.getLogger(__name__)

_START_S, _READY_S = 30.0, 10.0
AGAIN_S = (1.0, 15.0, 60.0)
"""Before a connection that broke is made anew: the first time, the second …"""


class _Backoff(ExponentialBackoff[Literal[False]]):
    """Of its own the library waits for up to 17 minutes, also when Discord is long back."""

    def delay(self) -> float:
        return min(super().delay(), AGAIN_S[-1])


# connect() makes its own, and takes none
discord.client.ExponentialBackoff = _Backoff  # type: ignore[attr-defined, assignment]

_NEEDED = discord.Permissions(
    view_channel=True, send_messages=True, send_messages_in_threads=True, attach_files=True, read_message_history=True
)


class DiscordBot(commands.Bot):
    """The client. It asks for no privileged intent, so it sees private messages and what is put to it, no more."""

    def __init__(self, settings: Settings, service: SeparationService) -> None:
        super().__init__(
            commands.when_mentioned,
            help_command=None,
            intents=discord.Intents(guilds=True, dm_messages=True),
            allowed_mentions=discord.AllowedMentions.none(),
            allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=False),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            proxy=proxy(),
        )
        # else aiohttp ends each call after five minutes, which four stems take on a slow line
        self.http.request = partial(self.http.request, timeout=UPLOAD_TIMEOUT)  # type: ignore[method-assign]
        self._service = service
        self._desk = Desk(settings, service)
        self._commands = Commands(self._desk)
        self._teaching: asyncio.Task[None] | None = None
        self.courier = DiscordCourier(self, settings, service)
        self.tree.error(self._on_command_error)

    async def setup_hook(self) -> None:
        """After the log-in: jobs and buttons from before a restart go on, and Discord learns the commands."""
        self._service.attach(PLATFORM, self.courier)
        self.add_dynamic_items(JobButton)
        await self.tree.set_translator(Descriptions())
        await self.add_cog(self._commands)
        for command in self._commands.by_hand:
            self.tree.add_command(command)
        # after many starts Discord may make this wait for hours, and nobody else is to wait along
        self._teaching = asyncio.create_task(self._teach_commands())

    async def close(self) -> None:
        """Disconnects."""
        if self._teaching:
            self._teaching.cancel()
        await super().close()

    async def on_message(self, message: discord.Message, /) -> None:
        # that somebody pinned one, say, is a message of theirs as well, which cannot be answered
        if message.guild is None and not message.author.bot and not message.is_system():
            try:
                await self._desk.private_message(message)
            except Exception as error:  # noqa: BLE001  as below
                await self._desk.apologise_in_private(message, error)

    async def _teach_commands(self) -> None:
        try:
            await insist(self.tree.sync)
        except (discord.HTTPException, *DROPPED):
            log.exception("Discord did not take the commands; those that it knows go on working")

    async def tapped(self, interaction: Interaction, action: str, job_id: str) -> None:
        """A button under one of the bot's messages."""
        try:
            await self._desk.tapped(interaction, action, job_id)
        except Exception as error:  # noqa: BLE001  a person taps and hears nothing otherwise
            await self._desk.apologise(interaction, error)

    async def _on_command_error(self, interaction: Interaction, error: app_commands.AppCommandError) -> None:
        original = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        await self._desk.apologise(interaction, original)


class DiscordApp:
    """The Discord chat as it is served; ``str()`` says where it is."""

    def __init__(self, settings: Settings, service: SeparationService) -> None:
        self._settings, self._service = settings, service
        self.client = DiscordBot(settings, service)
        self._connection: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        if not self.client.is_ready():
            return f"Discord: {self.client.user}, connected once its gateway answers"
        servers = len(self.client.guilds)
        if not servers:
            link = discord.utils.oauth_url(self.client.application_id or 0, permissions=_NEEDED)
            return f"Discord: {self.client.user}, in no server yet; invite it with {link}"
        return f"Discord: {self.client.user}, in {servers} {'server' if servers == 1 else 'servers'}"

    async def start(self) -> None:
        """See ChatApp."""
        if self._settings.discord_bot_token is None:
            raise StartError("DISCORD_BOT_TOKEN is not set")
        if self.client.is_closed():
            self.client = DiscordBot(self._settings, self._service)
        try:
            async with asyncio.timeout(_START_S):
                await self.client.login(self._settings.discord_bot_token.get_secret_value())
        except discord.LoginFailure:
            raise StartError("Discord does not know the token in DISCORD_BOT_TOKEN") from None
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            await self.client.close()
            raise UnreachableError(f"Discord cannot be reached ({type(error).__name__})") from error
        self._connection = asyncio.create_task(self._stay_connected())
        with suppress(TimeoutError):  # a slow gateway is connected to while the others are served
            async with asyncio.timeout(_READY_S):
                await self.client.wait_until_ready()

    async def stop(self) -> None:
        """Disconnects."""
        await self.client.close()
        if self._connection:
            self._connection.cancel()
            await asyncio.wait([self._connection])

    async def _stay_connected(self) -> None:
        """Connects, and once more where the library stops: it does so at an event that it cannot read."""
        for pause_s in without_end(AGAIN_S):
            try:
                await self.client.connect()
                return
            except discord.ConnectionClosed as error:
                log.error("Discord ended the connection for good (%s); is DISCORD_BOT_TOKEN still its token?", error)
                return
            except Exception:
                log.exception("the connection to Discord broke, and is made anew in %g s", pause_s)
            with suppress(Exception):
                await self.client.ws.close()
            await asyncio.sleep(pause_s)

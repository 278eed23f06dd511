"""Slash commands, and the menu of messages."""

from __future__ import annotations

import re
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord.buttons import Interaction
from bot.discord.desk import Desk
from bot.discord.orders import songs_in
from bot.requests import COMMANDS, WISHES
from bot.translation import said
from bot.words import known_language
from spectacles_engine.messages import FORMATS, MIXES, STEMS

MENU = "Separate stems"
_LONGEST_CHOICE = 100
"""Discord takes none of the choices where one has more characters."""
_FORMATS = [app_commands.Choice(name=name, value=name) for name in FORMATS]
_SONG = "Audio or video; your last song here if left out"
_STEMS = "Some of the stems, or karaoke; all four if left out"
_FORMAT = "MP3 if left out"


class Descriptions(app_commands.Translator):
    """Descriptions of commands and their options, for whose Discord is in another language; names stay."""

    async def translate(
        self, string: app_commands.locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        """None for what is not known here: Discord shows the English."""
        del context
        found = said(string.message, known_language(str(locale)))
        return None if found == string.message else found


class Commands(commands.Cog):
    """All that can be asked with a slash, or by the menu of a message."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.by_hand: list[app_commands.ContextMenu | app_commands.Command[Any, ..., None]] = [
            app_commands.ContextMenu(name=MENU, callback=self.separate_message),
            *(self._for_one_part(wish) for wish in WISHES if wish != "stems"),
        ]
        """What cogs do not find themselves, to be added to the tree."""

    async def separate_message(self, interaction: Interaction, message: discord.Message) -> None:
        """All songs of a message."""
        await self._desk.separate(interaction, songs_in(message), message=message)

    @app_commands.command(name="separate", description="Separates a song into vocals, drums, bass and other")
    @app_commands.describe(attachment="The song: audio or video", stems=_STEMS, format=_FORMAT)
    @app_commands.choices(format=_FORMATS)
    async def separate(
        self, interaction: Interaction, attachment: discord.Attachment, stems: str = "", format: str = ""
    ) -> None:
        """A song that comes with the command."""
        await self._desk.separate(interaction, [attachment], f"{stems} {format}")

    @app_commands.command(name="stems", description="All four stems of a song, or some of them")
    @app_commands.describe(stems=_STEMS, attachment=_SONG, format=_FORMAT)
    @app_commands.choices(format=_FORMATS)
    async def stems(
        self,
        interaction: Interaction,
        stems: str = "",
        attachment: discord.Attachment | None = None,
        format: str = "",
    ) -> None:
        """A song that comes with the command, or the last one."""
        await self._desk.separate(interaction, [attachment] if attachment else [], f"{stems} {format}")

    def _for_one_part(self, wish: str) -> app_commands.Command[Any, ..., None]:
        """``/vocals`` and the like."""

        @app_commands.command(name=wish, description=COMMANDS[wish])
        @app_commands.describe(attachment=_SONG, format=_FORMAT)
        @app_commands.choices(format=_FORMATS)
        async def command(
            interaction: Interaction, attachment: discord.Attachment | None = None, format: str = ""
        ) -> None:
            await self._desk.separate(interaction, [attachment] if attachment else [], format, command=wish)

        return command

    @separate.autocomplete("stems")
    @stems.autocomplete("stems")
    async def _suggest_stems(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        *chosen, last = re.split(r"[\s,]+", typed.lower())
        names = [name for name in (*STEMS, *MIXES) if name.startswith(last) and name not in chosen]
        texts = [", ".join((*chosen, name)) for name in names]
        return [app_commands.Choice(name=text, value=text) for text in texts if len(text) <= _LONGEST_CHOICE]

    @app_commands.command(name="queue", description=COMMANDS["queue"])
    async def queue(self, interaction: Interaction) -> None:
        await self._desk.queue(interaction)

    @app_commands.command(name="cancel", description=COMMANDS["cancel"])
    async def cancel(self, interaction: Interaction) -> None:
        await self._desk.cancel(interaction)

    @app_commands.command(name="forget", description=COMMANDS["forget"])
    @app_commands.describe(chat="Everything of this channel, whoever sent it; only if you may manage messages")
    async def forget(self, interaction: Interaction, chat: bool = False) -> None:
        await self._desk.forget(interaction, whole_chat=chat)

    @app_commands.command(name="privacy", description=COMMANDS["privacy"])
    async def privacy(self, interaction: Interaction) -> None:
        await self._desk.privacy(interaction)

    @app_commands.command(name="help", description=COMMANDS["help"])
    async def help(self, interaction: Interaction) -> None:
        await self._desk.help(interaction)

    @app_commands.command(name="start", description=COMMANDS["help"])
    async def start(self, interaction: Interaction) -> None:
        await self._desk.start(interaction)

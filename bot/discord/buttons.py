"""Buttons under the bot's messages. What they do is in their ids, so that they work after a restart as well."""

from __future__ import annotations

import re
from typing import Any, Protocol, Self, cast

import discord

from bot import replies
from bot.jobs import Job

Interaction = discord.Interaction[Any]
"""The library leaves the kind of client open in most places."""


class Handler(Protocol):
    """A client that knows what to do with a tap."""

    async def tapped(self, interaction: Interaction, action: str, job_id: str) -> None: ...


class JobButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"spectacles:(?P<action>[\w-]+):(?P<job>[\w-]+)",
):
    """``action`` is done to a job, whoever taps; the handler knows what that person may do."""

    def __init__(
        self, action: str, job_id: str, label: str, style: discord.ButtonStyle = discord.ButtonStyle.secondary
    ) -> None:
        self.action, self.job_id = action, job_id
        custom_id = f"spectacles:{action}:{job_id}"
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: discord.ui.Item[discord.ui.View], match: re.Match[str], /
    ) -> Self:
        return cls(match["action"], match["job"], "?")

    async def callback(self, interaction: Interaction) -> None:
        await cast(Handler, interaction.client).tapped(interaction, self.action, self.job_id)


def cancel_view(job: Job) -> discord.ui.View:
    """The button under a job that waits or runs."""
    return _view(job, "cancel")


def result_view(job: Job) -> discord.ui.View:
    """The buttons under stems."""
    return _view(job, *replies.BUTTONS, "delete")


def _view(job: Job, *actions: str) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for action in actions:
        style = discord.ButtonStyle.danger if action == "delete" else discord.ButtonStyle.secondary
        view.add_item(JobButton(action, job.id, replies.button(action, job.order.language), style))
    return view

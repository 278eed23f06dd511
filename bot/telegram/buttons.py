"""Buttons under the bot's messages. What they do is in their data, so that they work after a restart as well."""

from __future__ import annotations

import re

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from bot import replies
from bot.jobs import Job

_DATA = re.compile(r"([\w-]+):([\w-]+)")
_ACTIONS = {"cancel", "delete", *replies.BUTTONS}


def status_keyboard(job: Job) -> InlineKeyboardMarkup | None:
    """The button under a job that waits or runs."""
    button = _button("cancel", job)
    return InlineKeyboardMarkup([[button]]) if job.state.is_before_delivery else None


def result_keyboard(job: Job) -> InlineKeyboardMarkup:
    """The buttons under stems: what else can be had of the song."""
    more = [_button(action, job) for action in replies.BUTTONS]
    return InlineKeyboardMarkup([more[:4], [*more[4:], _button("delete", job)]])


def parse_data(data: str) -> tuple[str, str] | None:
    """``vocals:1f…`` → what is to be done, and to which job; None for what no button of ours says."""
    found = _DATA.fullmatch(data)
    return (found[1], found[2]) if found and found[1] in _ACTIONS else None


def _button(action: str, job: Job) -> InlineKeyboardButton:
    return InlineKeyboardButton(replies.button(action, job.order.language), callback_data=f"{action}:{job.id}")

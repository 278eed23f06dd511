"""Telegram's bad days: calls that are tried again, and files that are downloaded in blocks."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import httpx
from telegram.error import BadRequest, NetworkError, RetryAfter, TelegramError

from bot.incoming import BLOCK_BYTES, Gone, save
from bot.telegram.orders import seconds_of

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (1.0, 4.0, 15.0)
"""Before the second try, the third …"""

MOST_WAIT_S = 900.0
"""What Telegram may ask us to wait; beyond that a call has failed."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.WriteError, httpx.WriteTimeout)
"""Telegram has not got the whole request."""

_FLOOD = re.compile(r"too many requests(?:: retry after (\d+))?|group send failed", re.IGNORECASE)
"""What Telegram says of a flood of files, as if the request was bad."""
_IN_PART = "failed to send message #"
"""The other files of an album may be there."""

_DOWNLOAD = httpx.Timeout(60.0, connect=30.0)


class Unconfirmed(Exception):
    """A request was sent, and its answer was lost: it may have been carried out."""


async def insist(call: Callable[[], Awaitable[T]], *, is_once: bool = False) -> T:
    """What ``call`` returns; it is called again after a dropped connection, a time-out or a rate limit.

    ``is_once``: done twice is worse than not done. Raises Unconfirmed where it may be done, or be done in part, and
    TelegramError; of these, RetryAfter for a rate limit that lasts.
    """
    pauses_s = list(PAUSES_S)
    while True:
        try:
            return await call()
        except RetryAfter as error:
            # Waited for here and not by the library, which would hold back all chats for one.
            pause_s = seconds_of(error.retry_after) + 0.1
            if pause_s > MOST_WAIT_S:
                raise
        except BadRequest as error:
            flood = _FLOOD.search(error.message)
            if not flood:
                raise
            if not pauses_s:
                raise RetryAfter(timedelta(seconds=MOST_WAIT_S)) from error
            pause_s = max(pauses_s.pop(0), float(flood[1] or 0))
            if is_once and _IN_PART in error.message.lower():
                await asyncio.sleep(pause_s)
                raise Unconfirmed from error
        except NetworkError as error:
            if is_too_large(error):
                raise
            if is_once and may_be_done(error):
                raise Unconfirmed from error
            if not pauses_s:
                raise
            pause_s = pauses_s.pop(0)
        log.warning("Telegram did not answer as it should, next try in %g s", pause_s)
        await asyncio.sleep(pause_s)


def may_be_done(error: NetworkError) -> bool:
    """Whether Telegram may have carried out a request although it failed."""
    return not isinstance(error, BadRequest) and not isinstance(error.__cause__, _NEVER_SENT)


def is_too_large(error: TelegramError) -> bool:
    """Telegram takes no files of that size, or not so many at once."""
    return "too large" in error.message.lower() or "too big" in error.message.lower()


async def download(url: str, to: Path, most_bytes: float) -> None:
    """Writes the file at ``url`` to ``to``; raises Gone, TooLarge, or NetworkError.

    The library itself would hold a whole file in memory.
    """
    try:
        async with httpx.AsyncClient(timeout=_DOWNLOAD) as client, client.stream("GET", url) as response:
            if response.status_code in (400, 403, 404, 410):
                raise Gone
            if response.status_code != 200:
                raise NetworkError(f"the file cannot be had ({response.status_code})")
            await save(response.aiter_bytes(BLOCK_BYTES), to, most_bytes)
    except httpx.HTTPError as error:
        # Its own text may hold the address, and that the token.
        raise NetworkError(type(error).__name__) from None

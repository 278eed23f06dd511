"""Discord's bad days: calls that are tried again, and files that are downloaded in blocks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
import discord

from bot.incoming import BLOCK_BYTES, Gone, save

log = logging.getLogger(__name__)

T = TypeVar("T")

PAUSES_S = (1.0, 4.0, 15.0)
"""Before the second try, the third …; the library has tried five times itself after most errors of Discord's."""

DROPPED = (aiohttp.ClientError, ConnectionError, TimeoutError)
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
UPLOAD_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
"""The answer is waited for while the end of a file is still in a slow line's buffers."""


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` returns; it is called again after a dropped connection or an error of Discord's own.

    Rate limits are the library's business: it has waited for them already.
    """
    for pause_s in PAUSES_S:
        try:
            return await call()
        except discord.HTTPException as error:
            if not is_bad_day(error):
                raise
            log.warning("Discord answered %s, next try in %g s", error.status, pause_s)
        except DROPPED as error:
            log.warning("no connection to Discord (%s), next try in %g s", type(error).__name__, pause_s)
        await asyncio.sleep(pause_s)
    return await call()


def proxy() -> str | None:
    """The way to Discord that the environment or the system prescribes, as Telegram and Python itself understand it.

    But for SOCKS, of which aiohttp knows nothing.
    """
    found = None if proxy_bypass("discord.com") else getproxies().get("https")
    if found and found.startswith("socks"):
        return None
    return found if not found or "://" in found else f"http://{found}"


def is_bad_day(error: discord.HTTPException) -> bool:
    """Whether the same call may succeed later."""
    return error.status >= 500 or error.status == 429


@contextmanager
def outages_told() -> Iterator[None]:
    """Raises ConnectionError for what insisting has not helped against, and waiting may."""
    try:
        yield
    except discord.HTTPException as error:
        if not is_bad_day(error):
            raise
        raise ConnectionError(type(error).__name__) from error
    except DROPPED as error:
        raise ConnectionError(type(error).__name__) from error


async def download(client: discord.Client, url: str, to: Path, most_bytes: float) -> None:
    """Writes the file at ``url`` to ``to``; raises Gone, TooLarge, or what insisting did not help against."""
    async with aclosing(_blocks(client, url)) as blocks:
        await save(blocks, to, most_bytes)


async def _blocks(client: discord.Client, url: str) -> AsyncGenerator[bytes, None]:
    # over the library's own connections: it reads whole files into memory, and a song may have 500 MB
    session = aiohttp.ClientSession(connector=client.http.connector, connector_owner=False, timeout=_TIMEOUT)
    async with session, session.get(url, proxy=client.http.proxy, allow_redirects=False) as response:
        if response.status in (403, 404, 410):
            raise Gone
        if response.status != 200:
            raise discord.HTTPException(response, "the file cannot be had")
        async for block in response.content.iter_chunked(BLOCK_BYTES):
            yield block

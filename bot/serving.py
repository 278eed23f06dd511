"""Serving: a bot from its start to its end, whatever chats it has."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from bot.jobs import StartError, UnreachableError
from bot.patience import without_end
from bot.service import SeparationService
from bot.signals import set_by_signals
from spectacles_engine.process import Engine

log = logging.getLogger(__name__)

AGAIN_S = (5.0, 15.0, 60.0)
"""Before a platform that did not answer is tried again: the second time, the third …"""


class ChatApp(Protocol):
    """A chat that is served; ``str()`` after ``start`` says in one line what and where."""

    async def start(self) -> None:
        """Connects. Raises StartError; after UnreachableError it may be called again. May be cancelled at any time."""

    async def stop(self) -> None:
        """Disconnects."""


async def serve(
    service: SeparationService,
    apps: Sequence[ChatApp],
    start_engines: Callable[[], Awaitable[Sequence[Engine]]],
    say: Callable[[str], None],
) -> None:
    """Serves until it is told to end; raises StartError if a chat cannot be started, which ends the others.

    No chat waits for another one to start, nor for the engines, and it may be told to end while they do.
    """
    stopped = asyncio.Event()
    failures: list[Exception] = []

    async def serve_one(app: ChatApp) -> None:
        try:
            await app.start()
            say(str(app))
        except UnreachableError as error:
            log.warning("%s; it is tried again until it can be", error)
            await _reach(app, say)
        except Exception as error:  # noqa: BLE001  raised below
            failures.append(error)
            stopped.set()

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(set_by_signals(stopped))
        await service.start()
        for app in apps:
            stack.push_async_callback(_stop, app)
        stack.push_async_callback(service.stop)
        tasks = [asyncio.create_task(each) for each in (*map(serve_one, apps), _load(service, start_engines))]
        try:
            await stopped.wait()
        finally:
            if not failures:
                say("ending; songs in progress go on at the next start")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    if failures:
        raise failures[0]


async def _load(service: SeparationService, start_engines: Callable[[], Awaitable[Sequence[Engine]]]) -> None:
    try:
        for engine in await start_engines():
            service.add_engine(engine)
    except Exception:
        log.exception("there is no engine, and songs wait for the next start")


async def _reach(app: ChatApp, say: Callable[[str], None]) -> None:
    """Starts a chat as soon as its platform answers."""
    for pause_s in without_end(AGAIN_S):
        await asyncio.sleep(pause_s)
        try:
            await app.start()
        except UnreachableError as error:
            log.warning("%s, still", error)
        except StartError as error:
            log.error("%s; it is not served", error)
            return
        except Exception:
            log.exception("a chat cannot be started")
        else:
            say(str(app))
            return


async def _stop(app: ChatApp) -> None:
    try:
        await app.stop()
    except Exception:
        log.exception("%s did not end well", app)


def no_port(who: str, host: str, port: int, setting: tuple[str, str], error: OSError | ValueError) -> StartError:
    """``who`` cannot listen there. ``setting``: section and name of the setting that says which port.

    ``error`` is a ValueError for what can be no name at all, as 192.168..5.
    """
    section, key = setting
    number, words = 0, "no such name"
    if isinstance(error, OSError):
        number, words = error.errno or 0, error.strerror or str(error)
    if number in (errno.EADDRINUSE, errno.EACCES):
        remedy = "another program may use the port: set {} to a free one"
    else:  # a name that nobody knows, or an address of another machine
        key, remedy = key.replace("port", "host"), "set {} to an address of this machine, without a port"
    named = f"{section}.{key} (SPECTACLES_{section.upper()}__{key.upper()})"
    if number in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
        words = os.strerror(number)  # asyncio says the address once more
    return StartError(f"{who} cannot listen on {host}:{port} ({words.lower()}); {remedy.format(named)}")

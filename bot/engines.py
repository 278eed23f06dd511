"""Engines: each is started, and started again until it runs; meanwhile, if none does, people are told so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from bot.patience import without_end
from spectacles_engine.errors import EngineError
from spectacles_engine.process import Engine

log = logging.getLogger(__name__)

_GIVEN_UP_AFTER = 2
"""Starts that failed, before people are told."""


class Engines:
    """``restart_s``: pauses before the next start; ``when_given_up`` is called when people are to be told."""

    def __init__(self, restart_s: Sequence[float], when_given_up: Callable[[], None]) -> None:
        self._restart_s, self._when_given_up = restart_s, when_given_up
        self._engines: list[Engine] = []
        self._dead: set[int] = set()
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def are_dead(self) -> bool:
        """Whether none can be started, and people are told so; not while there are none yet."""
        return bool(self._engines) and len(self._dead) == len(self._engines)

    def add(self, engine: Engine) -> None:
        """Takes one more."""
        self._engines.append(engine)

    async def close(self) -> None:
        """Ends them all, and what they are doing."""
        self._is_closing = True
        await asyncio.gather(*(engine.close() for engine in self._engines), return_exceptions=True)

    async def started(self, number: int) -> Engine:
        """The engine of that number, when it is ready for a song."""
        engine = self._engines[number]
        for failures, pause_s in enumerate(without_end(self._restart_s), 1):
            try:
                await engine.start()
            except Exception as error:
                if self._is_closing:
                    break
                is_known = isinstance(error, EngineError)
                log.error("engine %s does not start: %s", number + 1, error, exc_info=not is_known)
            else:
                self._dead.discard(number)
                break
            if failures >= _GIVEN_UP_AFTER:
                self._dead.add(number)
                self._when_given_up()
            await asyncio.sleep(pause_s)
        return engine

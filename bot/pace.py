"""Pace: how often a message that counts up may change, where a platform minds."""

from __future__ import annotations

import asyncio

MOST_WAIT_S = 60.0
"""An edit that would have to wait longer is left out: the next one says something newer."""


class Pace:
    """One turn after the other, ``between_s`` apart."""

    def __init__(self, between_s: float) -> None:
        self._between_s = between_s
        self._turn = asyncio.Lock()
        self._next_s = 0.0

    async def got_turn(self) -> bool:
        """Waits for a turn; False if that took too long."""
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(MOST_WAIT_S), self._turn:
                await asyncio.sleep(max(0.0, self._next_s - clock()))
                self._next_s = clock() + self._between_s
        except TimeoutError:
            return False
        return True

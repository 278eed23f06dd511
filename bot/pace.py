"""Pace: how often a message that counts up may change, where a platform minds."""

from __future__ import annotations

import asyncio


class Pace:
    """One turn after the other, ``between_s`` apart."""

    def __init__(self, between_s: float) -> None:
        self._between_s = between_s
        self._turn = asyncio.Lock()
        self._next_s = 0.0

    async def wait(self) -> None:
        """Returns when it is one's turn."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(max(0.0, self._next_s - clock()))
            self._next_s = clock() + self._between_s

"""An engine in a child process of its own that tells of each song."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spectacles_engine.messages import EngineOptions, SeparationResult
from spectacles_engine.process import EngineProcess


class CountedEngine(EngineProcess):
    """``when_asked`` is called whenever it is asked to separate."""

    def __init__(self, options: EngineOptions, target: Any, when_asked: Callable[[], None]) -> None:
        super().__init__(options, target=target)
        self._when_asked = when_asked

    async def separate(self, *args: Any, **kwargs: Any) -> SeparationResult:
        self._when_asked()
        return await super().separate(*args, **kwargs)

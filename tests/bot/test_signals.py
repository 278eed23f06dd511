from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bot.signals import ended_as_by_ctrl_c, set_by_signals

USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
"""What they do by themselves."""


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """Whatever the tests run below."""
    before = {kind: signal.getsignal(kind) for kind in USUAL}
    _set(USUAL)
    yield
    _set(before)


def _set(handlers: Mapping[signal.Signals, Any]) -> None:
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize("kind", USUAL)
def test_a_command_ends_as_by_ctrl_c(kind: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        signal.raise_signal(kind)
    assert {kind: signal.getsignal(kind) for kind in USUAL} == USUAL


@pytest.mark.parametrize("kind", USUAL)
async def test_the_first_sets_the_event_and_the_second_does_what_it_does_elsewhere(kind: signal.Signals) -> None:
    stopped = asyncio.Event()
    async with set_by_signals(stopped):
        signal.raise_signal(kind)
        await asyncio.wait_for(stopped.wait(), 30)
        assert {kind: signal.getsignal(kind) for kind in USUAL} == USUAL


async def test_below_nohup_a_closed_terminal_ends_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_as_by_ctrl_c():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    async with set_by_signals(asyncio.Event()):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

"""What tells a program to end: Ctrl-C, `kill` and `timeout`, a closed terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Within, all of them raise KeyboardInterrupt: files that are half written go, as they do after Ctrl-C."""
    before = {kind: signal.signal(kind, signal.default_int_handler) for kind in _unchanged("SIGTERM", "SIGHUP")}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """Within, they wait: a library with native parts that is interrupted in its import is broken from then on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    kinds = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, kinds)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@asynccontextmanager
async def set_by_signals(stopped: asyncio.Event) -> AsyncIterator[None]:
    """Within, the first of them sets the event; the second does what it does elsewhere."""
    loop = asyncio.get_running_loop()
    kinds = [signal.SIGINT, signal.SIGTERM, *_unchanged("SIGHUP")]

    def hear() -> None:
        stopped.set()
        forget()

    def forget() -> None:
        for kind in kinds:
            loop.remove_signal_handler(kind)

    # Where there are no such handlers, Ctrl-C cancels the whole task.
    with suppress(NotImplementedError):
        for kind in kinds:
            loop.add_signal_handler(kind, hear)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            forget()


def _unchanged(*names: str) -> list[signal.Signals]:
    """Those that exist (Windows has no SIGHUP) and do what they do by themselves (nohup has SIGHUP ignored)."""
    kinds = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [kind for kind in kinds if signal.getsignal(kind) is signal.SIG_DFL]

"""Many chats at once, with an engine that crashes and hangs, and couriers in trouble: nothing is lost."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.load import Load, measure
from spectacles_engine.audio_files import Inspected


async def _glance(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """Looks at the bytes alone, without a process for each song."""
    del longest_s, deadline_s
    return Inspected(hashlib.sha256(path.read_bytes()).hexdigest(), 1.0, 44_100, 2, None, None, ())


async def test_nothing_is_lost_or_answered_twice_or_misplaced(tmp_path: Path) -> None:
    load = Load(jobs=60, chats=6, crash_rate=0.06, hang_rate=0.03)
    figures = await measure(load, tmp_path, inspect=_glance)
    report = "\n".join(figures.lines())
    assert (figures.lost, figures.answered_twice, figures.in_the_wrong_chat) == (0, 0, 0), report
    assert figures.stems + sum(figures.sentences.values()) == figures.accepted == 60, report
    assert figures.left_over == [], report
    # it was a load: engines died, chats were in trouble, and most songs came back all the same
    assert figures.engine_starts > 1, report
    assert figures.sentences, report
    assert figures.stems > 40, report
    assert max(figures.chat_waits_s) < 3 * min(figures.chat_waits_s), report

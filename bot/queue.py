"""The fair queue. Pure: who waits, and when each chat was last served → the order of turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from bot.jobs import Chat, Job

LEAST_S = 10.0
"""Shorter songs take as long as one of so many seconds: networks hear whole chunks."""


@dataclass(frozen=True)
class Ticket:
    """A job in line. ``song`` is the same for all that one separation answers; ``since_s``: when it joined."""

    job_id: str
    song: str
    chat: Chat
    since_s: float


def ticket(job: Job) -> Ticket:
    """A job's place in line. While its sound is not known, it is like no other."""
    return Ticket(job.id, job.audio or job.id, job.place.whole_chat, job.accepted_at)


@dataclass(frozen=True)
class Load:
    """What a separation still costs: seconds of audio, None where nobody knows the length yet."""

    seconds: float | None
    share_left: float = 1.0


def turns(waiting: Iterable[Ticket], served_at_s: Mapping[Chat, float], busy: Collection[Chat]) -> list[Ticket]:
    """The order in which the songs get their turn; of tickets for the same song, the first to get one.

    The next turn is that of the chat that has waited longest: since it was last served, or since it asked if that was
    later. A chat that is ``busy`` being served, or has just had its turn, comes after all others.
    """
    next_up = deque(sorted(_lines(waiting), key=lambda line: _waits_since(line, served_at_s, busy)))
    order: list[Ticket] = []
    songs: set[str] = set()
    while next_up:
        line = next_up.popleft()
        while line and line[0].song in songs:
            line.popleft()
        if line:
            ticket = line.popleft()
            order.append(ticket)
            songs.add(ticket.song)
            next_up.append(line)
    return order


def forget_idle(served_at_s: dict[Chat, float], jobs: Iterable[Job]) -> None:
    """Drops chats without a job: their next one comes after they were served, whenever that was."""
    for chat in served_at_s.keys() - {job.place.whole_chat for job in jobs}:
        del served_at_s[chat]


def wait_s(ahead: Sequence[Load], own: Load, elapsed_per_second: float | None, engines: int) -> float | None:
    """Estimated seconds until ``own`` is separated; None before the first measurement, or if no length is known.

    A song whose length nobody knows yet counts as long as the average of the others, none as less than ``LEAST_S``.
    """
    lengths = [max(load.seconds, LEAST_S) for load in (*ahead, own) if load.seconds is not None]
    if elapsed_per_second is None or not lengths:
        return None
    typical = sum(lengths) / len(lengths)

    def cost_s(load: Load) -> float:
        return (typical if load.seconds is None else max(load.seconds, LEAST_S)) * load.share_left

    return elapsed_per_second * (sum(map(cost_s, ahead)) / max(engines, 1) + cost_s(own))


def _lines(waiting: Iterable[Ticket]) -> Collection[deque[Ticket]]:
    """One for each chat, in the order in which they came."""
    lines: dict[Chat, deque[Ticket]] = {}
    for ticket in sorted(waiting, key=lambda ticket: (ticket.since_s, ticket.job_id)):
        lines.setdefault(ticket.chat, deque()).append(ticket)
    return lines.values()


def _waits_since(line: Sequence[Ticket], served_at_s: Mapping[Chat, float], busy: Collection[Chat]) -> float:
    chat = line[0].chat
    return inf if chat in busy else max(line[0].since_s, served_at_s.get(chat, -inf))

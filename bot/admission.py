"""Admission: what is refused, and with which sentence. Counts in memory the minutes of the last 24 hours."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import replace

from bot.config import Settings
from bot.jobs import Job, Order, Place, Refused, TooLarge
from bot.refusals import chat_not_allowed, file_too_large, minutes_used_up, song_too_long, too_many_waiting
from bot.store import Charge

log = logging.getLogger(__name__)

DAY_S = 24 * 3600.0


class Admission:
    """The limits of a person and of a chat. A person is one on all chats of a platform.

    What was charged is remembered for a day, also if its job is forgotten; but then a restart loses it.
    """

    def __init__(self, settings: Settings) -> None:
        self.limits = settings.limits
        self._charges: list[Charge] = []
        # only Discord's desk knows which server a channel is in, and what it is a thread of
        self._allowed = {"telegram": set(map(str, settings.telegram.allowed_chats))}

    def remember(self, charges: Iterable[Charge]) -> None:
        """Takes in what the store knows of the last day."""
        self._charges += charges

    def charge(self, place: Place, seconds: float) -> None:
        """A song was separated for somebody."""
        self._charges.append(Charge(place, seconds, time.time()))

    def check_chat(self, place: Place) -> None:
        """Raises Refused for a chat that is not on the list of its platform."""
        allowed = self._allowed.get(place.platform)
        if allowed and place.chat not in allowed:
            raise Refused(chat_not_allowed())

    def move_chat(self, platform: str, chat: str, to: str) -> None:
        """A chat has another id from now on: one that was on the list stays there, until the next start."""
        allowed = self._allowed.get(platform, set())
        if chat in allowed and to not in allowed:
            allowed.add(to)
            log.warning("chat %s is %s now: put that into %s.allowed_chats", chat, to, platform)

    def check_count(self, place: Place, in_progress: Collection[Job]) -> None:
        """Raises Refused if there are as many jobs in progress as a person, or a chat, may have."""
        for whole_chat, most in (
            (False, self.limits.songs_in_progress_per_person),
            (True, self.limits.songs_in_progress_per_chat),
        ):
            songs = sum(_same(job.place, place, whole_chat=whole_chat) for job in in_progress)
            if songs >= most:
                raise Refused(too_many_waiting(songs, whole_chat=whole_chat))

    def check_song(self, order: Order) -> None:
        """Raises TooLarge for what the platform tells of a song, before it is fetched."""
        if order.size_bytes is not None:
            self.check_size(order.size_bytes)
        if order.seconds is not None and order.seconds > self.limits.of_a_song.longest_s:
            raise TooLarge(song_too_long(self.limits.longest_song_minutes))

    def check_size(self, size_bytes: int) -> None:
        """Raises TooLarge."""
        if size_bytes > self.limits.largest_file_bytes:
            raise TooLarge(file_too_large(self.limits.largest_file_mb))

    def check_minutes(self, place: Place, seconds: float, waiting: Iterable[Job]) -> None:
        """Raises Refused if ``seconds`` more, with what waits to be separated, are more than a day's."""
        now = time.time()
        # a clock that was ahead, and was set right, may have dated some later than now
        self._charges = [replace(charge, at=min(charge.at, now)) for charge in self._charges if charge.at > now - DAY_S]
        separations = {job.audio: job for job in reversed(list(waiting))}  # of each song, who asked first
        charges = self._charges + [Charge(job.place, job.seconds or 0.0, now) for job in separations.values()]
        for whole_chat, most_minutes in (
            (False, self.limits.minutes_a_day_per_person),
            (True, self.limits.minutes_a_day_per_chat),
        ):
            own = [charge for charge in charges if _same(charge.place, place, whole_chat=whole_chat)]
            if sum(charge.seconds for charge in own) + seconds > most_minutes * 60:
                free_in_s = None if seconds > most_minutes * 60 else own[0].at + DAY_S - now
                raise Refused(minutes_used_up(most_minutes, free_in_s, whole_chat=whole_chat))


def _same(one: Place, other: Place, *, whole_chat: bool) -> bool:
    if whole_chat:
        return one.whole_chat == other.whole_chat
    return (one.platform, one.person) == (other.platform, other.person)

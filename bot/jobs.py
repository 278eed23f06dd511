"""What the service and the chats say to each other: plain values, and what the service needs of a chat."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from bot.words import ENGLISH
from spectacles_engine.messages import MIXES, STEMS, QualityNote

Reference = Mapping[str, Any]
"""What a platform needs to find something of its own again (message ids, file ids): JSON, and opaque to the service."""

Chat = tuple[str, str]
"""Platform, and the chat's id there."""


class State(StrEnum):
    """Where a job stands. The last three are final, and every accepted job reaches one of them."""

    PREPARING = "preparing"  # being fetched and looked at
    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)

    @property
    def is_before_delivery(self) -> bool:
        """Whether chats offer to cancel it: what is being sent is past that."""
        return self in (State.PREPARING, State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Place:
    """Who asks, and where: ids as text. Turns are fair among chats, limits count for chats and for persons."""

    platform: str
    chat: str
    person: str

    @property
    def whole_chat(self) -> Chat:
        """Whoever speaks there: what turns are fair among."""
        return self.platform, self.chat


@dataclass(frozen=True)
class Wish:
    """What a person wants of a song: ``stems`` and/or a ``mix`` (see ``messages``). ``format`` None: the chat's own."""

    stems: tuple[str, ...] = STEMS
    mix: str | None = None
    format: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files that answer it, in the order of delivery."""
        return (*self.stems, *((self.mix,) if self.mix else ()))


@dataclass(frozen=True)
class Order:
    """A wish on its way into the service.

    ``source``: where the courier fetches the song. ``source_key``: the platform's name for the same bytes, if it has
    one (Telegram's ``file_unique_id``): a song known by it is not fetched again. ``size_bytes`` and ``seconds`` as far
    as the platform tells them beforehand; ``answers``: the message that the answer is to be a reply to;
    ``language``: in which bots tell of it.
    """

    place: Place
    wish: Wish
    source: Reference
    title: str
    performer: str | None = None
    source_key: str | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    answers: Reference = field(default_factory=dict)
    language: str = ENGLISH

    @property
    def name_key(self) -> str:
        """Part of the names of encoded files: who calls the same sound differently gets files with other tags."""
        return hashlib.sha256(f"{self.title}\0{self.performer}".encode()).hexdigest()[:16]

    def is_same(self, other: Order) -> bool:
        """Whether the same person wants the same of the same message once more."""
        own = (self.place, self.wish, self.source, self.answers)
        return own == (other.place, other.wish, other.source, other.answers)


@dataclass(frozen=True)
class Job:
    """An order that was accepted, as the store has it.

    ``audio``: SHA-256 of the decoded sound, once it is known; ``status``: the message in which progress is shown, once
    it is sent; ``error``: the sentence that goes with ``State.FAILED``; times are seconds since the epoch.
    """

    id: str
    order: Order
    state: State
    accepted_at: float
    audio: str | None = None
    seconds: float | None = None
    status: Reference | None = None
    error: str | None = None

    @property
    def place(self) -> Place:
        return self.order.place


@dataclass(frozen=True)
class Standing:
    """A job and what changes by the minute: ``position`` (1 is next; None unless waiting), ``share`` 0–1, ``eta_s``."""

    job: Job
    position: int | None = None
    share: float = 0.0
    eta_s: float | None = None


@dataclass(frozen=True)
class StoredResult:
    """Four stems of one song, kept for a while: ``folder/<stem>.flac`` at the song's own rate and channels."""

    audio: str
    folder: Path
    seconds: float
    sample_rate: int
    channels: int
    note: QualityNote
    warnings: tuple[str, ...]
    made_at: float

    def stem(self, name: str) -> Path:
        """The stored file of one stem."""
        return self.folder / f"{name}.flac"

    def stems_of(self, name: str) -> list[Path]:
        """The stored files whose sum is a stem or a mix."""
        summed = [stem for stem in STEMS if stem != MIXES[name]] if name in MIXES else [name]
        return [self.stem(stem) for stem in summed]


@dataclass(frozen=True)
class Forgotten:
    """What ``/forget`` deleted. Jobs that were waiting or running are cancelled first."""

    songs: int
    results: int
    megabytes: float


class Refused(Exception):
    """The service does not take an order; ``str()`` is the sentence that says why, and the way out."""


class TooLarge(Refused):
    """The song is larger or longer than what is taken."""


class Unavailable(Refused):
    """No order can be taken just now: a full disk, a dead engine, a store in trouble, a bot that stops."""


class StartError(Exception):
    """A bot cannot start as it is set up; ``str()`` is one sentence that says why, and what to do."""


class UnreachableError(StartError):
    """A platform does not answer just now; once it does, the same start succeeds."""


class DeliveryError(Exception):
    """A chat could not take the stems; ``str()`` is a sentence."""


class Courier(Protocol):
    """What the service needs of a platform. The service calls these again after a restart, from the stored job alone.

    ``tell`` and ``deliver`` must not raise for what a platform does now and then (a rate limit, a dropped connection, a
    deleted message): they wait and try again, or leave it.
    """

    async def fetch(self, job: Job, to: Path) -> None:
        """Downloads ``job.order.source`` into the file ``to``; raises ``Refused`` with a sentence if that can't be.

        Raises ConnectionError if the platform cannot be reached: then it is called again, after minutes.
        """

    async def tell(self, standing: Standing) -> None:
        """Shows where a job stands: sends its status message, or edits it. Called often: the pace is the courier's.

        Raises DeliveryError if the chat shows nothing any more: then it is called once more, for the end.
        """

    async def deliver(self, job: Job, result: StoredResult) -> None:
        """Sends what was asked for, and the note; raises DeliveryError if the chat takes nothing any more.

        Raises ConnectionError if the platform cannot be reached: then it is called again, after minutes.
        """

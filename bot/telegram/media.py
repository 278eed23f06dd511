"""Files on their way to Telegram: from the disk, or as Telegram's ids of those that it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telegram import InputFile, InputMediaAudio, InputMediaDocument


@dataclass(frozen=True)
class Item:
    """A file to send: from the disk, or as Telegram's id of one that it has."""

    file: Path | str
    is_audio: bool
    title: str = ""
    performer: str | None = None
    seconds: float = 0.0


@contextmanager
def opened(items: Sequence[Item]) -> Iterator[list[InputMediaAudio | InputMediaDocument]]:
    """The files as Telegram wants them; they are read while they are sent, not before."""
    with ExitStack() as stack:

        def source(file: Path | str) -> Any:
            if isinstance(file, str):
                return file
            # Also to a server on this machine: it may run under another account, or in a container.
            handle = stack.enter_context(file.open("rb"))
            return InputFile(handle, filename=file.name, attach=True, read_file_handle=False)

        yield [_media(item, source(item.file)) for item in items]


def _media(item: Item, source: Any) -> InputMediaAudio | InputMediaDocument:
    if not item.is_audio:
        return InputMediaDocument(source, disable_content_type_detection=True)
    if isinstance(item.file, str):
        return InputMediaAudio(source)
    return InputMediaAudio(source, title=item.title, performer=item.performer, duration=round(item.seconds))

"""What a bot writes to its log: one line an event, on stderr, in which no secret can show."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from urllib.parse import quote

_SHOWN_INSTEAD = "[secret]"
_TALKATIVE = ("httpx", "httpcore", "telegram", "discord", "aiohttp", "tornado")
"""They log every request, with the token in its URL, or every event."""

_LOOKS_LIKE_A_TOKEN = re.compile(r"\d{6,}(?::|%3A)[\w-]{30,}|[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}")
"""Of Telegram, and of Discord."""


class SecretFormatter(logging.Formatter):
    """Takes secrets out of the finished text: of messages, arguments and tracebacks alike."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # The part behind the colon alone opens the door as well.
        parts = {part for secret in secrets for part in (secret, quote(secret, safe=""), secret.partition(":")[2])}
        self._secrets = sorted((part for part in parts if len(part) >= 6), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, _SHOWN_INSTEAD)
        return _LOOKS_LIKE_A_TOKEN.sub(_SHOWN_INSTEAD, text)


def set_up(secrets: Iterable[str]) -> None:
    """Sends the log to stderr; ``secrets`` will never be in it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SecretFormatter(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that it lacks what voice calls need, and makes none.
    logging.getLogger("discord.client").setLevel(logging.ERROR)

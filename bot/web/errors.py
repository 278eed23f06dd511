"""What the web chat refuses: a status and a sentence, as JSON."""

from __future__ import annotations

from collections.abc import Mapping


class WebError(Exception):
    """An answer other than the one asked for: HTTP ``status``, key of its sentence, and what fills the gaps."""

    def __init__(self, status: int, key: str, headers: Mapping[str, str] | None = None, **values: object) -> None:
        super().__init__(key)
        self.status, self.key, self.headers, self.values = status, key, headers, values

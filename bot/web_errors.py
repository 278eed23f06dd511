"""What the web chat refuses: a status and a sentence, as JSON."""

from __future__ import annotations


class WebError(Exception):
    """An answer other than the one asked for: HTTP ``status``, key of its sentence, and what fills the gaps."""

    def __init__(self, status: int, key: str, **values: object) -> None:
        super().__init__(key)
        self.status, self.key, self.values = status, key, values

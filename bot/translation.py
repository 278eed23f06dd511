"""What people are told, in the language of whoever reads it. Pure.

The English sentence is the key, here and in the catalogues. The page, and the quality note, have ``words``.
"""

from __future__ import annotations

import re
from functools import cache

from bot import german

_RAISED = {"de": german.RAISED}
_SAID = {"de": german.SAID}


def said(english: str, language: str, **values: object) -> str:
    """What a bot says: ``english`` in another language, its gaps filled."""
    return _SAID.get(language, {}).get(english, english).format(**values)


def translated(text: str, language: str) -> str:
    """``text``, which was filled in when it was raised, if it is a sentence known here; else as it is."""
    for pattern, template in _patterns(language):
        if found := pattern.fullmatch(text):
            return template.format(**{gap: _gap(value, language) for gap, value in found.groupdict().items()})
    return text


def _gap(value: str, language: str) -> str:
    is_number = re.fullmatch(r"\d+\.\d+", value)
    return value.replace(".", ",") if is_number else translated(value, language)


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(english), other) for english, other in _RAISED.get(language, {}).items()]


def _pattern(english: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(english)))

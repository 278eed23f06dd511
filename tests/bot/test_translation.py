"""Whatever a person can be told is told in German as well."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import spectacles_engine
from bot import german, refusals, replies, requests, words
from bot.discord import commands
from bot.discord.commands import MENU
from bot.translation import _RAISED, _SAID, translated

ENGINE = Path(spectacles_engine.__file__).parent
ERRORS = {"InputError", "NotAudioError", "TooLongError", "PoisonousError"}


def _texts(node: ast.expr) -> Iterator[str]:
    """What a string in a source can say, with 7 in its gaps."""
    if isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
    elif isinstance(node, ast.Constant):
        yield str(node.value)


def _calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))


def _errors() -> set[str]:
    """All that the engine finds wrong with a song."""
    files = [*(ENGINE / "audio").glob("*.py"), ENGINE / "audio_files.py", ENGINE / "process.py"]
    calls = (call for file in files for call in _calls(file) if isinstance(call.func, ast.Name))
    raised = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ERRORS)
    return {text for call in raised for text in _texts(call.args[0])}


def _warnings() -> set[str]:
    """All that the engine finds remarkable in a song."""
    calls = [
        call for file in [ENGINE / "input_check.py", *(ENGINE / "audio").glob("*_decoder.py")] for call in _calls(file)
    ]
    appends = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "append")
    return {text for call in appends for text in _texts(call.args[0]) if " " in text}


def test_what_is_wrong_with_a_song_is_told_in_german() -> None:
    found = {refusals.as_sentence(text) for text in _errors()}
    assert len(found) >= 10
    assert {text for text in found if translated(text, "de") == text} == set()


def test_warnings_are_told_in_german() -> None:
    found = _warnings()
    assert len(found) >= 5
    assert {text for text in found if translated(text, "de") == text} == set()


@pytest.mark.parametrize(
    "english",
    [
        refusals.too_many_waiting(20, whole_chat=False),
        refusals.too_many_waiting(50, whole_chat=True),
        refusals.too_many_waiting(1, whole_chat=False),
        refusals.too_many_waiting(1, whole_chat=True),
        refusals.minutes_used_up(300, None, whole_chat=False),
        refusals.minutes_used_up(300, 60, whole_chat=False),
        refusals.minutes_used_up(600, None, whole_chat=True),
        refusals.minutes_used_up(600, 9000, whole_chat=True),
        refusals.file_too_large(2000),
        refusals.song_too_long(60),
        refusals.bot_is_stopping(),
        refusals.disk_full(),
        refusals.disk_in_trouble(),
        refusals.store_in_trouble(),
        refusals.engine_in_trouble(),
        refusals.fetch_failed(),
        refusals.delivery_failed(),
        refusals.mistake_of_ours(),
        refusals.upload_gone(),
        refusals.chat_not_allowed(),
        refusals.song_gone(),
        refusals.local_server_unreadable(),
        refusals.too_large_to_download(),
        refusals.too_large_to_send(50_000_000),
        refusals.stems_already(),
        refusals.unknown_word("xyzzy"),
        refusals.no_links(),
        refusals.one_at_a_time("mix"),
        refusals.one_at_a_time("format"),
        refusals.cannot_write_here(),
        refusals.admins_unknown(),
    ],
)
def test_what_the_service_says_is_told_in_german(english: str) -> None:
    german = translated(english, "de")
    assert german != english
    assert set(re.findall(r"\d{2,}", english)) <= set(re.findall(r"\d{2,}", german))


def _constants(file: str) -> set[str]:
    """The strings of a source that are no docstrings."""
    tree = ast.parse(Path(file).read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {str(node.value) for node in strings if id(node) not in statements}


def test_what_bots_say_is_said_in_german() -> None:
    sources = _constants(replies.__file__) | _constants(commands.__file__) | set(requests.COMMANDS.values())
    titles = {"voice message", "video message", "video", "song"}
    sentences = {text for text in sources if re.search(r"[a-z}][a-z:,]* [a-z{]", text)}
    assert len(sentences) > 40
    assert sentences - german.SAID.keys() == {MENU}, "this is read as it is"
    buttons = {action.capitalize() for action in ("cancel", "delete", "karaoke")}
    assert german.SAID.keys() - sources - buttons - titles == set(), "nobody says that any more"


def test_times_and_numbers_are_german_too() -> None:
    assert translated("Longer than 90 seconds.", "de") == "Länger als 90 Sekunden."
    assert translated("the input is very short (3.2 s)", "de") == "Die Aufnahme ist sehr kurz (3,2 s)."
    assert translated(refusals.minutes_used_up(300, 7000, whole_chat=False), "de").endswith("dauert es 1,9 Stunden.")
    assert translated(refusals.minutes_used_up(300, 9, whole_chat=False), "de").endswith(
        "dauert es weniger als eine Minute."
    )


def test_english_and_what_is_not_known_stay() -> None:
    assert translated("Not an audio file.", "en") == "Not an audio file."
    assert translated("{n} flew over the cuckoo's nest", "de") == "{n} flew over the cuckoo's nest"


def test_what_stands_in_a_gap_is_no_template() -> None:
    assert translated("Cannot be read ({0.__class__}).", "de") == "Nicht lesbar ({0.__class__})."


def _gaps(text: str) -> set[str | None]:
    return {gap for _, gap, _, _ in string.Formatter().parse(text) if gap is not None}


def test_all_languages_have_the_same_sentences_with_the_same_gaps() -> None:
    assert {words.ENGLISH, *_RAISED} == {words.ENGLISH, *_SAID} == set(words.LANGUAGES)
    for known in (german.RAISED, german.SAID):
        assert all(_gaps(english) == _gaps(other) for english, other in known.items())
    for key, sentences in words._WORDS.items():
        assert len(sentences) == len(words.LANGUAGES)
        assert all(sentences), key
        assert len({frozenset(_gaps(text)) for text in sentences}) == 1, key

from __future__ import annotations

import pytest

from bot.jobs import Refused, Wish
from bot.requests import COMMANDS, WISHES, command_of, parse_wish
from bot.translation import said
from bot.words import LANGUAGES
from spectacles_engine.messages import STEMS


@pytest.mark.parametrize(
    ("command", "text", "wish"),
    [
        ("stems", "", Wish()),
        ("stems", "all flac", Wish(format="flac")),
        ("stems", "drums, Vocals", Wish(("vocals", "drums"))),
        ("stems", "vocals+bass as MP3", Wish(("vocals", "bass"), format="mp3")),
        ("vocals", "", Wish(("vocals",))),
        ("vocals", "flac", Wish(("vocals",), format="flac")),
        ("vocals", "and drums", Wish(("vocals", "drums"))),
        ("stems", "drum voice", Wish(("vocals", "drums"))),
        ("karaoke", "", Wish((), "karaoke")),
        ("stems", "no-drums .wav", Wish((), "no-drums", "wav")),
        ("karaoke", "vocals", Wish(("vocals",), "karaoke")),
        ("stems", "all karaoke", Wish(mix="karaoke")),
        ("stems", "no drums", Wish((), "no-drums")),
        ("stems", "without the vocals, please", Wish((), "karaoke")),
        ("stems", "everything but the vocals", Wish((), "karaoke")),
        ("stems", "Only the “Vocal” (in wave)!", Wish(("vocals",), format="wav")),
        ("stems", "vocals/drums|bass", Wish(("vocals", "drums", "bass"))),
        ("/Drums@SpecBot", "", Wish(("drums",))),
        ("stems", "nur Gesang und Schlagzeug bitte", Wish(("vocals", "drums"))),
        ("stems", "ohne den Gesang, als flac", Wish((), "karaoke", "flac")),
        ("stems", "alles außer Schlagzeug", Wish((), "no-drums")),
        ("stems", "no_drums", Wish((), "no-drums")),
        ("stems", "without drums and bass", Wish(("vocals", "other"))),
        ("stems", "ohne Gesang und Schlagzeug, mp3", Wish(("bass", "other"), format="mp3")),
        ("stems", "everything except the bass and drums", Wish(("vocals", "other"))),
        ("stems", "no drums and no bass", Wish(("vocals", "other"))),
        ("stems", "vocals… – flac 🙏", Wish(("vocals",), format="flac")),
        ("stems", "Stimmen im FLAC Format, danke", Wish(("vocals",), format="flac")),
        ("stems", "kein Schlagzeug", Wish((), "no-drums")),
        ("stems", "all four minus drums, as an mp3", Wish((), "no-drums", "mp3")),
        ("stems", "kein-Bass", Wish((), "no-bass")),
        ("stems", "no vocals, only bass", Wish(("bass",))),
        ("stems", "ohne Gesang, nur Schlagzeug", Wish(("drums",))),
        ("stems", "kein Bass, sondern Gesang", Wish(("vocals",))),
        ("stems", "no vocals just drums and bass", Wish(("drums", "bass"))),
        ("stems", "no vocals but drums", Wish(("drums",))),
        ("stems", "just bass no vocals", Wish(("bass",))),
        ("vocals", "no drums", Wish(("vocals",))),
        ("stems", "no drums, only flac", Wish((), "no-drums", "flac")),
        ("stems", "everything but only the drums", Wish((), "no-drums")),
        ("stems", "drums and all but vocals", Wish(("drums",), "karaoke")),
        ("stems", "alles ausser Bass-Spur, vielen Dank", Wish((), "no-bass")),
        ("stems", "all 4 tracks pls", Wish()),
        ("stems", "bassline and drum-track, thank you", Wish(("drums", "bass"))),
        ("stems", "the vocal part from this", Wish(("vocals",))),
        ("stems", "nur die Basslinie", Wish(("bass",))),
        ("stems", "instrumental version", Wish((), "karaoke")),
        ("stems", "no-drum stem", Wish((), "no-drums")),
        ("vocals", "and no vocals", Wish(("vocals",), "karaoke")),
    ],
)
def test_what_people_type(command: str, text: str, wish: Wish) -> None:
    assert parse_wish(command, text) == wish


@pytest.mark.parametrize(
    "text",
    ["guitar", "karaoke no-drums", "mp3 flac", "<b>vocals</b>", "no guitar", "no", "no karaoke", "the other song"],
)
def test_what_is_not_understood_gets_a_sentence(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_wish("stems", text)
    assert str(refused.value).endswith((".", "!"))


def test_an_unknown_word_is_answered_with_what_there_is() -> None:
    with pytest.raises(Refused, match=r"“guitar”.*vocals.*karaoke.*flac"):
        parse_wish("stems", "guitar")


@pytest.mark.parametrize("text", ["https://youtu.be/dQw4w9WgXcQ", "youtu.be/dQw4w9WgXcQ", "vocals www.example.org"])
def test_of_a_link_it_is_said_that_files_are_taken(text: str) -> None:
    with pytest.raises(Refused, match="files, not links"):
        parse_wish("stems", text)


def test_every_wish_is_in_the_menu_and_is_understood() -> None:
    assert set(WISHES) <= COMMANDS.keys()
    assert {parse_wish(stem).names for stem in STEMS} == {(stem,) for stem in STEMS}
    for language in LANGUAGES:
        assert all(len(said(description, language)) <= 100 for description in COMMANDS.values())  # Discord's limit


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/stems", ("stems", "")),
        ("/Stems@SpecBot vocals\ndrums", ("stems", "vocals\ndrums")),
        ("/stems: vocals", ("stems", "vocals")),
        ("/stems,drums", ("stems", "drums")),
        ("/stems!", ("stems", "")),
        ("/bass…", ("bass", "")),
        ("/bass🙏 flac", ("bass", "flac")),
        ("/stems/drums", None),
        ("/stems@OtherBot", None),
        ("/stems@", None),
        ("stems", None),
        ("see /stems", None),
    ],
)
def test_commands_are_for_the_bot_that_they_name(text: str, found: tuple[str, str] | None) -> None:
    assert command_of(text, "specbot") == found

from __future__ import annotations

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.names import LONGEST_FOLDER_BYTES, file_name, one_line, printable, song_folder


@pytest.mark.parametrize(
    ("file_name", "folder"),
    [
        ("song.mp3", "song"),
        ("Mr. Brightside.live.flac", "Mr. Brightside.live"),
        ("..", "song"),
        (".mp3", "mp3"),
        ("...hidden.wav", "hidden"),
        ("a\\..\\b.wav", "a_.._b"),
        ("a:b|c?.wav", "a_b_c_"),
        ("bell\x07esc\x1b[31m\n.wav", "bellesc[31m"),
        ("evil\u202e3pm.wav", "evil3pm"),
        ("\udcff\udcfe.wav", "song"),
        ("cafe\u0301.wav", "caf\u00e9"),
        ("   .wav", "song"),
        ("\u200d\u200c.wav", "song"),
        ("", "song"),
        ("アーティスト\u3000曲名.wav", "アーティスト 曲名"),
        ("Marcia\xa0di  Elio.wav", "Marcia di  Elio"),
        ("👩\u200d🎤.wav", "👩\u200d🎤"),
        ("CON.mp3", "_CON"),
        ("nul.live.mp3", "_nul.live"),
        ("lpt1 .wav", "_lpt1"),
        ("Console.mp3", "Console"),
        ("é" * 300 + ".wav", "é" * 127),
        ("x" * 251 + ".wav", "x" * 251),
    ],
)
def test_folder_names(file_name: str, folder: str) -> None:
    assert song_folder(file_name) == folder


def test_a_taken_name_gets_a_number() -> None:
    assert song_folder("X.mp3", {"x"}) == "X-2"
    assert song_folder("x.wav", {"x", "x-2"}) == "x-3"
    assert song_folder("x" * 300 + ".wav", {"x" * 255}) == "x" * 253 + "-2"


def test_a_file_that_is_sent_has_a_title_cut_between_characters() -> None:
    assert file_name("x" * 119 + "éé", "vocals", "mp3") == "x" * 119 + " – vocals.mp3"


@given(st.text())
def test_a_folder_name_is_never_a_path_hidden_or_too_long(file_name: str) -> None:
    name = song_folder(file_name)
    assert PurePath(name).parts == (name,)
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert len(name.encode()) <= LONGEST_FOLDER_BYTES
    assert all(character.isprintable() or character in "\u200c\u200d" for character in name)
    assert not set('/\\\0:*?"<>|') & set(name)


def test_printable_keeps_text_and_disarms_the_rest() -> None:
    assert printable("Für Elise – 3") == "Für Elise – 3"
    assert printable("a\x1b[2Jb\nc") == "a\ufffd[2Jb\ufffdc"


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\u200b \u200b", "\u200d", "\x00\u202e"])
def test_a_line_in_which_there_is_nothing_to_see_is_empty(text: str) -> None:
    assert one_line(text) == ""
    assert one_line("\u200b a\nb") == "a b"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("アーティスト\u3000曲\xa0 名", "アーティスト 曲 名"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\x00 a\u202eb\r\nc\ufeff ", "ab c"),
        (" \u200d\u2003", ""),
    ],
)
def test_one_line_keeps_words_apart_and_joiners(text: str, line: str) -> None:
    assert one_line(text) == line

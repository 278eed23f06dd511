from __future__ import annotations

from pathlib import Path

import pytest

from spectacles_engine.whole_files import replacing, write_whole


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with pytest.raises(OSError, match=r"a\.txt"), replacing(path) as part:
        part.write_bytes(b"ne")
        raise OSError(28, "No space left on device")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, b"new")
    assert caught.value.filename == path


def test_links_stay_links_and_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    path, link = tmp_path / "a.txt", tmp_path / "latest.txt"
    link.symlink_to(path)
    write_whole(link, b"new")
    assert (link.is_symlink(), path.read_bytes()) == (True, b"new")
    nothing = tmp_path / "nothing"
    nothing.symlink_to("/dev/null")
    write_whole(nothing, b"new")
    assert Path("/dev/null").is_char_device()

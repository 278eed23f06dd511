"""The paper's experiment in one call: estimates of the training songs, the mixers, and Table 1 of the test songs.

Everything lies below one folder, and what is there already isn't done again: an interrupted run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from spectacles_engine.errors import InputError
from spectacles_engine.mixer_files import save_mixer
from spectacles_engine.training import estimates, linear, mixer
from spectacles_engine.training.bench import Bench
from spectacles_engine.training.examples import Songs
from spectacles_engine.training.table import Report


def reproduce(bench: Bench, train: Songs, test: Songs, recipes: Mapping[str, mixer.Recipe], out: Path) -> Report:
    """Trains all ``recipes`` (name → recipe; ours is `spectacles`) and the linear mixer on ``train``.

    Raises InputError where a song is in both halves.
    """
    names = {song.name for song in train.files}
    if both := names & {song.name for song in test.files}:
        raise InputError(f"songs to train on cannot be tested on: {', '.join(sorted(both))}")
    bench.estimate(train, out / "estimates")
    # what an earlier run with other songs has left there is not for this one
    songs = [song for song in estimates.read_estimates(out / "estimates") if song.name in names]
    files = {name: out / f"{name}.safetensors" for name in ("linear", *recipes)}
    fitted_to = [(song.name, song.fingerprint) for song in songs]
    if not _was_fitted(files["linear"], fitted_to):
        save_mixer(linear.fit(songs), files["linear"])
        _notes_of(files["linear"]).write_text(json.dumps(fitted_to), encoding="utf-8")
    for name, recipe in recipes.items():
        mixer.train(songs, recipe, files[name], bench.device)
    return bench.evaluate(test, files, ours="spectacles", json=out / "table.json", chart=out / "table.png")


def _was_fitted(file: Path, songs: Sequence[tuple[str, str]]) -> bool:
    """Whether a linear mixer was fitted to these songs. One that is fitted again may differ in its last bits."""
    notes = _notes_of(file)
    return file.exists() and notes.exists() and notes.read_text(encoding="utf-8") == json.dumps(songs)


def _notes_of(file: Path) -> Path:
    """What a mixer was fitted to."""
    return file.with_suffix(".songs")


def halves(folders: Sequence[Path], test: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Folders to train on and to test on: those that are given, or what MUSDB18 calls ``train`` and ``test``.

    Raises InputError where nothing says which songs are for what.
    """
    if test:
        return list(folders), list(test)
    parted = [(folder / "train", folder / "test") for folder in folders]
    if not all(part.is_dir() for pair in parted for part in pair):
        raise InputError("which songs are to be tested on? give their folders with --test")
    return [train for train, _ in parted], [test for _, test in parted]

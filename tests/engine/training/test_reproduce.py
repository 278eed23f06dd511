"""The whole experiment for ``studio``, from songs to the table, with stand-ins for the models that are fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine.errors import InputError, ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixer_files import save_mixer
from spectacles_engine.mixers import LinearMixer
from spectacles_engine.models import ModelStore
from spectacles_engine.training.bench import Bench
from spectacles_engine.training.data import find_songs
from spectacles_engine.training.examples import Songs
from spectacles_engine.training.mixer import RECIPES
from spectacles_engine.training.reproduce import halves, reproduce
from spectacles_engine.training.table import WRITTEN
from tests.engine.fakes import write_studio

QUICK = replace(RECIPES["spectacles"], bins=2_000, chunk_s=0.5, epochs=1)


def _studio(folder: Path) -> ModelStore:
    folder.mkdir()
    return ModelStore(folder, write_studio(folder))


def _songs(folder: Path, count: int) -> Songs:
    random = np.random.default_rng(count)
    for i in range(count):
        (folder / f"song-{count}-{i}").mkdir(parents=True)
        for stem in STEMS:
            noise = random.standard_normal((SAMPLE_RATE_HZ, 2)) * 0.1
            soundfile.write(folder / f"song-{count}-{i}" / f"{stem}.wav", noise, SAMPLE_RATE_HZ)
    return Songs(find_songs([folder]))


def test_one_call_goes_from_songs_to_the_table_and_the_second_computes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    train, test = _songs(data / "train", 2), _songs(data / "test", 1)
    assert halves([data], []) == ([data / "train"], [data / "test"])
    store = _studio(tmp_path / "models")
    bench = Bench(store, store.preset("studio"), "cpu")
    recipes = {"paper": replace(RECIPES["paper"], chunk_s=0.5, epochs=1), "spectacles": QUICK}
    text = reproduce(bench, train, test, recipes, out).text()
    for row in ("demucs", "mdx", "average", "stemmixer", "linear", "paper", "spectacles", f"spectacles{WRITTEN}"):
        assert f"| {row} | " in text
    assert "oracle α" in text
    assert {path.suffix for path in out.iterdir() if path.stem == "table"} == {".json", ".png"}
    monkeypatch.setattr("spectacles_engine.ensemble.Ensemble.estimate", None)
    monkeypatch.setattr("spectacles_engine.training.linear.fit", None)
    assert reproduce(bench, train, test, recipes, out).text() == text


def test_a_linear_mixer_is_fitted_again_once_a_song_has_left(tmp_path: Path) -> None:
    store, songs, out = _studio(tmp_path / "models"), _songs(tmp_path / "data", 3), tmp_path / "run"
    bench = Bench(store, store.preset("studio"), "cpu")
    mixers = []
    for train, test in ((songs.files[:2], songs.files[2:]), (songs.files[:1], songs.files[1:])):
        reproduce(bench, Songs(train), Songs(test), {"spectacles": QUICK}, out)
        mixers.append((out / "linear.safetensors").read_bytes())
        for left in (*out.glob("*.training"), *out.glob("table.*")):
            left.unlink()
    assert mixers[0] != mixers[1]


def test_a_song_is_never_trained_on_and_tested_on(tmp_path: Path) -> None:
    store, songs = _studio(tmp_path / "models"), _songs(tmp_path / "data", 2)
    bench = Bench(store, store.preset("studio"), "cpu")
    with pytest.raises(InputError, match="cannot be tested on: song-2-0"):
        reproduce(bench, songs, Songs(songs.files[:1]), {}, tmp_path / "run")


def test_the_oracle_is_above_what_weighs_spectrograms(tmp_path: Path) -> None:
    store, songs = _studio(tmp_path / "models"), _songs(tmp_path / "data", 1)
    summary = Bench(store, store.preset("studio"), "cpu").evaluate(songs, {}).table.summary("uSDR", "mean")
    for row in ("average", "stemmixer"):
        assert all(summary["oracle α"][stem] >= summary[row][stem] for stem in STEMS), row


def test_a_row_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    store = _studio(tmp_path / "models")
    with pytest.raises(ModelError, match=r"there is no row 'stemixer' to compare, only .*stemmixer"):
        Bench(store, store.preset("studio"), "cpu").evaluate(_songs(tmp_path / "data", 1), {}, ours="stemixer")


def test_a_mixer_of_other_models_or_with_the_name_of_another_row_is_a_sentence(tmp_path: Path) -> None:
    store, songs = _studio(tmp_path / "models"), _songs(tmp_path / "data", 1)
    bench, file = Bench(store, store.preset("studio"), "cpu"), tmp_path / "m.safetensors"
    save_mixer(LinearMixer(np.zeros((1, 4, 2, 2, 2), np.float32), (("vocals", "spleeter"),)), file)
    with pytest.raises(ModelError, match=r"m\.safetensors is for estimates of other models: spleeter"):
        bench.evaluate(songs, {"m": file})
    for name in ("average", "mdx", "mixture"):
        with pytest.raises(InputError, match="has the name of another row"):
            bench.evaluate(songs, {name: file})


def test_where_nothing_says_which_songs_are_for_testing_it_asks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--test"):
        halves([tmp_path], [])
    assert halves([tmp_path], [tmp_path / "other"]) == ([tmp_path], [tmp_path / "other"])

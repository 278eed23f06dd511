"""The StemMixer learns what it is for: whom to trust where."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.quality import usdr
from spectacles_engine.stem_mixer import FixedShares
from spectacles_engine.training.estimates import Example, read_estimates, write_estimates
from spectacles_engine.training.mixer import Recipe, train
from tests.engine.fakes import FakeSeparator, share

SAMPLES = SAMPLE_RATE_HZ


def _noise(random: np.random.Generator, level: float) -> Array:
    return (random.standard_normal((2, SAMPLES)) * level).astype(np.float32)


def _stored_songs(folder: Path, count: int) -> None:
    """Two models that take turns: one hears nothing where the stem is loud, the other adds noise where it is soft."""
    random = np.random.default_rng(0)
    for number in range(count):
        references = np.stack([_noise(random, 0.1) for _ in STEMS])
        loud = (np.arange(SAMPLES) // 8820 % 2).astype(np.float32)
        references *= 0.1 + 0.9 * loud
        first = references * (1 - 0.9 * loud)
        second = references + np.stack([_noise(random, 0.05) for _ in STEMS]) * (1 - loud)
        estimates = np.stack([estimate for pair in zip(first, second, strict=True) for estimate in pair])
        song = folder / f"song-{number}"
        song.mkdir(parents=True)
        np.save(song / "references.npy", references.astype(np.float16))
        np.save(song / "estimates.npy", estimates.astype(np.float16))
        names = [(stem, model) for stem in STEMS for model in ("demucs", "mdx")]
        (song / "estimates.json").write_text(json.dumps({"names": names, "made_by": []}))


@pytest.mark.parametrize("law", ["magnitudes", "spectrograms"])
def test_a_trained_mixer_beats_both_models_and_their_average(tmp_path: Path, law: str) -> None:
    _stored_songs(tmp_path / "estimates", 6)
    songs = read_estimates(tmp_path / "estimates")
    recipe = Recipe(epochs=25, learning_rate=2e-2, law=law, chunk_s=0.5)
    mixers = train(songs[:5], recipe, tmp_path / "mixers.safetensors", "cpu")
    said, truth = songs[5].estimates.astype(np.float32), songs[5].references.astype(np.float32)
    for i, stem in enumerate(STEMS):
        first, second = said[songs[5].of_stem(stem)]
        mixed = mixers.blend(stem, np.stack([first, second])[None])[0]
        others = [usdr(truth[i], estimate) for estimate in (first, second, (first + second) / 2)]
        assert usdr(truth[i], mixed) > max(others) + 1
    assert (tmp_path / "mixers.png").stat().st_size > 1000


def test_an_interrupted_training_goes_on_where_it_was(tmp_path: Path) -> None:
    _stored_songs(tmp_path / "estimates", 3)
    songs = read_estimates(tmp_path / "estimates")
    train(songs, Recipe(epochs=2, chunk_s=0.5), tmp_path / "a.safetensors", "cpu")
    train(songs, Recipe(epochs=4, chunk_s=0.5), tmp_path / "a.safetensors", "cpu")
    train(songs, Recipe(epochs=4, chunk_s=0.5), tmp_path / "b.safetensors", "cpu")
    from safetensors.numpy import load_file

    resumed, straight = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert resumed.keys() == straight.keys()
    for key, values in straight.items():
        np.testing.assert_allclose(resumed[key], values, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_another_recipe_and_too_few_estimates_are_sentences(tmp_path: Path) -> None:
    _stored_songs(tmp_path / "estimates", 2)
    songs = read_estimates(tmp_path / "estimates")
    train(songs, Recipe(epochs=1, chunk_s=0.5), tmp_path / "a.safetensors", "cpu")
    with pytest.raises(ModelError, match="another recipe"):
        train(songs, Recipe(epochs=2, chunk_s=0.5, law="spectrograms"), tmp_path / "a.safetensors", "cpu")
    with pytest.raises(ModelError, match="too few estimates"):
        train([], Recipe(), tmp_path / "b.safetensors", "cpu")


def test_estimates_are_what_the_base_models_said_and_are_not_computed_twice(tmp_path: Path) -> None:
    model = FakeSeparator("demucs", {stem: share(0.25) for stem in STEMS})
    ensemble = Ensemble({"demucs": model}, FixedShares({stem: {"demucs": 1.0} for stem in STEMS}))
    references = np.stack([_noise(np.random.default_rng(i), 0.1) for i in range(len(STEMS))])
    write_estimates(ensemble, [Example("song", references)], tmp_path)
    (stored,) = read_estimates(tmp_path)
    assert stored.of_stem("bass") == [2]
    np.testing.assert_allclose(stored.references, references, atol=1e-3)
    np.testing.assert_allclose(stored.estimates[2], references.sum(axis=0) / 4, atol=1e-3)
    model.asked.clear()
    write_estimates(ensemble, [Example("song", references)], tmp_path)
    assert model.asked == set()
    write_estimates(ensemble, [Example("song", references)], tmp_path, made_by=["a later training"])
    assert model.asked == set(STEMS)

"""``studio`` through the code that runs the real weights, with stand-ins of the same kinds, fetched from a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectacles_engine.errors import ModelError, ModelMissingError
from spectacles_engine.manifest import Manifest
from spectacles_engine.messages import BLENDS, STEMS
from spectacles_engine.mixers import FixedShares
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_blend, load_calibration, load_ensemble
from spectacles_engine.quality import Calibration
from tests.engine.fakes import served, write_mixer, write_studio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ModelStore]:
    """Stand-ins for the files of ``studio``, and a server that has them."""
    (tmp_path / "shelf").mkdir()
    with served(tmp_path / "shelf") as address:
        yield ModelStore(tmp_path / "fetched", write_studio(tmp_path / "shelf", address))


def test_studio_is_fetched_and_separates(store: ModelStore) -> None:
    spec = store.preset("studio")
    with pytest.raises(ModelMissingError, match="models fetch studio"):
        load_ensemble(spec, store, blend="stemmixer", device="cpu")
    assert len(store.fetch("studio")) == 8
    ensemble = load_ensemble(spec, store, blend="stemmixer", device="cpu")
    song = np.random.default_rng(0).standard_normal((2, 100_000)).astype(np.float32) * np.float32(0.1)
    blocks = list(ensemble.separate([song], ("bass", "vocals")))
    estimates = np.concatenate([block.estimates for block in blocks], axis=-1)
    vocals, bass = np.concatenate([block.stems for block in blocks], axis=-1)
    # KUIELab's published blend: 0.9 MDX for the vocals, 0.5 for the bass
    assert ensemble.names(("bass", "vocals")) == tuple((s, m) for s in ("vocals", "bass") for m in ("demucs", "mdx"))
    np.testing.assert_allclose(vocals, 0.1 * estimates[0] + 0.9 * estimates[1], atol=1e-5)
    np.testing.assert_allclose(bass, 0.5 * estimates[2] + 0.5 * estimates[3], atol=1e-5)


@pytest.mark.parametrize("name", ["demucs", "mdx"])
def test_a_base_model_alone_is_loaded_alone(store: ModelStore, name: str) -> None:
    store.fetch("studio")
    ensemble = load_ensemble(store.preset("studio"), store, blend=name, device="cpu")
    assert list(ensemble.models) == [name]


def test_an_average_gives_every_model_the_same_share(store: ModelStore) -> None:
    store.fetch("studio")
    mixer = load_ensemble(store.preset("studio"), store, blend="average", device="cpu").mixer
    assert isinstance(mixer, FixedShares)
    assert mixer.shares == {stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS}


def test_in_the_average_of_lite_the_fronts_have_a_share_of_the_vocals_alone_and_no_model_one_of_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path)
    lite = store.preset("lite")
    mixer = load_blend(lite, store, "average", "cpu")
    assert isinstance(mixer, FixedShares)
    own = ["demucs", "mdx", "mdx-low"]
    assert list(mixer.shares["vocals"]) == [*own, "spleeter-vocals", "spleeter-accompaniment"]
    assert all(mixer.shares[stem] == dict.fromkeys(own, 1 / 3) for stem in STEMS[1:])
    assert mixer.up_to_hz == lite.up_to_hz != {}


def test_a_model_of_lite_answers_up_to_where_the_manifest_says(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    lite = store.preset("lite")
    models = load_ensemble(lite, store, blend="average", device="cpu").models
    noise = np.random.default_rng(0).standard_normal((1, 2, 300_000)).astype(np.float32) * np.float32(0.1)
    reaching = [(models[spec.name], spec.up_to_hz) for spec in lite.models if spec.up_to_hz]
    assert len(reaching) == 2
    for separator, up_to_hz in reaching:
        said = np.sum(list(separator.estimate(noise[..., : separator.chunk_samples], STEMS).values()), axis=0)
        power = np.square(np.abs(np.fft.rfft(said[0, 0])))
        edge = round(up_to_hz / 44_100 * separator.chunk_samples)
        below, above = power[int(0.9 * edge) : edge], power[int(1.15 * edge) :]
        assert below.mean() > 1000 * above.mean()


def test_a_mixer_of_ones_own_takes_the_place_of_the_presets(tmp_path: Path) -> None:
    own = write_mixer(tmp_path / "own.safetensors", mixture=0.25)
    store = ModelStore(tmp_path, Manifest.load().with_own("lite", own, None))
    lite = store.preset("lite")
    ensemble = load_ensemble(lite, store, blend="stemmixer", device="cpu")
    song = np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32) * np.float32(0.1)
    (block,) = ensemble.separate([song])
    np.testing.assert_allclose(block.stems, np.stack([song / 4] * len(STEMS)), atol=1e-6)
    # what the preset's estimator was fitted to is another mixer
    assert load_calibration(lite, store) is None
    assert {status.state for status in store.verify() if "lite" in status.presets} == {"intact"}
    # and what no preset needs any more is not listed
    assert all(status.presets for status in store.status())


def test_an_estimator_of_ones_own_is_for_the_mixer_that_is_used(tmp_path: Path) -> None:
    quality = tmp_path / "quality.json"
    quality.write_text(json.dumps({"stems": {}}))
    for mixer in (None, write_mixer(tmp_path / "own.safetensors", mixture=0.25)):
        store = ModelStore(tmp_path, Manifest.load().with_own("lite", mixer, quality))
        assert load_calibration(store.preset("lite"), store) == Calibration({})
    assert ModelStore(tmp_path).preset("lite").quality != store.preset("lite").quality


@pytest.mark.parametrize(("made_for", "other"), [("lite", "studio"), ("studio", "lite")])
def test_a_mixer_for_another_preset_is_a_sentence(tmp_path: Path, made_for: str, other: str) -> None:
    own = write_mixer(tmp_path / "own.safetensors", preset=made_for, mixture=0, demucs=0.5, mdx=0.5)
    store = ModelStore(tmp_path, Manifest.load().with_own(other, own, None))
    with pytest.raises(ModelError, match=r"engine\.mixer \(.*own\.safetensors\) is for estimates of other models"):
        load_blend(store.preset(other), store, "stemmixer", "cpu")


def test_a_blend_that_a_preset_does_not_have_is_a_sentence(store: ModelStore) -> None:
    with pytest.raises(
        ModelError, match="the preset studio has no blend 'spleeter-vocals', only stemmixer, average, demucs, mdx"
    ):
        load_ensemble(store.preset("studio"), store, blend="spleeter-vocals", device="cpu")


def test_a_model_that_lacks_a_stem_is_a_sentence(store: ModelStore) -> None:
    store.fetch("studio")
    spec = store.preset("studio")
    demucs, mdx = spec.models
    three = replace(spec, models=(demucs, replace(mdx, files={stem: mdx.files[stem] for stem in STEMS[:3]})))
    with pytest.raises(ModelError, match="mdx of the preset studio does not answer other, which average listens to"):
        load_ensemble(three, store, blend="average", device="cpu")


@pytest.mark.parametrize("blend", BLENDS)
def test_every_blend_of_lite_separates_with_the_embedded_files(tmp_path: Path, blend: str) -> None:
    store = ModelStore(tmp_path)
    ensemble = load_ensemble(store.preset("lite"), store, blend=blend, device="cpu")
    song = np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32) * np.float32(0.1)
    (block,) = ensemble.separate([song])
    assert block.stems.shape == (len(STEMS), 2, 20_000)
    assert np.isfinite(block.stems).all()

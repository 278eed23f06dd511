from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectacles_engine.errors import ModelError
from spectacles_engine.stem_mixer import (
    STFT,
    FixedShares,
    StemMixer,
    StemMixers,
    blend_magnitudes,
    blend_spectrograms,
)


def test_the_papers_network_has_the_papers_layers() -> None:
    layers = [type(layer).__name__ for layer in StemMixer().mlp]
    assert layers == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    widths = [(c.in_channels, c.out_channels) for c in StemMixer().mlp if isinstance(c, torch.nn.Conv2d)]
    assert widths == [(4, 32), (32, 16), (16, 2)]


def test_two_models_are_weighted_by_a_sigmoid_and_its_complement() -> None:
    network = StemMixer().eval()
    magnitudes = torch.rand(1, 2, 2, 5, 7)
    alpha = torch.sigmoid(network.mlp(magnitudes.flatten(1, 2)))
    weights = network(magnitudes)
    torch.testing.assert_close(weights[:, 0], alpha)
    torch.testing.assert_close(weights[:, 1], 1 - alpha)


@pytest.mark.parametrize("models", [2, 3, 5])
def test_weights_of_any_number_of_models_sum_to_one(models: int) -> None:
    weights = StemMixer(models).eval()(torch.rand(2, models, 2, 4, 3))
    assert weights.shape == (2, models, 2, 4, 3)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 2, 4, 3))


def test_the_papers_blend_takes_magnitudes_of_both_and_the_phase_of_the_first() -> None:
    first, second = torch.polar(torch.tensor(2.0), torch.tensor(0.5)), torch.polar(torch.tensor(6.0), torch.tensor(2.5))
    spectrograms = torch.stack([first, second]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    weights = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    blended = blend_magnitudes(weights, spectrograms)
    torch.testing.assert_close(blended.abs(), torch.full((1, 2, 1, 1), 5.0))
    torch.testing.assert_close(blended.angle(), torch.full((1, 2, 1, 1), 0.5))
    torch.testing.assert_close(blend_spectrograms(weights, spectrograms)[0, 0, 0, 0], 0.25 * first + 0.75 * second)


def test_fixed_shares_are_a_weighted_sum() -> None:
    estimates = np.random.default_rng(0).standard_normal((1, 2, 2, 100)).astype(np.float32)
    mixer = FixedShares({"vocals": {"demucs": 0.1, "mdx": 0.9}})
    assert mixer.models == {"vocals": ("demucs", "mdx")}
    np.testing.assert_allclose(
        mixer.blend("vocals", estimates), 0.1 * estimates[:, 0] + 0.9 * estimates[:, 1], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("law", ["magnitudes", "spectrograms"])
def test_where_the_models_agree_the_mixer_changes_nothing(law: str) -> None:
    said = np.random.default_rng(1).standard_normal((1, 1, 2, 30_000)).astype(np.float32)
    mixers = StemMixers({"bass": StemMixer(3).eval()}, {"bass": ("a", "b", "c")}, law)
    np.testing.assert_allclose(mixers.blend("bass", np.repeat(said, 3, axis=1)), said[:, 0], atol=1e-4)


def test_a_file_of_mixers_is_read_back_as_it_was(tmp_path: Path) -> None:
    networks = {"vocals": StemMixer(3).eval(), "drums": StemMixer(2).eval()}
    names = {"vocals": ("demucs", "mdx", "spleeter"), "drums": ("demucs", "mdx")}
    written = StemMixers(networks, names, "magnitudes")
    written.save(tmp_path / "mixers.safetensors")
    read = StemMixers.load(tmp_path / "mixers.safetensors")
    assert (read.models, read.law) == (names, "magnitudes")
    said = np.random.default_rng(2).standard_normal((1, 3, 2, STFT.n_fft)).astype(np.float32)
    np.testing.assert_array_equal(read.blend("vocals", said), written.blend("vocals", said))


def test_a_file_that_holds_no_mixers_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mixers.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(ModelError, match=r"mixers\.safetensors could not be read as StemMixers"):
        StemMixers.load(tmp_path / "mixers.safetensors")

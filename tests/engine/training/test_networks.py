"""What is trained is what the engine loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spectacles_engine.messages import STEMS
from spectacles_engine.separators.demucs import DemucsSeparator, save_demucs
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.separators.spleeter import SpleeterUNet
from spectacles_engine.training.networks import SmallMdx, segment_samples, small_demucs
from spectacles_engine.training.separators import separation_loss


def _noise(samples: int) -> torch.Tensor:
    return torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def test_the_exported_mdx_answers_what_the_trained_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SmallMdx().eval()
    network.export(tmp_path / "mdx.onnx", frames=32)
    separator = MdxSeparator.load({"all": tmp_path / "mdx.onnx"}, None, "cpu")
    assert separator.stems == STEMS
    mixture = _noise(separator.chunk_samples)
    with torch.inference_mode():
        expected = network(mixture).numpy()
    estimates = separator.estimate(mixture.numpy(), STEMS)
    for i, stem in enumerate(STEMS):
        np.testing.assert_allclose(estimates[stem], expected[:, i], atol=2e-4)


def test_the_saved_demucs_answers_what_the_trained_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = small_demucs().eval()
    save_demucs(network, tmp_path / "demucs.safetensors")
    separator = DemucsSeparator.load({"all": tmp_path / "demucs.safetensors"}, "cpu")
    assert separator.chunk_samples == segment_samples()
    mixture = _noise(segment_samples())
    with torch.inference_mode():
        expected = network(mixture).numpy()
    np.testing.assert_allclose(separator.estimate(mixture.numpy(), ["bass"])["bass"], expected[:, 2], atol=1e-4)


def test_the_embedded_networks_are_as_small_as_they_are_said_to_be() -> None:
    def parameters(network: torch.nn.Module) -> float:
        return sum(p.numel() for p in network.parameters()) / 1e6

    assert 3.5 < parameters(small_demucs()) < 4.5
    assert parameters(SmallMdx()) < 3
    assert abs(parameters(SpleeterUNet()) - 9.82) < 0.02


def test_the_loss_is_zero_for_the_truth_alone() -> None:
    truth = torch.randn(1, 4, 2, 20_000, generator=torch.Generator().manual_seed(0))
    assert float(separation_loss(truth, truth)) == 0
    assert float(separation_loss(truth * 0.5, truth)) > 0.1

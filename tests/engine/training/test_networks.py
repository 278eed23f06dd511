"""What is trained is what the engine loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from julius.resample import resample_frac

from spectacles_engine.messages import STEMS
from spectacles_engine.separators.demucs import DemucsSeparator, save_demucs
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.separators.spleeter import SpleeterUNet
from spectacles_engine.training.networks import SEGMENT_S, broad_mdx, low_mdx, small_demucs
from spectacles_engine.training.separators import separation_loss


def _noise(samples: int) -> torch.Tensor:
    return torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def test_the_exported_mdx_answers_what_the_trained_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = broad_mdx().eval()
    network.export(tmp_path / "mdx.onnx", frames=32)
    separator = MdxSeparator.load({"all": tmp_path / "mdx.onnx"}, {}, "cpu")
    assert separator.stems == STEMS
    mixture = _noise(separator.chunk_samples)
    with torch.inference_mode():
        expected = network(mixture).numpy()
    estimates = separator.estimate(mixture.numpy(), STEMS)
    for i, stem in enumerate(STEMS):
        np.testing.assert_allclose(estimates[stem], expected[:, i], atol=2e-4)


def test_the_exported_low_mdx_answers_the_lowest_2_khz_as_the_trained_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = low_mdx().eval()
    network.export(tmp_path / "low.onnx", frames=32)
    separator = MdxSeparator.load({"all": tmp_path / "low.onnx"}, {}, "cpu")
    mixture = _noise(separator.chunk_samples)
    with torch.inference_mode():
        expected = resample_frac(network(resample_frac(mixture, 4, 1)), 1, 4).numpy()
    estimates = separator.estimate(mixture.numpy(), STEMS)
    for i, stem in enumerate(STEMS):
        middle = slice(separator.margin_samples, -separator.margin_samples)
        estimate, truth = estimates[stem][..., middle], expected[:, i, :, middle]
        assert np.square(estimate - truth).sum() < 1e-3 * np.square(truth).sum()


def test_the_saved_demucs_answers_what_the_trained_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = small_demucs().eval()
    save_demucs(network, tmp_path / "demucs.safetensors")
    separator = DemucsSeparator.load({"all": tmp_path / "demucs.safetensors"}, "cpu")
    assert separator.chunk_samples == 4 * int(SEGMENT_S * 11_025)
    mixture = _noise(separator.chunk_samples)
    with torch.inference_mode():
        expected = resample_frac(network(resample_frac(mixture, 4, 1)), 1, 4).numpy()
    np.testing.assert_allclose(separator.estimate(mixture.numpy(), ["bass"])["bass"], expected[:, 2], atol=1e-4)


def test_the_embedded_networks_are_as_small_as_they_are_said_to_be() -> None:
    def parameters(network: torch.nn.Module) -> float:
        return sum(p.numel() for p in network.parameters()) / 1e6

    assert parameters(small_demucs()) < 2
    assert parameters(broad_mdx()) < 2
    assert parameters(low_mdx()) < 2
    assert abs(parameters(SpleeterUNet()) - 9.82) < 0.02


def test_the_loss_is_zero_for_the_truth_alone() -> None:
    truth = torch.randn(1, 4, 2, 20_000, generator=torch.Generator().manual_seed(0))
    assert float(separation_loss(truth, truth)) == 0
    assert float(separation_loss(truth * 0.5, truth)) > 0.1

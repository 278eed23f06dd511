"""The fronts of the cascade: networks that hear every chunk at one level, and their weights in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spectacles_engine.devices import Placement
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.separators.spleeter import PARTS, SpleeterSeparator, SpleeterUNet, save_networks


class _Mask(nn.Module):
    """The same mask everywhere; what it was shown is kept."""

    def __init__(self, mask: float) -> None:
        super().__init__()
        self.mask, self.shown = mask, torch.zeros(0)

    def forward(self, magnitude: Tensor) -> Tensor:
        self.shown = magnitude
        return torch.full_like(magnitude, self.mask)


def _tone(frequency_hz: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    return np.stack([tone, 0.5 * tone])[None].astype(np.float32)


@pytest.mark.parametrize(("part", "share"), [("vocals", 0.6), ("accompaniment", 0.4)])
def test_vocals_are_what_one_network_takes_and_what_the_other_leaves(part: str, share: float) -> None:
    separator = SpleeterSeparator(_Mask(0.6), part, Placement("cpu", batch=1))
    middle = slice(SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ)
    known = separator.estimate(_tone(1000), ["vocals"])["vocals"]
    np.testing.assert_allclose(known[..., middle], share * _tone(1000)[..., middle], atol=1e-3)
    above = separator.estimate(_tone(15_000), ["vocals"])["vocals"]  # of which the networks know nothing
    np.testing.assert_allclose(above[..., middle], 0, atol=1e-3)
    assert separator.estimate(_tone(1000), ["drums"]) == {}


def test_a_song_is_heard_alike_however_loud_it_is_stored() -> None:
    network = _Mask(0.6)
    separator = SpleeterSeparator(network, "vocals", Placement("cpu", batch=2))
    shown = []
    for gain in (1.0, 0.01):
        loud_and_quiet = np.concatenate([gain * _tone(1000), 0.1 * gain * _tone(1000)])
        separator.estimate(loud_and_quiet, ["vocals"])
        torch.testing.assert_close(network.shown[0], network.shown[1], rtol=1e-3, atol=1e-3)  # each by itself
        shown.append(network.shown)
    torch.testing.assert_close(*shown, rtol=1e-3, atol=1e-3)
    filled_up = np.pad(_tone(1000), ((0, 0), (0, 0), (0, 6 * SAMPLE_RATE_HZ)))  # as at the end of a song
    separator.estimate(filled_up, ["vocals"])
    torch.testing.assert_close(network.shown[0, :, :100], shown[0][0, :, :100], rtol=1e-3, atol=1e-3)
    assert not separator.estimate(np.zeros((1, 2, SAMPLE_RATE_HZ), np.float32), ["vocals"])["vocals"].any()


def test_networks_come_back_from_8_bits_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = {part: SpleeterUNet().weights() for part in PARTS}
    networks["vocals"]["down.5.weight"][3, 4] = 0  # a kernel that is silent
    save_networks(networks, tmp_path / "spleeter.safetensors")
    assert (tmp_path / "spleeter.safetensors").stat().st_size < 23e6  # 79e6 as they are
    for part, stored in networks.items():
        separator = SpleeterSeparator.load({part: tmp_path / "spleeter.safetensors"}, "cpu")
        for name, value in separator._network.state_dict().items():
            if name in stored:
                error = (value - stored[name]).square().mean().sqrt()
                assert error <= 0.01 * stored[name].square().mean().sqrt(), name


def test_another_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no network")
    save_networks({"vocals": SpleeterUNet().weights()}, tmp_path / "half.safetensors")
    for name in ("text.safetensors", "half.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=f"^{name} could not be read as Spleeter's network for accompaniment$"):
            SpleeterSeparator.load({"accompaniment": tmp_path / name}, "cpu")

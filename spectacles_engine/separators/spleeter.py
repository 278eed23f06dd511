"""Spleeter's vocals: a U-Net on stereo magnitudes whose sigmoid mask is laid over the complex spectrogram.

Hennequin et al., "Spleeter: a fast and efficient music source separation tool with pre-trained models", JOSS 2020.
Only the vocals network is kept: mixture − vocals measures better than Spleeter's own accompaniment, at half the cost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError
from spectacles_engine.separators.devices import Placement
from spectacles_engine.spectrogram import Stft

STFT_HOP = 1024
BINS = 1024
"""Bins that the network sees: up to 11 kHz. Above them its estimate is silent."""
FRAMES = 512
CHANNELS = (2, 16, 32, 64, 128, 256, 512)

_STFT = Stft(n_fft=4096, stft_hop=STFT_HOP)
_GPU_BATCH = 4


class SpleeterUNet(nn.Module):
    """Six strided 5×5 convolutions down, six transposed ones up, skips between them (the paper's 2-stem network)."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(CHANNELS))
        self.down = nn.ModuleList(nn.Conv2d(low, high, 5, stride=2) for low, high in pairs)
        self.down_norm = nn.ModuleList(nn.BatchNorm2d(high, eps=1e-3) for _, high in pairs[:-1])
        # the first step up has no skip to take in; every later one has its input doubled by one
        ups = [(512, 256), (512, 128), (256, 64), (128, 32), (64, 16), (32, 1)]
        self.up = nn.ModuleList(nn.ConvTranspose2d(high, low, 5, stride=2) for high, low in ups)
        self.up_norm = nn.ModuleList(nn.BatchNorm2d(low, eps=1e-3) for _, low in ups)
        self.mask = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Magnitude (batch, 2, frames, bins) → mask within 0–1 of the same shape. Frames and bins: multiples of 64."""
        x, skips = magnitude, []
        for i, convolution in enumerate(self.down):
            x = convolution(pad(x, (1, 2, 1, 2)))  # TensorFlow's "same" at stride 2
            if i < len(self.down_norm):
                skips.append(x)
                x = leaky_relu(self.down_norm[i](x), 0.2)
        for i, (convolution, norm) in enumerate(zip(self.up, self.up_norm, strict=True)):
            x = x if i == 0 else torch.cat([skips.pop(), x], dim=1)
            x = norm(convolution(x)[:, :, 1:-2, 1:-2].relu())
        return torch.sigmoid(self.mask(x))


class SpleeterSeparator:
    """The front of a cascade: answers ``vocals`` alone."""

    name = "spleeter"
    stems = ("vocals",)
    chunk_samples = (FRAMES - 1) * STFT_HOP
    margin_samples = 0
    overlap = 0.1

    def __init__(self, network: nn.Module, placement: Placement) -> None:
        self._network = network.eval().requires_grad_(False)
        self.placement = placement

    @classmethod
    def load(cls, files: Mapping[str, Path], device: str) -> SpleeterSeparator:
        """Reads the vocals network, ``{"vocals": file}``, from safetensors (any float type)."""
        network = SpleeterUNet()
        try:
            weights = {key: value.float() for key, value in load_file(files["vocals"]).items()}
            network.load_state_dict(network.state_dict() | weights)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelError(f"{files['vocals'].name} could not be read as Spleeter's vocals") from error
        return cls(network, Placement(device, batch=_GPU_BATCH if device == "cuda" else 1))

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        """See ``Separator``: (b, 2, chunk_samples) -> {"vocals": (b, 2, chunk_samples)}."""
        return self.placement.run(self._run, mixture) if "vocals" in stems else {}

    @torch.inference_mode()
    def _run(self, mixture: Array, device: str) -> dict[str, Array]:
        vocals: Array = self.vocals(torch.tensor(mixture, device=device)).cpu().numpy()
        return {"vocals": vocals}

    def vocals(self, mixture: Tensor) -> Tensor:
        """Mixture (batch, 2, samples) -> its vocals, of the same shape; no longer than ``chunk_samples``."""
        spectrogram = _STFT.forward(mixture)
        frames = spectrogram.shape[-1]
        magnitude = pad(spectrogram[:, :, :BINS].abs(), (0, FRAMES - frames)).transpose(2, 3)
        # in float32 on a GPU too: it is cheap, and its magnitudes can pass what half precision holds
        mask = self._network.to(mixture.device)(magnitude).transpose(2, 3)[..., :frames]
        masked = pad(spectrogram[:, :, :BINS] * mask, (0, 0, 0, _STFT.bins - BINS))
        return _STFT.inverse(masked, mixture.shape[-1])

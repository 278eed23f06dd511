"""Spleeter's vocals: a U-Net on stereo magnitudes, with a sigmoid mask for the complex spectrogram.

Hennequin et al., "Spleeter: a fast and efficient music source separation tool with pre-trained models", JOSS 2020.
There are two: one answers the vocals, the other the accompaniment, and vocals are what it leaves of the mixture. Where
the paper takes the ratio of both, here they are two base models, as they fail in different ways: on six real songs
their mean is 0.1 to 0.9 dB above the first alone, and no worse than a ratio.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from spectacles_engine.chunking import Array
from spectacles_engine.devices import Placement
from spectacles_engine.errors import ModelError
from spectacles_engine.spectrogram import Stft

STFT_HOP = 1024
BINS = 1024
"""Bins that the network sees: up to 11 kHz. Above them its estimate is silent."""
FRAMES = 512
CHANNELS = (2, 16, 32, 64, 128, 256, 512)

LEVEL = 0.13
"""RMS at which the networks hear every chunk. On six real songs half of it costs 0.4 dB, nearly three times it 1 dB."""
PARTS = ("vocals", "accompaniment")
"""What there is a network for."""

_STFT = Stft(n_fft=4096, stft_hop=STFT_HOP)
_SCALE = ".scale"
_LARGE = 200_000
"""A layer of so many values is stored in 8 bits: these few layers hold nearly all of them."""


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

    def weights(self) -> dict[str, Tensor]:
        """What is stored: all that was learned. Nothing reads how many batches the normalisation has seen."""
        return {name: value for name, value in self.state_dict().items() if not name.endswith("num_batches_tracked")}


class SpleeterSeparator:
    """A front of a cascade: one of the networks, and ``vocals`` alone as the answer."""

    stems = ("vocals",)
    chunk_samples = (FRAMES - 1) * STFT_HOP
    margin_samples = 0
    overlap = 0.1

    def __init__(self, network: nn.Module, part: str, placement: Placement) -> None:
        """``part``: which of ``PARTS`` the network answers."""
        self._network, self._part, self.placement = network.eval().requires_grad_(False), part, placement

    @classmethod
    def load(cls, files: Mapping[str, Path], device: str) -> SpleeterSeparator:
        """Reads ``{part: file}``, one of the networks that ``save_networks`` wrote; raises ModelError."""
        ((part, path),) = files.items()
        try:
            network = _load_network(path, part)
        except (SafetensorError, OSError, RuntimeError, KeyError) as error:
            raise ModelError(f"{path.name} could not be read as Spleeter's network for {part}") from error
        return cls(network, part, Placement.on(device))

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
        gain = (LEVEL / _level(mixture))[:, None, None, None]
        magnitude = pad(spectrogram[:, :, :BINS].abs() * gain, (0, FRAMES - frames)).transpose(2, 3)
        # in float32 on a GPU too: it is cheap, and its magnitudes can pass what half precision holds
        mask = self._network.to(mixture.device)(magnitude).transpose(2, 3)[..., :frames]
        if self._part == "accompaniment":
            mask = 1 - mask
        masked = pad(spectrogram[:, :, :BINS] * mask, (0, 0, 0, _STFT.bins - BINS))
        return _STFT.inverse(masked, mixture.shape[-1])


def save_networks(networks: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    """Writes the weights of ``PARTS``: large layers in 8 bits, a scale for each 5×5 kernel beside them, the rest in 16.

    The difference that this makes is 42 dB and more below the output.
    """
    stored = {}
    for part, state in networks.items():
        for name, values in state.items():
            if values.numel() >= _LARGE:
                scale = (values.abs().amax(dim=(2, 3), keepdim=True) / 127).clamp(min=1e-7).half()
                stored[f"{part}.{name}{_SCALE}"] = scale
                stored[f"{part}.{name}"] = (values / scale.float()).round().clamp(-127, 127).to(torch.int8)
            else:
                stored[f"{part}.{name}"] = values.half()
    path.write_bytes(save(stored))


def _level(mixture: Tensor) -> Tensor:
    """RMS of each example, (batch), over what is not silent: what fills the last chunk of a song up does not count."""
    sounding = (mixture != 0).any(dim=1).sum(dim=1).clamp(min=1)
    return (mixture.square().mean(dim=1).sum(dim=1) / sounding).sqrt().clamp(min=1e-6)


def _load_network(path: Path, part: str) -> SpleeterUNet:
    """Reads no more of the file than what belongs to this network."""
    network, prefix = SpleeterUNet(), f"{part}."
    with safe_open(path, framework="pt") as file:
        own = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        stored = {key.removeprefix(prefix): file.get_tensor(key) for key in own}
    weights = {name: stored[name].float() * stored.get(f"{name}{_SCALE}", 1) for name in network.weights()}
    network.load_state_dict(weights)
    return network

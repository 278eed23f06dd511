"""The StemMixer: for every time-frequency bin of a stem, how much to trust which base model.

``output = α·Demucs + (1−α)·MDX``, where a small network reads α off the magnitudes of both estimates. As in the
SpecTacles paper: input (batch, 4, bins, frames) = left/right magnitudes of both, an MLP over the channel axis
4 → 32 → 16 → 2, BatchNorm and ReLU after the first two, a sigmoid at the end. For N models the input has 2N channels
and the output 2(N−1), the last model's logit is 0, and a softmax over the N of them takes the sigmoid's place; with
two models that is the very same function, since softmax([z, 0]) = [sigmoid(z), 1 − sigmoid(z)].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError
from spectacles_engine.separators.devices import Placement
from spectacles_engine.spectrogram import Stft

STFT = Stft(n_fft=4096, stft_hop=1024)
HIDDEN = (32, 16)
SLICE_BINS = 32


class StemMixer(nn.Module):
    """The network for one stem and ``models`` base models (two or more).

    The paper's sees magnitudes alone. With ``knows_frequency`` it sees their logarithms, and where on the
    axis a bin is.
    """

    def __init__(self, models: int = 2, *, knows_frequency: bool = False) -> None:
        super().__init__()
        widths = (2 * models + knows_frequency, *HIDDEN, 2 * (models - 1))
        layers: list[nn.Module] = []
        for width_in, width_out in zip(widths[:-2], widths[1:-1], strict=True):
            layers += [nn.Conv2d(width_in, width_out, 1), nn.BatchNorm2d(width_out), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Conv2d(widths[-2], widths[-1], 1))
        self.models, self.knows_frequency = models, knows_frequency

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Magnitudes (batch, models, 2, bins, frames) → weights of the same shape, which sum to 1 over the models."""
        seen = magnitudes.flatten(1, 2)
        if self.knows_frequency:
            seen = torch.cat([(seen + 1e-3).log(), _octaves(seen)], dim=1)
        # bins don't see each other; without gradients a few at a time stay in the processor's cache: five times as fast
        slices = (seen,) if torch.is_grad_enabled() else torch.split(seen, SLICE_BINS, dim=-2)
        logits = torch.cat([self.mlp(part) for part in slices], dim=-2)
        logits = logits.reshape(-1, self.models - 1, 2, *logits.shape[2:])
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1).softmax(dim=1)


def blend_magnitudes(weights: Tensor, spectrograms: Tensor) -> Tensor:
    """The paper's blend: Σ weight · magnitude, with the phase of the first model (Demucs).

    Both (batch, models, 2, bins, frames) → complex (batch, 2, bins, frames).
    """
    magnitude = (weights * spectrograms.abs()).sum(dim=1)
    return torch.polar(magnitude, spectrograms[:, 0].angle())


def blend_spectrograms(weights: Tensor, spectrograms: Tensor) -> Tensor:
    """Σ weight · complex spectrogram: each model brings its own phase. Shapes as in ``blend_magnitudes``."""
    return (weights * spectrograms).sum(dim=1)


LAWS = {"magnitudes": blend_magnitudes, "spectrograms": blend_spectrograms}


class Mixer(Protocol):
    """Makes one stem of what several base models said. ``models``: to whom it listens for each stem, in order."""

    @property
    def models(self) -> Mapping[str, tuple[str, ...]]: ...

    def blend(self, stem: str, estimates: Array) -> Array:
        """Estimates (batch, models, 2, samples) → the stem (batch, 2, samples)."""


@dataclass(frozen=True)
class FixedShares:
    """A blend that is the same for every bin: an average, KUIELab's published shares, or one model alone.

    ``shares``: stem → model → share; the shares of a stem sum to 1.
    """

    shares: Mapping[str, Mapping[str, float]]

    @property
    def models(self) -> Mapping[str, tuple[str, ...]]:
        """See ``Mixer``."""
        return {stem: tuple(models) for stem, models in self.shares.items()}

    def blend(self, stem: str, estimates: Array) -> Array:
        """See ``Mixer``."""
        weights = np.array(list(self.shares[stem].values()), np.float32)
        mixed: Array = np.einsum("bmcn,m->bcn", estimates, weights)
        return mixed


@dataclass(frozen=True)
class StemMixers:
    """One StemMixer a stem, the names of the models that each listens to (in order), and how they are blended."""

    networks: Mapping[str, StemMixer]
    models: Mapping[str, tuple[str, ...]]
    law: str
    placement: Placement = field(default_factory=lambda: Placement("cpu", batch=1))

    def blend(self, stem: str, estimates: Array) -> Array:
        """See ``Mixer``: (batch, models, 2, samples) → (batch, 2, samples)."""
        return self.placement.run(lambda part, device: {stem: self._blend(stem, part, device)}, estimates)[stem]

    @torch.inference_mode()
    def _blend(self, stem: str, estimates: Array, device: str) -> Array:
        spectrograms = STFT.forward(torch.tensor(estimates, device=device))
        weights = self.networks[stem].to(device)(spectrograms.abs())
        stems: Array = STFT.inverse(LAWS[self.law](weights, spectrograms), estimates.shape[-1]).cpu().numpy()
        return stems

    def save(self, path: Path) -> None:
        """Writes all networks into one safetensors file; the rest goes into its metadata."""
        tensors = {
            f"{stem}.{key}": value.contiguous()
            for stem, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        shown = next(iter(self.networks.values())).knows_frequency
        metadata = {"models": json.dumps(self.models), "law": self.law, "knows_frequency": json.dumps(shown)}
        save_file(tensors, path, metadata)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> StemMixers:
        """The inverse of ``save``; raises ModelError where the file is none of ours."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            models = {stem: tuple(names) for stem, names in json.loads(metadata["models"]).items()}
            networks = {
                stem: StemMixer(len(names), knows_frequency=json.loads(metadata["knows_frequency"]))
                for stem, names in models.items()
            }
            for stem, network in networks.items():
                network.load_state_dict({key.removeprefix(f"{stem}."): t for key, t in tensors.items() if stem in key})
                network.eval().requires_grad_(False)
            return cls(
                networks, models, next(law for law in LAWS if law == metadata["law"]), Placement(device, batch=1)
            )
        except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError, StopIteration) as error:
            raise ModelError(f"{path.name} could not be read as StemMixers") from error


def _octaves(like: Tensor) -> Tensor:
    """Octaves above the lowest bin, scaled to 0–1, for every bin and frame: (batch, 1, bins, frames)."""
    bins = like.shape[-2]
    octaves = torch.arange(1, bins + 1, device=like.device).log2() / torch.tensor(float(bins)).log2()
    return octaves[None, None, :, None].expand(like.shape[0], 1, -1, like.shape[-1])

"""The StemMixer: for every time-frequency bin of a stem, how much to trust which base model.

``output = α·Demucs + (1−α)·MDX``, where a small network reads α off the magnitudes of both estimates. As in the
SpecTacles paper: input (batch, 4, bins, frames) = left/right magnitudes of both, an MLP over the channel axis
4 → 32 → 16 → 2, BatchNorm and ReLU after the first two, a sigmoid at the end. For N models the input has 2N channels
and the output 2(N−1), the last model's logit is 0, and a softmax over the N of them takes the sigmoid's place; with
two models that is the very same function, since softmax([z, 0]) = [sigmoid(z), 1 − sigmoid(z)].

A ``Design`` sets its descendants apart from the paper's: what they see, and how they blend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor, nn

from spectacles_engine.spectrogram import Stft

N_FFT = 4096
SLICE_BINS = 128
"""So many bins are blended at once, see ``StemMixer.blend``."""
REACH = 2
"""How many frames and bins to each side a StemMixer with ``context`` looks."""
UNHEARD = 1e-3
"""A magnitude that is less than this share of another model's has no phase to go by."""
FAINT = 1e-3
"""Magnitude below which logarithms make no difference."""
SCENE = 5
"""How much else is heard with ``hears_all``: the mixture, what no estimate of it explains, the three other stems."""


def magnitudes(spectrograms: Tensor) -> Tensor:
    """The paper's law blends magnitudes, with the phase of the first model (Demucs).

    Where that one has nothing to say, above the frequencies that it knows, it has no phase: the next one's is taken.
    """
    leading, *others = torch.split(spectrograms, 1, dim=1)
    for other in others:
        leading = torch.where(leading.abs() < UNHEARD * other.abs(), other, leading)
    return torch.polar(spectrograms.abs(), leading.angle().expand(spectrograms.shape))


def spectrograms(spectrograms: Tensor) -> Tensor:
    """Each model brings its own phase."""
    return spectrograms


LAWS: dict[str, Callable[[Tensor], Tensor]] = {"magnitudes": magnitudes, "spectrograms": spectrograms}
"""Complex (batch, models, 2, bins, frames) → what of it is weighted and summed over the models, of the same shape."""


@dataclass(frozen=True)
class Design:
    """What a StemMixer sees, and how it blends; by default the paper's.

    The paper's sees magnitudes of the stem's estimates; with anything more a design sees logarithms of magnitudes.

    ``law``: one of ``LAWS``. ``hidden``: channels of the hidden layers. What it sees beside the stem's estimates:
    ``knows_frequency``: where on the axis a bin is. ``context``: the mean loudness of everything over a few frames
    and bins around, and how far the first two models differ there. ``hears_all``: the mixture, what no estimate of it
    explains, and the other stems, each as its models' average. ``stft_hop``: samples from frame to frame.
    """

    law: str = "magnitudes"
    knows_frequency: bool = False
    context: bool = False
    hears_all: bool = False
    hidden: tuple[int, ...] = (32, 16)
    stft_hop: int = 1024

    def __post_init__(self) -> None:
        """Raises ValueError for a law that there is not, or frames that no waveform can be made of."""
        if self.law not in LAWS:
            raise ValueError(f"there is no law {self.law!r}")
        if not 1 <= self.stft_hop <= N_FFT // 2:
            raise ValueError(f"frames of {N_FFT} samples cannot be {self.stft_hop} apart")

    @property
    def stft(self) -> Stft:
        """The spectrograms that it sees and blends."""
        return Stft(N_FFT, self.stft_hop)

    @property
    def plain(self) -> bool:
        """Whether magnitudes are all that is seen."""
        return not (self.knows_frequency or self.context or self.hears_all)

    def clues(self, own: Tensor, scene: Tensor, first_bin: int, bins: int) -> Tensor:
        """What the network sees, real (batch, clues, bins, frames).

        ``own``: complex (batch, models, 2, bins, frames), the stem's estimates; ``scene``: the same of all else that is
        heard, or of nothing. ``first_bin``, ``bins``: where in the whole spectrogram the first of these lies.
        """
        if self.plain:
            return own.abs().flatten(1, 2)
        heard = _joined([own, scene], dim=1)
        energies = _energies(heard)
        seen = [_loudness(energies)]
        if self.context:
            apart = _energies(own[:, :1] - own[:, 1:2])
            seen.append(_loudness(_around(_joined([energies, apart], dim=1))))
        if self.knows_frequency:
            seen.append(_octaves(seen[0][:, :1], first_bin, bins))
        return _joined(seen, dim=1)

    def clue_count(self, models: int) -> int:
        """Length of the second axis of ``clues``."""
        heard = models + SCENE * self.hears_all
        return 2 * (heard + (heard + 1) * self.context) + self.knows_frequency


PAPER = Design()


class StemMixer(nn.Module):
    """The network for one stem and ``models`` base models (two or more)."""

    def __init__(self, models: int = 2, design: Design = PAPER) -> None:
        super().__init__()
        self.models, self.design = models, design
        widths = (design.clue_count(models), *design.hidden, 2 * (models - 1))
        layers: list[nn.Module] = [] if design.plain else [nn.BatchNorm2d(widths[0])]
        for width_in, width_out in pairwise(widths[:-1]):
            layers += [nn.Conv2d(width_in, width_out, 1), nn.BatchNorm2d(width_out), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Conv2d(widths[-2], widths[-1], 1))

    def forward(self, clues: Tensor) -> Tensor:
        """Clues (batch, clues, bins, frames), see ``Design`` → weights (batch, models, 2, …), 1 over all models."""
        return self._weights(self.mlp(clues))

    def blend(self, own: Tensor, scene: Tensor) -> Tensor:
        """What is heard, see ``Design.clues``, of all bins → the stem, complex (batch, 2, bins, frames).

        A few bins at a time, which stay in the processor's cache: all at once takes half as long again. In mode
        ``eval`` only.
        """
        bins, steps, parts = own.shape[-2], self._steps(), []
        for low in range(0, bins, SLICE_BINS):
            high, before = min(bins, low + SLICE_BINS), max(0, low - REACH)
            near = slice(before, high + REACH)
            clues = self.design.clues(own[..., near, :], scene[..., near, :], before, bins).mT
            said = clues.flatten(2)
            for i, (matrix, bias) in enumerate(steps):
                said = (matrix @ (said.relu_() if i else said)).add_(bias)
            weights = self._weights(said.reshape(len(said), -1, *clues.shape[2:]).mT)
            blended = weights[..., low - before : high - before, :] * LAWS[self.design.law](own[..., low:high, :])
            parts.append(blended.sum(dim=1))
        return _joined(parts, dim=-2)

    def _weights(self, logits: Tensor) -> Tensor:
        """(batch, 2 (models − 1), …) → (batch, models, 2, …)."""
        logits = logits.reshape(len(logits), self.models - 1, 2, *logits.shape[2:])
        return _joined([logits, torch.zeros_like(logits[:, :1])], dim=1).softmax(dim=1)

    def _steps(self) -> list[tuple[Tensor, Tensor]]:
        """What lies between ReLUs, as matrix (out, in) and bias (out, 1): they take half the time of those layers.

        In mode ``eval`` all of it is affine: what it makes of unit vectors and of zero says what it is.
        """
        steps: list[tuple[Tensor, Tensor]] = []
        width = self.design.clue_count(self.models)
        for is_relu, layers in groupby(self.mlp, lambda layer: isinstance(layer, nn.ReLU)):
            if not is_relu:
                points = torch.eye(width + 1, width, device=next(self.parameters()).device)  # the last one is zero
                *units, zero = nn.Sequential(*layers)(points[..., None, None]).flatten(1)
                steps.append((torch.stack(units, dim=1) - zero[:, None], zero[:, None]))
                width = len(zero)
        return steps


def _energies(spectrograms: Tensor) -> Tensor:
    """Squares of the magnitudes, without the root that ``abs`` takes."""
    real, imaginary = torch.view_as_real(spectrograms).unbind(dim=-1)
    return torch.addcmul(real.square(), imaginary, imaginary)


def _loudness(energies: Tensor) -> Tensor:
    """(batch, n, 2, …) → (batch, 2 n, …), the logarithms of magnitudes whose squares these are."""
    return (energies + FAINT**2).log_().mul_(0.5).flatten(1, 2)


def _around(energies: Tensor) -> Tensor:
    """The mean over the neighbours of every bin and frame; at the edges the last one counts for those that lack."""
    for axis in (-1, -2):
        length = energies.shape[axis]
        first, last = energies.narrow(axis, 0, 1), energies.narrow(axis, length - 1, 1)
        padded = _joined([first] * REACH + [energies] + [last] * REACH, dim=axis)
        energies = padded.narrow(axis, 0, length).clone()
        for k in range(1, 2 * REACH + 1):
            energies += padded.narrow(axis, k, length)
    return energies.div_((2 * REACH + 1) ** 2)


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """``torch.cat`` that leaves frames one after the other in memory, as an STFT lays them; it would transpose them."""
    axis = {-1: -2, -2: -1}.get(dim, dim)
    return torch.cat([part.mT for part in parts], dim=axis).mT


def _octaves(like: Tensor, first_bin: int, bins: int) -> Tensor:
    """Octaves above the lowest bin, scaled to 0–1, for every bin and frame: (batch, 1, bins, frames)."""
    number = torch.arange(first_bin + 1, first_bin + 1 + like.shape[-2], device=like.device)
    return (number.log2() / torch.tensor(float(bins)).log2())[None, None, :, None].expand(like.shape)

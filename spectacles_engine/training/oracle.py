"""The ceiling of every mixer: the weights that a mixer would choose if it knew the references.

For every bin, the weights in [0, 1] that sum to 1 and come nearest to the reference under a law of blending. For two
models that is one division: with output = B + α (A − B), the best α is Re((A − B)* (R − B)) / |A − B|², held in [0, 1].
For more, weight is moved between two models at a time in that very way until nothing is gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from spectacles_engine.chunking import Array
from spectacles_engine.messages import STEMS
from spectacles_engine.stem_mixer import LAWS, Design

SWEEPS = 2
"""With three models and with five this is less than 0.001 dB from where it ends."""


@dataclass(frozen=True)
class Oracle:
    """Blends with the best weights that there are under a design's law, in its frames."""

    design: Design

    @torch.inference_mode()
    def blend(self, chunks: Array, names: Sequence[tuple[str, str]]) -> Array:
        """(batch, 1 + estimate + stem, 2, samples), the mixture, the estimates, the references → (batch, stem, …)."""
        stems, stft = [], self.design.stft
        for i, stem in enumerate(STEMS):
            own = [1 + k for k, (owner, _) in enumerate(names) if owner == stem]
            estimates, reference = torch.tensor(chunks[:, own]), torch.tensor(chunks[:, 1 + len(names) + i])
            voices = LAWS[self.design.law](stft.forward(estimates))
            weights = best_weights(voices, stft.forward(reference))
            stems.append(stft.inverse((weights * voices).sum(dim=1), chunks.shape[-1]).numpy())
        return np.stack(stems, axis=1)


def best_weights(voices: Tensor, reference: Tensor) -> Tensor:
    """Complex (batch, models, 2, bins, frames) and (batch, 2, bins, frames) → weights of the shape of ``voices``."""
    models = voices.shape[1]
    said = voices.unbind(dim=1)
    weights = [torch.full(reference.shape, 1 / models, device=reference.device) for _ in said]
    # of the products of all with all, and with what is left of the reference, nothing else is needed
    products = [[(one.conj() * two).real for two in said] for one in said]
    error = reference - voices.mean(dim=1)
    left = [(one.conj() * error).real for one in said]
    for _ in range(SWEEPS if models > 2 else 1):
        for one, two in combinations(range(models), 2):
            apart = products[one][one] + products[two][two] - 2 * products[one][two]
            wanted = (left[one] - left[two]) / (apart + 1e-12)
            moved = torch.maximum(torch.minimum(wanted, weights[two]), -weights[one])
            weights[one] += moved
            weights[two] -= moved
            for row, product in zip(left, products, strict=True):
                row -= moved * (product[one] - product[two])
    return torch.stack(weights, dim=1)

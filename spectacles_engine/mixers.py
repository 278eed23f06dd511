"""Mixers: how the stems are made of what several base models said.

Fixed shares, a linear layer, StemMixers, or the mean of several mixers. ``mixer_files`` stores those that are trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from spectacles_engine.chunking import Array
from spectacles_engine.devices import Placement
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.stem_mixer import Design, StemMixer

Names = tuple[tuple[str, str], ...]
"""(stem, model) of estimates, in order."""


class Mixer(Protocol):
    """Makes stems of what several base models said of a song."""

    @property
    def stems(self) -> Collection[str]:
        """What it can make."""

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where its networks run, if it has any."""

    def names(self, stems: Collection[str]) -> Names:
        """Every estimate that it must be given to make these stems."""

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """(batch, 1 + estimate, 2, samples), the mixture and what ``names`` asks for → (batch, stem, 2, samples)."""


@dataclass(frozen=True)
class FixedShares:
    """A blend that is the same in every song: an average, KUIELab's published shares, or one model alone.

    ``shares``: stem → model → share; the shares of a stem sum to 1. ``up_to_hz``: of the models that know the lower
    frequencies only, up to which; above, the others share what is theirs.
    """

    shares: Mapping[str, Mapping[str, float]]
    up_to_hz: Mapping[str, float] = field(default_factory=dict)

    placements: ClassVar[tuple[Placement, ...]] = ()

    @property
    def stems(self) -> Collection[str]:
        """See ``Mixer``."""
        return self.shares.keys()

    def names(self, stems: Collection[str]) -> Names:
        """See ``Mixer``."""
        return tuple((stem, model) for stem in STEMS if stem in stems for model in self.shares[stem])

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """See ``Mixer``."""
        edges_hz, weights = self.by_band(stems)
        return _in_bands(heard[:, 1:], weights, edges_hz)

    def by_band(self, stems: Sequence[str]) -> tuple[list[float], Array]:
        """Where the bands meet, and the weights of the estimates in each, (band, stem, 2, estimate, 2)."""
        names = self.names(stems)
        edges_hz = sorted({self.up_to_hz[model] for _, model in names if model in self.up_to_hz})
        weights = np.zeros((len(edges_hz) + 1, len(stems), len(names)), np.float32)
        for band, low_hz in enumerate([0.0, *edges_hz]):
            known = [(s, m) for s, m in names if self.up_to_hz.get(m, np.inf) > low_hz]
            for stem, model in known:
                whole = sum(self.shares[stem][other] for owner, other in known if owner == stem)
                if whole:
                    weights[band, stems.index(stem), names.index((stem, model))] = self.shares[stem][model] / whole
        return edges_hz, np.einsum("ksm,cd->kscmd", weights, np.eye(2, dtype=np.float32))


@dataclass(frozen=True)
class LinearMixer:
    """KUIELab's mixer (Kim et al. 2021): one linear layer without bias over the mixture and all estimates, in stereo.

    ``weights``: (band, stem, 2, 1 + estimate, 2), from each channel of what is heard to each channel of a stem;
    ``heard_names``: the estimates, as ``names`` gives them. ``edges_hz``: where the bands of frequencies meet that have
    weights of their own; KUIELab's has one for all, and no edges.
    """

    weights: Array
    heard_names: Names
    edges_hz: tuple[float, ...] = ()

    stems: ClassVar[Collection[str]] = STEMS
    placements: ClassVar[tuple[Placement, ...]] = ()

    def names(self, stems: Collection[str]) -> Names:
        """See ``Mixer``."""
        return self.heard_names

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """See ``Mixer``."""
        return _in_bands(heard, self.weights[:, [STEMS.index(stem) for stem in stems]], self.edges_hz)


def _in_bands(heard: Array, weights: Array, edges_hz: Sequence[float]) -> Array:
    """(batch, heard, 2, samples) by (band, stem, 2, heard, 2) → (batch, stem, 2, samples)."""
    count, stems, channels = weights.shape[:3]
    matrices = torch.from_numpy(weights).reshape(count, stems * channels, -1)
    sources = torch.from_numpy(heard).flatten(1, 2)
    if edges_hz:
        parts = [matrix @ part for matrix, part in zip(matrices, bands(sources, edges_hz), strict=True)]
        spectra = torch.cat(parts, dim=-1).view(torch.complex64)
        mixed = torch.fft.irfft(spectra, heard.shape[-1])
    else:
        mixed = matrices[0] @ sources
    shaped: Array = mixed.reshape(-1, stems, channels, heard.shape[-1]).numpy()
    return shaped


def bands(waveforms: Tensor, edges_hz: Sequence[float]) -> tuple[Tensor, ...]:
    """(…, samples) → the spectra of all of it, cut where bands meet: (…, real and imaginary parts in turn)."""
    spectra = torch.view_as_real(torch.fft.rfft(waveforms)).flatten(-2)
    cuts = [2 * round(edge_hz / SAMPLE_RATE_HZ * waveforms.shape[-1]) for edge_hz in edges_hz]
    return spectra.tensor_split(cuts, dim=-1)


@dataclass(frozen=True)
class StemMixers:
    """One StemMixer a stem, all of one design, and the names of the models that each blends (in order).

    There may be none for some stems: then it is for a mean with mixers that make these.
    """

    networks: Mapping[str, StemMixer]
    models: Mapping[str, tuple[str, ...]]
    placement: Placement = field(default_factory=lambda: Placement("cpu", batch=1))

    @property
    def design(self) -> Design:
        """What all of them have in common."""
        return next(iter(self.networks.values())).design

    @property
    def stems(self) -> Collection[str]:
        """See ``Mixer``."""
        return self.networks.keys()

    @property
    def placements(self) -> tuple[Placement, ...]:
        """See ``Mixer``."""
        return (self.placement,)

    def names(self, stems: Collection[str]) -> Names:
        """See ``Mixer``."""
        heard = self.models if self.design.hears_all else set(stems) & self.networks.keys()
        return tuple((stem, model) for stem in STEMS if stem in heard for model in self.models[stem])

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """See ``Mixer``."""
        mixed = self.placement.run(lambda part, device: self._blend(part, stems, device), heard)
        return np.stack([mixed[stem] for stem in stems], axis=1)

    @torch.inference_mode()
    def _blend(self, heard: Array, stems: Sequence[str], device: str) -> dict[str, Array]:
        parts, blended = Heard(torch.from_numpy(heard).to(device), self.names(stems), self.design), {}
        for stem in stems:
            spectrogram = self.networks[stem].to(device).blend(*parts.of_stem(stem))
            blended[stem] = self.design.stft.inverse(spectrogram, heard.shape[-1]).cpu().numpy()
        return blended


@dataclass(frozen=True)
class MeanMixer:
    """Each stem is the mean of what those mixers make of it that can: errors of different kinds are halved."""

    mixers: tuple[Mixer, ...]

    @property
    def stems(self) -> Collection[str]:
        """See ``Mixer``."""
        return {stem for mixer in self.mixers for stem in mixer.stems}

    @property
    def placements(self) -> tuple[Placement, ...]:
        """See ``Mixer``."""
        return tuple(placement for mixer in self.mixers for placement in mixer.placements)

    def names(self, stems: Collection[str]) -> Names:
        """See ``Mixer``."""
        heard = dict.fromkeys(name for mixer, own in self._able(stems) for name in mixer.names(own))
        return tuple(sorted(heard, key=lambda name: STEMS.index(name[0])))

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """See ``Mixer``."""
        names = self.names(stems)
        said: dict[str, list[Array]] = {stem: [] for stem in stems}
        for mixer, own in self._able(stems):
            rows = [0, *(1 + names.index(name) for name in mixer.names(own))]
            for stem, part in zip(own, mixer.blend(heard[:, rows], own).swapaxes(0, 1), strict=True):
                said[stem].append(part)
        return np.stack([np.mean(parts, axis=0) for parts in said.values()], axis=1)

    def _able(self, stems: Collection[str]) -> list[tuple[Mixer, list[str]]]:
        """The mixers that can make any of these, and which."""
        able = [(mixer, [stem for stem in stems if stem in mixer.stems]) for mixer in self.mixers]
        return [(mixer, own) for mixer, own in able if own]


class Heard:
    """A mixture and its estimates, (batch, 1 + estimate, 2, samples), as spectrograms of one stem after the other.

    One at a time they stay in the processor's cache, and take half the time.
    """

    def __init__(self, waveforms: Tensor, names: Names, design: Design) -> None:
        self._stft = design.stft
        counts = Counter(stem for stem, _ in names)
        self._estimates = dict(zip(counts, torch.split(waveforms[:, 1:], [*counts.values()], dim=1), strict=True))
        self._averages: dict[str, Tensor] = {}
        if design.hears_all:
            self._averages = {stem: self._stft.forward(own.mean(dim=1)) for stem, own in self._estimates.items()}
            self._mixture = self._stft.forward(waveforms[:, 0])
            self._residual = self._mixture - sum(self._averages.values())

    def of_stem(self, stem: str) -> tuple[Tensor, Tensor]:
        """The stem's estimates, and the scene around them: see ``Design.clues``."""
        own = self._stft.forward(self._estimates[stem])
        others = [average for other, average in self._averages.items() if other != stem]
        scene = torch.stack([self._mixture, self._residual, *others], dim=1) if others else own[:, :0]
        return own, scene


def require_models(mixer: Mixer, names: Names, what: str) -> None:
    """Raises ModelError for a mixer of other estimates than these, or of too few stems.

    ``what`` is how a person knows it.

    One that was trained listened to all that there were: fewer are those of another preset, with models of that name.
    """
    if lacking := [stem for stem in STEMS if stem not in mixer.stems]:
        raise ModelError(f"{what} makes no {' and no '.join(lacking)}: it is part of a mean with others")
    heard, said = set(mixer.names(STEMS)), set(names)
    if not (heard <= said if isinstance(mixer, FixedShares) else heard == said):
        theirs, ours = (", ".join(sorted({model for _, model in each})) for each in (heard, said))
        raise ModelError(f"{what} is for estimates of other models: {theirs} in place of {ours}")

"""Mixers: how the stems are made of what several base models said.

Fixed shares, a linear layer, StemMixers, or the mean of several mixers. ``mixer_files`` stores those that are trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.separators.devices import Placement
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

    @property
    def stems(self) -> Collection[str]:
        """See ``Mixer``."""
        return self.shares.keys()

    @property
    def placements(self) -> tuple[Placement, ...]:
        """See ``Mixer``."""
        return ()

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

    @property
    def stems(self) -> Collection[str]:
        """See ``Mixer``."""
        return STEMS

    @property
    def placements(self) -> tuple[Placement, ...]:
        """See ``Mixer``."""
        return ()

    def names(self, stems: Collection[str]) -> Names:
        """See ``Mixer``."""
        return self.heard_names

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        """See ``Mixer``."""
        return _in_bands(heard, self.weights[:, [STEMS.index(stem) for stem in stems]], self.edges_hz)


def _in_bands(heard: Array, weights: Array, edges_hz: Sequence[float]) -> Array:
    """(batch, heard, 2, samples) by (band, stem, 2, heard, 2) → (batch, stem, 2, samples)."""
    if not edges_hz:
        mixed: Array = np.einsum("bmcn,sdmc->bsdn", heard, weights[0], optimize=True)
        return mixed
    samples = heard.shape[-1]
    parts = [
        np.einsum("bmcfi,sdmc->bsdfi", part, matrix, optimize=True)
        for part, matrix in zip(bands(heard, edges_hz), weights, strict=True)
    ]
    spectra = torch.view_as_complex(torch.from_numpy(np.concatenate(parts, axis=-2)))
    whole: Array = torch.fft.irfft(spectra, samples).numpy()
    return whole


def bands(waveforms: Array, edges_hz: Sequence[float]) -> list[Array]:
    """(…, samples) → the spectra of all of it, cut where the bands meet: (…, frequencies, real and imaginary part)."""
    spectra = torch.view_as_real(torch.fft.rfft(torch.from_numpy(waveforms))).numpy()
    cuts = [round(edge_hz / SAMPLE_RATE_HZ * waveforms.shape[-1]) for edge_hz in edges_hz]
    return np.split(spectra, cuts, axis=-2)


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
        stft = self.design.stft
        spectrograms = stft.forward(torch.tensor(heard, device=device))
        parts = Heard(spectrograms, self.names(stems), self.design)
        blended = {stem: self.networks[stem].to(device).blend(*parts.of_stem(stem)) for stem in stems}
        return {stem: stft.inverse(part, heard.shape[-1]).cpu().numpy() for stem, part in blended.items()}


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
    """The spectrograms of a mixture and its estimates, complex (batch, 1 + estimate, 2, bins, frames), by stem."""

    def __init__(self, spectrograms: Tensor, names: Names, design: Design) -> None:
        self._estimates = {
            stem: spectrograms[:, [1 + i for i, (owner, _) in enumerate(names) if owner == stem]]
            for stem in dict(names)
        }
        self._nothing = spectrograms[:, :0]
        self._averages: dict[str, Tensor] = {}
        if design.hears_all:
            self._averages = {stem: own.mean(dim=1) for stem, own in self._estimates.items()}
            self._mixture = spectrograms[:, 0]
            self._residual = self._mixture - sum(self._averages.values())

    def of_stem(self, stem: str) -> tuple[Tensor, Tensor]:
        """The stem's estimates, and the scene around them: see ``Design.clues``."""
        others = [average for other, average in self._averages.items() if other != stem]
        scene = torch.stack([self._mixture, self._residual, *others], dim=1) if others else self._nothing
        return self._estimates[stem], scene


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

"""The embedded networks, as they are trained. The engine itself loads what ``export`` writes.

Nearly all the energy of music lies low (of bass 99 % below 500 Hz, of drums some 80 %), and SDR weighs energy. So
Demucs works at a quarter of the sample rate, and a second MDX-Net, ``mdx-low``, looks at the lowest 2 kHz alone,
through a window twice as long: a step of their training costs half as much, and all of it is spent where it counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import torch
from demucs.htdemucs import HTDemucs
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.separators.demucs import load_demucs, save_demucs
from spectacles_engine.separators.mdx import from_channels, to_channels
from spectacles_engine.spectrogram import Stft

SEGMENT_S = 3.9
"""Length of a training excerpt, and of the chunks that the small Demucs is given: three fill one patch of Spleeter."""

LOW_RATE_HZ = SAMPLE_RATE_HZ // 4
"""Sample rate of the networks that know the low frequencies only."""

DEMUCS_ARGUMENTS: dict[str, Any] = {
    "sources": list(STEMS),
    "channels": 32,
    "depth": 3,
    "nfft": 2048,
    "t_layers": 2,
    "t_heads": 4,
    "segment": SEGMENT_S,
    "samplerate": LOW_RATE_HZ,
}
"""A Hybrid Transformer Demucs (Rouard et al., ICASSP 2023) with one level less, for up to 5 kHz: 1.8 M parameters."""

WIDTH = 32
"""Channels of an MDX-Net at its finest scale; each coarser one has so many more."""
SCALES = 3
"""So many times it halves the picture."""
CONVOLUTIONS = 3
"""In each of its blocks."""
BOTTLENECK = 8
"""So many times fewer numbers than frequencies pass between these."""


def small_demucs() -> HTDemucs:
    """The embedded Demucs, untrained."""
    network: HTDemucs = HTDemucs(**DEMUCS_ARGUMENTS)
    return network


class TfcTdfBlock(nn.Module):
    """Time-frequency convolutions, then a bottleneck over all frequencies of a frame (Choi et al., ISMIR 2020)."""

    def __init__(self, channels_in: int, channels: int, bins: int) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * (CONVOLUTIONS - 1)
        self.tfc = nn.Sequential(*(_normed(nn.Conv2d(c, channels, 3, padding=1, bias=False), channels) for c in inputs))
        self.tdf = nn.Sequential(
            _normed(nn.Linear(bins, bins // BOTTLENECK, bias=False), channels),
            _normed(nn.Linear(bins // BOTTLENECK, bins, bias=False), channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.tfc(x)
        mixed: Tensor = self.tdf(convolved)
        return convolved + mixed


class TfcTdfNet(nn.Module):
    """A U-Net of TFC-TDF blocks that answers one complex mask a stem (KUIELab-MDX-Net, Kim et al. 2021, made small).

    Every ``fold`` neighbouring bins become channels, so that convolutions run on a part of the picture.
    """

    def __init__(self, bins: int, fold: int) -> None:
        super().__init__()
        self.bins, self.fold = bins, fold
        widths = [WIDTH * (i + 1) for i in range(SCALES + 1)]
        folded = bins // fold
        self.first = nn.Conv2d(4 * fold, WIDTH, 1)
        self.encoders = nn.ModuleList(TfcTdfBlock(w, w, folded >> i) for i, w in enumerate(widths[:-1]))
        self.downs = nn.ModuleList(
            _normed(nn.Conv2d(low, high, 2, stride=2, bias=False), high) for low, high in pairwise(widths)
        )
        self.middle = TfcTdfBlock(widths[-1], widths[-1], folded >> SCALES)
        self.ups = nn.ModuleList(
            _normed(nn.ConvTranspose2d(high, low, 2, stride=2, bias=False), low) for low, high in pairwise(widths)
        )
        self.decoders = nn.ModuleList(TfcTdfBlock(2 * w, w, folded >> i) for i, w in enumerate(widths[:-1]))
        self.last = nn.Conv2d(WIDTH + 4 * fold, 4 * len(STEMS) * fold, 1)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Spectrum (batch, 4, bins, frames) = [L re, L im, R re, R im] → (batch, 4 · stems, bins, frames)."""
        batch, channels, bins, frames = spectrum.shape
        scale = spectrum.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-5
        x = (spectrum / scale).reshape(batch, channels, bins // self.fold, self.fold, frames)
        # frequency last: the TDF's linear layers run over it
        x = x.permute(0, 1, 3, 4, 2).reshape(batch, channels * self.fold, frames, bins // self.fold)
        folded, skips = x, []
        x = self.first(x)
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            x = decoder(torch.cat([up(x), skips.pop()], dim=1))
        mask = self.last(torch.cat([x, folded], dim=1)).float()
        mask = mask.reshape(batch, -1, self.fold, frames, bins // self.fold).permute(0, 1, 4, 2, 3)
        return self._masked(spectrum, mask.reshape(batch, len(STEMS), 2, 2, bins, frames))

    def _masked(self, spectrum: Tensor, mask: Tensor) -> Tensor:
        batch, _, bins, frames = spectrum.shape
        real, imaginary = spectrum.reshape(batch, 1, 2, 2, bins, frames).unbind(dim=3)
        mask_real, mask_imaginary = mask.unbind(dim=3)
        product = torch.stack(
            [mask_real * real - mask_imaginary * imaginary, mask_real * imaginary + mask_imaginary * real], dim=3
        )
        return product.reshape(batch, 4 * len(STEMS), bins, frames)


class SmallMdx(nn.Module):
    """The TFC-TDF network between a waveform at ``samplerate`` and its estimates, as training sees it."""

    def __init__(self, stft: Stft, bins: int, fold: int, samplerate: int = SAMPLE_RATE_HZ) -> None:
        super().__init__()
        self.stft, self.samplerate = stft, samplerate
        self.net = TfcTdfNet(bins, fold)

    def forward(self, mixture: Tensor) -> Tensor:
        """Mixture (batch, 2, samples) → estimates (batch, stems, 2, samples)."""
        samples = mixture.shape[-1]
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft.forward(mixture)
        frames = spectrum.shape[-1]
        parts = to_channels(spectrum[:, :, : self.net.bins])
        masked = self.net(nn.functional.pad(parts, (0, -frames % 2**SCALES)))[..., :frames].float()
        return self.stft.inverse(from_channels(masked, len(STEMS)), samples)

    def export(self, path: Path, frames: int = 256) -> None:
        """Writes the network as ONNX, input (1, 4, bins, frames), with its STFT in the metadata."""
        example = torch.randn(1, 4, self.net.bins, frames)
        with warnings.catch_warnings():
            # the exporter that torch would rather have used needs one more package, and trips over torch's own warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            # nothing folded: the weights keep their names, so that a training can start from them (see load_weights)
            torch.onnx.export(
                self.net.eval(),
                (example,),
                path,
                input_names=["spectrum"],
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                dynamo=False,
            )
        model = onnx.load(path)
        faster = SAMPLE_RATE_HZ // self.samplerate  # the engine's STFT has the same bins and frames at its own rate
        sizes = {"n_fft": faster * self.stft.n_fft, "stft_hop": faster * self.stft.stft_hop}
        metadata = {**sizes, "stems": ",".join(STEMS)}
        onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.save(model, path)


def broad_mdx() -> SmallMdx:
    """The embedded MDX-Net for up to 16.5 kHz, untrained."""
    return SmallMdx(Stft(n_fft=4096, stft_hop=1024), bins=1536, fold=4)


def low_mdx() -> SmallMdx:
    """The embedded MDX-Net for the lowest 2 kHz, untrained: n_fft 8192 and a hop of 1024 at 44.1 kHz."""
    return SmallMdx(Stft(n_fft=2048, stft_hop=256), bins=384, fold=2, samplerate=LOW_RATE_HZ)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"demucs": small_demucs, "mdx": broad_mdx, "mdx-low": low_mdx}
FILES = {"demucs": "lite-demucs.safetensors", "mdx": "lite-mdx.onnx", "mdx-low": "lite-mdx-low.onnx"}
"""What each of them is called where it is exported."""


def export(network: nn.Module, path: Path) -> None:
    """Writes a trained network in the format that the engine loads."""
    if isinstance(network, HTDemucs):
        save_demucs(network, path, half=True)
    elif isinstance(network, SmallMdx):
        network.export(path)


def load_weights(network: nn.Module, path: Path) -> None:
    """The inverse of ``export``, to go on training from; raises ModelError if the file is not of this shape."""
    try:
        if isinstance(network, HTDemucs):
            network.load_state_dict(load_demucs(path).float().state_dict())
        elif isinstance(network, SmallMdx):
            stored = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
            known = network.net.state_dict()
            network.net.load_state_dict(
                {name: torch.from_numpy(array.copy()) for name, array in stored.items() if name in known}
            )
    except (OSError, RuntimeError, DecodeError) as error:
        raise ModelError(f"{path} is nothing that training can start from ({error})") from error


def rate_of(network: nn.Module) -> int:
    """The sample rate at which a network listens and answers, in Hz."""
    rate_hz: Any = network.samplerate
    return int(rate_hz)


def segment_samples() -> int:
    """Length of a training excerpt."""
    return round(SEGMENT_S * SAMPLE_RATE_HZ)


def _normed(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

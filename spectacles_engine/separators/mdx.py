"""MDX-Net: TFC-TDF U-Nets on complex spectrograms (Kim et al. 2021, https://arxiv.org/abs/2111.12203), as ONNX files.

The conventions are KUIELab's, which UVR's models share: input (batch, 4, bins, frames) holds the real and imaginary
parts of left and right; bins above the network's are zero; the outer n_fft / 2 samples of a chunk are not used. A
network for S stems answers (batch, 4 S, bins, frames).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectacles_engine.chunking import Array, in_chunks
from spectacles_engine.devices import Placement, is_out_of_memory
from spectacles_engine.errors import ModelError, ModelMissingError
from spectacles_engine.messages import STEMS
from spectacles_engine.spectrogram import Stft

try:
    import onnxruntime
except ModuleNotFoundError as error:  # it is in the extras alone, as there are two of it
    raise ModelError('onnxruntime is not installed: pip install ".[cpu]", or ".[gpu]" for an NVIDIA GPU') from error

_CUDA = "CUDAExecutionProvider"
_STFT_HOP = 1024
_FRAMES = 256  # for a network that takes any number of them


class MdxSeparator:
    """One network for all stems, or one for each, of which only those that are needed run.

    The networks share one grid of chunks: the longest chunk and the widest margin among them. One whose own chunk is
    shorter is taken over the shared chunk in several steps.
    """

    overlap = 0.1  # little is needed: the margins have already removed the ends that a network knows least about

    def __init__(self, nets: Collection[_Net], placement: Placement) -> None:
        self._nets = nets
        self.placement = placement
        self.stems = tuple(stem for stem in STEMS if any(stem in net.stems for net in nets))
        self.chunk_samples = max(net.chunk_samples for net in nets)
        self.margin_samples = max(net.margin_samples for net in nets)

    @classmethod
    def load(cls, files: Mapping[str, Path], n_fft: Mapping[str, int], device: str) -> MdxSeparator:
        """Load ``{"all": file}`` or ``{stem: file}``, to run on ``device`` (``cpu`` or ``cuda``).

        They move there when they first run, see ``DemucsSeparator.load``. ``n_fft`` (samples) has the same keys; a file
        whose metadata says ``n_fft`` (and ``stft_hop``, ``stems``) needs none.

        Raises:
            ModelMissingError: a file is not there.
            ModelError: it is not such a network.
        """
        nets = [_Net.load(path, key, n_fft.get(key, 0)) for key, path in files.items()]
        placement = Placement.on(device)
        if device == "cuda" and not _has_cuda(nets[0].path):
            placement = Placement("cpu", batch=1, warnings=["MDX-Net runs on the CPU: onnxruntime found no CUDA here"])
        return cls(nets, placement)

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        """See ``Separator``: (b, 2, chunk_samples) -> {stem: (b, 2, chunk_samples)}."""
        return self.placement.run(lambda part, device: self._run(part, device, stems), mixture)

    def _run(self, mixture: Array, device: str, stems: Collection[str]) -> dict[str, Array]:
        estimates: dict[str, Array] = {}
        for net in self._nets:
            if any(stem in stems for stem in net.stems):
                net.move(device)
                answer = self._over_chunk(net, mixture)
                estimates |= {stem: answer[:, k] for k, stem in enumerate(net.stems) if stem in stems}
        return estimates

    def _over_chunk(self, net: _Net, mixture: Array) -> Array:
        if net.chunk_samples == self.chunk_samples:
            return net.estimate(mixture)
        # all chunks of the batch side by side are one song here, in one block: (b, 2, samples)
        pieces = in_chunks(
            [mixture],
            lambda chunks: net.estimate(chunks[0])[np.newaxis],
            chunk_samples=net.chunk_samples,
            overlap=self.overlap,
            margin_samples=net.margin_samples,
        )
        return np.concatenate(list(pieces), axis=-1)


@dataclass
class _Net:
    """One ONNX network between its STFT and the inverse.

    ``group``: the batch that it insists on, None: any will do. ``gives_back``: whether it frees memory of a GPU.
    """

    path: Path
    device: str
    session: Any
    stems: tuple[str, ...]
    stft: Stft
    bins: int
    frames: int
    group: int | None
    gives_back: bool = True

    @classmethod
    def load(cls, path: Path, key: str, n_fft: int) -> _Net:
        session = _open(path, "cpu")
        metadata = session.get_modelmeta().custom_metadata_map
        n_fft = int(metadata.get("n_fft", n_fft))
        stems = (key,) if key != "all" else tuple(metadata.get("stems", ",".join(STEMS)).split(","))
        batch, channels, bins, frames = _shape(path, session.get_inputs())
        _, answered, *_ = _shape(path, session.get_outputs())
        if channels != 4 or not isinstance(bins, int) or answered not in (4 * len(stems), None):
            raise ModelError(
                f"{path.name} is not an MDX-Net for {', '.join(stems)}: {channels} channels in, {answered} out"
            )
        if bins > n_fft // 2 + 1:
            raise ModelError(f"{path.name} has {bins} bins, but its n_fft is {n_fft or 'not given'}")
        stft = Stft(n_fft, int(metadata.get("stft_hop", _STFT_HOP)))
        return cls(path, "cpu", session, stems, stft, bins, frames or _FRAMES, batch)

    @property
    def chunk_samples(self) -> int:
        return self.stft.stft_hop * (self.frames - 1)

    @property
    def margin_samples(self) -> int:
        return self.stft.n_fft // 2

    def move(self, device: str) -> None:
        if device != self.device:
            self.session, self.device = _open(self.path, device), device

    @torch.inference_mode()
    def estimate(self, mixture: Array) -> Array:
        """(b, 2, chunk_samples) -> (b, stems, 2, chunk_samples). The STFT stays on the CPU, where the mixture is."""
        spectrogram = self.stft.forward(torch.tensor(mixture))[..., : self.bins, :]
        answer = self._answer(to_channels(spectrogram).numpy())
        separated = from_channels(torch.from_numpy(answer), len(self.stems))
        waveform: Array = self.stft.inverse(separated, mixture.shape[-1]).numpy()
        return waveform

    def _answer(self, channels: Array) -> Array:
        name = self.session.get_inputs()[0].name
        group = self.group or len(channels)
        short = -len(channels) % group
        filled = np.concatenate([channels, np.zeros((short, *channels.shape[1:]), np.float32)])
        answers = [self._run({name: filled[k : k + group]}) for k in range(0, len(filled), group)]
        return np.concatenate(answers)[: len(channels)]

    def _run(self, inputs: dict[str, Array]) -> Array:
        options = onnxruntime.RunOptions()
        if self.gives_back and _CUDA in self.session.get_providers():
            # else each network keeps for good what its largest batch took of the GPU's memory, and others need some
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
        try:
            answer: Array = self.session.run(None, inputs, options)[0]
        except Exception as error:  # each of onnxruntime's errors derives from Exception alone
            if not (self.gives_back and "arena based allocator" in str(error)):
                raise
            self.gives_back = False  # there is nothing that it could give back
            return self._run(inputs)
        return answer


def _open(path: Path, device: str) -> Any:
    """A session on the GPU if asked for and possible, else on the CPU. Raises what says that the GPU is full."""
    if not path.is_file():
        raise ModelMissingError(f"the model file {path.name} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # threads that wait in a loop take the cores from torch, whose turn it is in between
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # it would keep what it once needed, while torch needs it
    wanted = [_CUDA, "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    known = [provider for provider in wanted if provider in onnxruntime.get_available_providers()]
    # by default an arena doubles, and takes up to twice what it needs
    providers = [(name, {"arena_extend_strategy": "kSameAsRequested"} if name == _CUDA else {}) for name in known]
    try:
        # names of files are UTF-8 to it, whatever this machine's locale says
        return onnxruntime.InferenceSession(os.fsencode(path).decode(), options, providers=providers)
    except Exception as error:  # each of onnxruntime's errors derives from Exception alone
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{path.name} could not be read as an ONNX model ({type(error).__name__})") from error


def _has_cuda(path: Path) -> bool:
    """Whether onnxruntime runs on a GPU here; asked for one that it cannot use, it silently takes the CPU."""
    try:
        return _CUDA in _open(path, "cuda").get_providers()
    except ModelError:
        raise
    except Exception:  # noqa: BLE001  it is full just now
        return True


def _shape(path: Path, values: list[Any]) -> list[int | None]:
    """The shape (batch, channels, bins, frames) of the one input or output; None where any length will do."""
    if len(values) != 1 or len(values[0].shape) != 4:
        raise ModelError(f"{path.name} is not an MDX-Net: it must have one input and one output with four axes")
    return [length if isinstance(length, int) else None for length in values[0].shape]


def to_channels(spectrogram: Tensor) -> Tensor:
    """Complex (b, 2, bins, frames) -> (b, 4, bins, frames): left real, left imaginary, right real, right imaginary."""
    return torch.view_as_real(spectrogram).permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()


def from_channels(channels: Tensor, stems: int) -> Tensor:
    """(b, 4 S, bins, frames) -> complex (b, S, 2, bins, frames)."""
    parts = channels.reshape(len(channels), stems, 2, 2, *channels.shape[2:]).permute(0, 1, 2, 5, 4, 3)
    return torch.view_as_complex(parts.contiguous()).transpose(-1, -2)  # so the inverse finds its frames in one piece

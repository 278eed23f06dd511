"""Demucs: separation in waveform and spectrogram at once (Rouard et al. 2023, https://arxiv.org/abs/2211.08553).

The networks are those of the ``demucs`` package; the weights are safetensors files, with the class and its arguments
as JSON in their metadata (``demucs.hf``), so that nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.apply import Model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from julius.resample import ResampleFrac
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spectacles_engine.chunking import Array
from spectacles_engine.devices import Placement, mixed_precision
from spectacles_engine.errors import ModelError, ModelMissingError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS

_CLASSES = {f"{kind.__module__}.{kind.__name__}" for kind in (Demucs, HDemucs, HTDemucs)}


class DemucsSeparator:
    """One Demucs for all stems, or a bag with one for each stem, of which only those that are needed run.

    ``demucs.separate`` scales a song by the mean and the deviation of all of it. A stream has no such figures, and
    these networks scale every chunk by its own within themselves, so it isn't done here.

    A network of a lower sample rate knows nothing above half of it, and answers silence there.
    """

    overlap = 0.25
    margin_samples = 0

    def __init__(self, models: Mapping[str, Model], placement: Placement) -> None:
        self._models = {stem: models[stem] for stem in STEMS if stem in models}
        self.placement = placement
        lengths = {(int(model.segment * model.samplerate), model.samplerate) for model in self._models.values()}
        if len(lengths) != 1:
            raise ModelError("the Demucs models of one bag must have one common chunk length")
        ((length, rate_hz),) = lengths
        self.chunk_samples = length * (SAMPLE_RATE_HZ // rate_hz)
        self._to_its_rate = ResampleFrac(SAMPLE_RATE_HZ, rate_hz)
        self._from_its_rate = ResampleFrac(rate_hz, SAMPLE_RATE_HZ)

    @classmethod
    def load(cls, files: Mapping[str, Path], device: str) -> DemucsSeparator:
        """Load ``{"all": file}`` or ``{stem: file}``, to run on ``device`` (``cpu`` or ``cuda``).

        They move there when they first run, for that may take more memory than a GPU has left.

        Raises:
            ModelMissingError: a file is not there.
            ModelError: it is not a Demucs for stereo at 44.1 kHz that knows the stem.
        """
        models: dict[str, Model] = {}
        for key, path in files.items():
            model = load_demucs(path)
            stems = [stem for stem in STEMS if stem in _sources(model) and key in ("all", stem)]
            if not stems:
                raise ModelError(f"{path.name} does not separate {'any stem' if key == 'all' else key}")
            models |= dict.fromkeys(stems, model)
        return cls(models, Placement.on(device))

    @property
    def stems(self) -> tuple[str, ...]:
        """See ``Separator``."""
        return tuple(self._models)

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        """See ``Separator``: (b, 2, chunk_samples) -> {stem: (b, 2, chunk_samples)}."""
        return self.placement.run(lambda part, device: self._run(part, device, stems), mixture)

    @torch.inference_mode()
    def _run(self, mixture: Array, device: str, stems: Collection[str]) -> dict[str, Array]:
        wanted = {stem: model for stem, model in self._models.items() if stem in stems}
        waveform = self._to_its_rate.to(device)(torch.tensor(mixture, device=device))
        with mixed_precision(device):
            answers = {model: model.to(device)(waveform) for model in set(wanted.values())}
        parts = {stem: answers[model][:, _sources(model).index(stem)] for stem, model in wanted.items()}
        back = self._from_its_rate.to(device)
        return {stem: back(part.float()).cpu().numpy() for stem, part in parts.items()}


def load_demucs(path: Path) -> Model:
    """Read a network, in float32 on the CPU and ready for inference, from a safetensors file.

    Raises:
        ModelMissingError: there is no such file.
        ModelError: it is damaged, names a class that is not Demucs, or is not made for stereo at 44.1 kHz or a whole
            part of it.
    """
    if not path.is_file():
        raise ModelMissingError(f"the model file {path.name} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        # The metadata names what is imported and called: nothing but these three classes may be.
        if metadata.get("klass") not in _CLASSES or "structure" in metadata:
            raise ModelError(f"{path.name} is not a Demucs model: it names {metadata.get('klass', 'no class')}")
        model: Model = load_safetensors_model(path)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path.name} could not be read as a Demucs model ({type(error).__name__})") from error
    if SAMPLE_RATE_HZ % model.samplerate or model.audio_channels != 2:
        raise ModelError(f"{path.name} is not made for stereo at 44.1 kHz or a whole part of it")
    return model.eval().requires_grad_(False)


def save_demucs(model: Model, path: Path, *, half: bool = False) -> None:
    """Write a network of the demucs package so that ``load_demucs`` makes it again; ``half`` stores float16."""
    made_with: Any = model._init_args_kwargs  # demucs keeps it for each network
    args, kwargs = made_with
    metadata = {
        "klass": f"{type(model).__module__}.{type(model).__name__}",
        "args": json.dumps(args, default=_encode_fraction),
        "kwargs": json.dumps(kwargs, default=_encode_fraction),
    }
    tensors = {key: _stored(value, half) for key, value in model.state_dict().items()}
    path.write_bytes(_in_order(save(tensors, metadata)))


def _in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted: it is written in random order, and equal networks would differ.

    Its header is JSON behind its length in eight bytes, filled up to a whole eight; offsets count from its end.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _encode_fraction(value: Any) -> dict[str, Any]:
    if not isinstance(value, Fraction):
        raise TypeError(f"a Demucs argument of type {type(value).__name__} cannot be stored")
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}


def _sources(model: Model) -> list[str]:
    sources: Any = model.sources
    return list(sources)

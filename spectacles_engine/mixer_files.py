"""Trained mixers on disk: tensors as safetensors, and what isn't a tensor as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spectacles_engine.devices import Placement
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import LinearMixer, MeanMixer, Mixer, StemMixers
from spectacles_engine.stem_mixer import Design, StemMixer
from spectacles_engine.whole_files import write_whole

About = Mapping[str, Any]
Tensors = Mapping[str, Tensor]


def save_mixer(mixer: Mixer, path: Path) -> None:
    """Writes a file for ``load_mixer``; raises ValueError for fixed shares, which a manifest has."""
    about, tensors = _stored(mixer)
    # one key alone: safetensors writes several in random order, and equal mixers would be unequal files
    data = save(dict(tensors), {"mixer": json.dumps(about)})
    write_whole(path, data)  # not by safetensors' save_file: a full disk would be no OSError


def load_mixer(path: Path, device: str = "cpu") -> Mixer:
    """What ``save_mixer`` wrote; raises ModelError where there is no file, or one that is none of ours."""
    if not path.is_file():
        raise ModelError(f"there is no mixer {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["mixer"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("weights that are no numbers")
        return _LOADERS[about["kind"]](about, tensors, device)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path.name} could not be read as a mixer") from error


def _stored(mixer: Mixer) -> tuple[About, Tensors]:
    match mixer:
        case LinearMixer():
            about: dict[str, Any] = {"kind": "linear", "names": mixer.heard_names, "edges_hz": mixer.edges_hz}
            return about, {"weights": torch.from_numpy(mixer.weights)}
        case StemMixers():
            states = {stem: network.state_dict() for stem, network in mixer.networks.items()}
            about = {"kind": "stemmixer", "models": mixer.models, "design": asdict(mixer.design), "stems": [*states]}
            return about, _joined(states)
        case MeanMixer():
            parts = [_stored(part) for part in mixer.mixers]
            about = {"kind": "mean", "mixers": [about for about, _ in parts]}
            return about, _joined({str(i): tensors for i, (_, tensors) in enumerate(parts)})
    raise ValueError(f"{type(mixer).__name__} is not stored")


def _joined(parts: Mapping[str, Tensors]) -> Tensors:
    return {f"{name}.{key}": tensor.contiguous() for name, part in parts.items() for key, tensor in part.items()}


def _part(tensors: Tensors, name: str) -> Tensors:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _linear(about: About, tensors: Tensors, device: str) -> Mixer:
    names = tuple((stem, model) for stem, model in about["names"])
    edges_hz = tuple(float(edge) for edge in about["edges_hz"])
    weights = tensors["weights"].numpy()
    if weights.shape != (len(edges_hz) + 1, len(STEMS), 2, 1 + len(names), 2):
        raise ValueError("weights of another shape")
    return LinearMixer(weights, names, edges_hz)


def _stem_mixers(about: About, tensors: Tensors, device: str) -> Mixer:
    design = Design(**{**about["design"], "hidden": tuple(about["design"]["hidden"])})
    models = {stem: tuple(about["models"][stem]) for stem in STEMS}
    networks = {stem: StemMixer(len(models[stem]), design) for stem in about.get("stems", STEMS)}
    for stem, network in networks.items():
        network.load_state_dict(_part(tensors, stem))
        network.eval().requires_grad_(False)
    return StemMixers(networks, models, Placement(device, batch=1))


def _mean(about: About, tensors: Tensors, device: str) -> Mixer:
    parts = enumerate(about["mixers"])
    return MeanMixer(tuple(_LOADERS[part["kind"]](part, _part(tensors, str(i)), device) for i, part in parts))


_LOADERS = {"linear": _linear, "stemmixer": _stem_mixers, "mean": _mean}

"""Separators and networks for tests: of which one knows what they answer, or that are small."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from demucs.htdemucs import HTDemucs
from onnx import TensorProto, helper

from spectacles_engine.chunking import Array
from spectacles_engine.separators.devices import Placement

DEMUCS_ORDER = ["drums", "bass", "other", "vocals"]
KUIELAB_N_FFT = {"vocals": 6144, "drums": 4096, "bass": 16384, "other": 8192}


class FakeSeparator:
    """Answers ``answers[stem](mixture)``, chunk by chunk of ``chunk_samples``."""

    margin_samples = 0
    overlap = 0.25

    def __init__(self, name: str, answers: Mapping[str, Callable[[Array], Array]], chunk_samples: int = 30_000) -> None:
        self.name, self._answers, self.chunk_samples = name, answers, chunk_samples
        self.stems = tuple(answers)
        self.placement = Placement("cpu", batch=2)
        self.asked: set[str] = set()

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        self.asked |= set(stems)
        assert mixture.shape[1:] == (2, self.chunk_samples)
        return {stem: self._answers[stem](mixture).astype(np.float32) for stem in stems}


def share(factor: float) -> Callable[[Array], Array]:
    """A stem that is a fixed share of what the model hears."""
    return lambda mixture: mixture * np.float32(factor)


def tiny_demucs(seed: int = 0, **changes: Any) -> HTDemucs:
    torch.manual_seed(seed)
    arguments = {"channels": 8, "bottom_channels": 8, "t_layers": 1, "t_heads": 2, "segment": Fraction(1, 2)}
    network: HTDemucs = HTDemucs(DEMUCS_ORDER, **arguments | changes).eval()
    return network


def write_net(
    path: Path,
    *,
    frames: int | str = 64,
    bins: int = 2048,
    batch: int | str = 1,
    gains: tuple[float, ...] = (1.0,),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """An ONNX network whose k-th answer is its input times ``gains[k]``."""
    shape = [batch, 4, bins, frames]
    constants = [helper.make_tensor(f"gain{k}", TensorProto.FLOAT, [1], [gain]) for k, gain in enumerate(gains)]
    names = [f"answer{k}" for k in range(len(gains))]
    nodes = [helper.make_node("Mul", ["input", f"gain{k}"], [name]) for k, name in enumerate(names)]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Concat", names, ["output"], axis=1)],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 4 * len(gains), bins, frames])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path

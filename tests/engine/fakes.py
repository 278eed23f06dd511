"""Separators and networks for tests, of which one knows what they answer, or that are small; and a server of files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from demucs.htdemucs import HTDemucs
from onnx import TensorProto, helper

from spectacles_engine.chunking import Array
from spectacles_engine.devices import Placement
from spectacles_engine.manifest import WEIGHTS, Manifest, describe
from spectacles_engine.messages import STEMS
from spectacles_engine.mixer_files import save_mixer
from spectacles_engine.mixers import FixedShares, LinearMixer
from spectacles_engine.presets import average_shares
from spectacles_engine.separators.demucs import save_demucs

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


def write_studio(folder: Path, address: str = "https://example.org") -> Manifest:
    """The package's own ``studio``; small networks of the right kinds in ``folder`` are what is at ``address``."""
    raw = yaml.safe_load((WEIGHTS / "manifest.yaml").read_text())
    raw["presets"] = {"studio": raw["presets"]["studio"]}
    raw["files"] = {name: entry for name, entry in raw["files"].items() if entry["source"] != "embedded"}
    for seed, (name, entry) in enumerate(raw["files"].items()):
        if name.endswith(".onnx"):
            write_net(folder / name, gains=(0.25,))
        else:
            save_demucs(tiny_demucs(seed), folder / name)
        entry["bytes"], entry["sha256"] = describe(folder / name)
        entry["source"] = f"{address}/{name}"
    (folder / "manifest.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return Manifest.load(folder / "manifest.yaml")


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server that has what lies in ``folder``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write_mixer(path: Path, *, preset: str = "lite", mixture: float, **shares: float) -> Path:
    """A linear mixer that makes every stem of these shares of the mixture and of what models (by name) say of it."""
    names = FixedShares(average_shares(Manifest.load().presets[preset])).names(STEMS)
    weights = np.zeros((1, len(STEMS), 2, 1 + len(names), 2), np.float32)
    for channel in range(2):
        weights[0, :, channel, 0, channel] = mixture
        for n, (stem, model) in enumerate(names):
            weights[0, STEMS.index(stem), channel, 1 + n, channel] = shares.get(model, 0)
    save_mixer(LinearMixer(weights, names, ()), path)
    return path

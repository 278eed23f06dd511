"""Pictures of a training: the loss over the minutes, and the scores on validation songs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from spectacles_engine.messages import STEMS

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def plot_curve(history: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """History rows hold ``minutes`` and ``loss``, or ``minutes`` and one score in dB a stem."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    losses = [(row["minutes"], row["loss"]) for row in history if "loss" in row]
    scores = [row for row in history if "loss" not in row]
    if losses:
        minutes, loss = np.array(losses).T
        width = max(1, len(loss) // 100)
        left.plot(minutes, loss, alpha=0.2)
        left.plot(minutes[width - 1 :], np.convolve(loss, np.ones(width) / width, "valid"))
    left.set(title=title, xlabel="minutes", ylabel="loss", yscale="log")
    for stem in STEMS:
        right.plot([row["minutes"] for row in scores], [row[stem] for row in scores], marker="o", label=stem)
    right.set(xlabel="minutes", ylabel="uSDR (dB)")
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def plot_losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """History rows hold the mixer's loss over ``epoch``: ``train`` and ``held_out``."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for name in ("train", "held_out"):
        axis.plot([row["epoch"] for row in history], [row[name] for row in history], label=name.replace("_", " "))
    axis.set(title="StemMixer", xlabel="epoch", ylabel="L1")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)

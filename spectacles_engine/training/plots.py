"""Pictures: the loss and the scores of a training, and the spectrograms of a song and its stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.spectrogram import Stft
from spectacles_engine.training.data import read_stereo

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


def plot_spectrograms(songs: Mapping[str, Path], path: Path) -> None:
    """One panel a file, title → file, on a logarithmic frequency axis from 40 Hz to 16 kHz, 80 dB deep."""
    figure, axes = plt.subplots(len(songs), 1, figsize=(10, 1.7 * len(songs)), sharex=True)
    for axis, (title, file) in zip(axes, songs.items(), strict=True):
        samples = read_stereo(file).mean(axis=0)
        spectrogram = Stft(n_fft=4096, stft_hop=512).forward(torch.from_numpy(samples)).abs().numpy()
        level_db = 20 * np.log10(spectrogram + 1e-6)
        at_s = np.arange(level_db.shape[1]) * 512 / SAMPLE_RATE_HZ
        hertz = np.arange(1, level_db.shape[0]) * SAMPLE_RATE_HZ / 4096
        axis.pcolormesh(at_s, hertz, level_db[1:], vmin=-40, vmax=40, cmap="magma", shading="nearest", rasterized=True)
        axis.set(yscale="log", ylim=(40, 16_000), ylabel="Hz")
        axis.set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)

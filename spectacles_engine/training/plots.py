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
from spectacles_engine.training.data import SoundFile, read_stereo
from spectacles_engine.training.scoring import MEASURES
from spectacles_engine.training.table import Report, number_of_songs
from spectacles_engine.whole_files import replacing

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


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
        right.plot(
            [row["minutes"] for row in scores], [row.get(stem, np.nan) for row in scores], marker="o", label=stem
        )
    right.set(xlabel="minutes", ylabel="uSDR (dB)")
    right.legend()
    _finish(figure, path, 100)


def plot_losses(history: Sequence[Mapping[str, float]], path: Path, *, loss: str) -> None:
    """History rows hold the mixer's loss over ``epoch``: ``train`` and ``held_out``."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for name in ("train", "held_out"):
        axis.plot([row["epoch"] for row in history], [row[name] for row in history], label=name.replace("_", " "))
    axis.set(title="StemMixer", xlabel="epoch", ylabel=f"loss ({loss})")
    axis.legend()
    _finish(figure, path, 100)


def plot_table(report: Report, path: Path) -> None:
    """Bars of every row and stem: uSDR (mean over songs) above, BSS Eval (median) below."""
    figure, axes = plt.subplots(2, 1, figsize=(12, 7), sharex=True)
    shown = [row for row in report.table.rows() if row != "mixture"]
    for axis, measure, middle in zip(axes, MEASURES, ("mean", "median"), strict=True):
        summary = report.table.summary(measure, middle)
        for i, row in enumerate(shown):
            heights = [summary[row].get(stem, np.nan) for stem in STEMS]
            at = np.arange(len(STEMS)) + (i - (len(shown) - 1) / 2) * 0.85 / len(shown)
            bars = axis.bar(at, heights, 0.8 / len(shown), label=row, color=plt.get_cmap("tab20")(i % 20))
            axis.bar_label(bars, [f"{h:.1f}" if np.isfinite(h) else "" for h in heights], fontsize=6)
        axis.set(ylabel=f"{measure}, dB", title=f"{middle} of {number_of_songs(len(report.table.songs))}")
        axis.axhline(0, color="black", linewidth=0.5)
    axes[-1].set_xticks(range(len(STEMS)), STEMS)
    axes[-1].legend(fontsize=7, ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    _finish(figure, path, 110)


def plot_calibration(points: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """One panel a stem: what was estimated of songs left out (dB, across) against what is true (dB, up)."""
    figure, axes = plt.subplots(1, len(STEMS), figsize=(14, 3.8))
    for axis, stem in zip(axes, STEMS, strict=True):
        guess, truth = np.array(points.get(stem) or [(np.nan, np.nan)]).T
        axis.scatter(guess, truth, s=10, alpha=0.7)
        axis.axline((0, 0), slope=1, color="black", linewidth=0.5)
        told = number_of_songs(len(points.get(stem, ())))
        axis.set(title=f"{stem}, {told}", xlabel="estimated uSDR, dB", ylabel="true uSDR, dB")
    _finish(figure, path, 100)


def plot_spectrograms(songs: Mapping[str, Path], path: Path) -> None:
    """One panel a file, title → file, on a logarithmic frequency axis from 40 Hz to 16 kHz, 80 dB deep."""
    figure, axes = plt.subplots(len(songs), 1, figsize=(10, 1.7 * len(songs)), sharex=True)
    for axis, (title, file) in zip(axes, songs.items(), strict=True):
        samples = read_stereo(SoundFile(file)).mean(axis=0)
        spectrogram = Stft(n_fft=4096, stft_hop=512).forward(torch.from_numpy(samples)).abs().numpy()
        level_db = 20 * np.log10(spectrogram + 1e-6)
        at_s = np.arange(level_db.shape[1]) * 512 / SAMPLE_RATE_HZ
        hertz = np.arange(1, level_db.shape[0]) * SAMPLE_RATE_HZ / 4096
        axis.pcolormesh(at_s, hertz, level_db[1:], vmin=-40, vmax=40, cmap="magma", shading="nearest", rasterized=True)
        axis.set(yscale="log", ylim=(40, 16_000), ylabel="Hz")
        axis.set_title(title, loc="left", fontsize=10)
    axes[-1].set_xlabel("seconds")
    _finish(figure, path, 90)


def _finish(figure: Figure, path: Path, dpi: int) -> None:
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, dpi=dpi)
    plt.close(figure)

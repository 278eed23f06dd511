"""Trains the embedded Demucs and MDX networks on what Spleeter leaves of a song.

They listen to ``mixture − Spleeter's vocals`` (a cascade: singing with a clean licence is scarce, and Spleeter has
heard plenty of it) and answer four stems; their ``vocals`` is what the front missed, or took too much of.
Loss: L1 on waveforms (Défossez et al. 2021) and on magnitudes at two resolutions (Yamamoto et al., ICASSP 2020).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from julius.resample import ResampleFrac
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from tqdm import tqdm

from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.separators.devices import training_precision
from spectacles_engine.separators.spleeter import SpleeterSeparator
from spectacles_engine.training.augment import MixtureSource
from spectacles_engine.training.data import SongFiles, read_song
from spectacles_engine.training.networks import FILES, NETWORKS, export, load_weights, rate_of, segment_samples
from spectacles_engine.training.plots import plot_curve

LEARNING_RATE = {"demucs": 8e-4, "mdx": 2e-3, "mdx-low": 2e-3}
RESOLUTIONS = (1024, 4096)
SPECTRAL_WEIGHT = 0.3
VALIDATION_EXCERPTS = 6


@dataclass(frozen=True)
class Schedule:
    """How long to train: the learning rate falls along a cosine until either limit is reached."""

    steps: int
    minutes: float = float("inf")
    batch: int = 3
    seed: int = 0
    rate: float = 1.0
    """Highest learning rate, against ``LEARNING_RATE``: less where a training starts from trained weights."""
    checkpoint_every_s: float = 300.0
    validate_every_s: float = 900.0

    def done(self, step: int, elapsed_s: float) -> float:
        """Share of the training that lies behind, 0–1."""
        return min(1.0, max(step / self.steps, elapsed_s / 60 / self.minutes))


class Trainer:
    """One network, its optimiser and its averaged weights; resumes from ``folder/checkpoint.pt``."""

    def __init__(
        self,
        kind: str,
        front: SpleeterSeparator,
        folder: Path,
        schedule: Schedule,
        device: str,
        start_from: Path | None = None,
    ) -> None:
        """``start_from``: a folder of exported networks whose weights are the first, in place of random ones."""
        torch.manual_seed(schedule.seed)
        self.kind, self.front, self.folder, self.schedule, self.device = kind, front, folder, schedule, device
        self.network = NETWORKS[kind]()
        if start_from:
            load_weights(self.network, start_from / FILES[kind])
        self.network.to(device)
        self._at_its_rate = ResampleFrac(SAMPLE_RATE_HZ, rate_of(self.network)).to(device)
        self.average = torch.optim.swa_utils.AveragedModel(self.network, avg_fn=moving_average, use_buffers=True)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=LEARNING_RATE[kind], weight_decay=1e-4)
        self.step, self.elapsed_s = 0, 0.0
        self.history: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self._load(torch.load(folder / "checkpoint.pt", map_location=device, weights_only=True))

    def run(self, source: MixtureSource, validation: Sequence[Tensor]) -> None:
        """Trains until the schedule ends; an interruption loses no more than the time since the last checkpoint."""
        saved = validated = time.monotonic()
        bar = tqdm(total=100, desc=self.kind, unit="%", initial=int(100 * self._done()), mininterval=5)
        while self._done() < 1:
            started = time.monotonic()
            drawn = [source.draw().references for _ in range(self.schedule.batch)]
            loss = self._train_step(torch.from_numpy(np.stack(drawn)))
            self.elapsed_s += time.monotonic() - started
            bar.update(int(100 * self._done()) - bar.n)
            bar.set_postfix(step=self.step, loss=f"{loss:.4f}")
            self.history.append({"step": self.step, "minutes": round(self.elapsed_s / 60, 2), "loss": loss})
            if time.monotonic() - validated > self.schedule.validate_every_s:
                self._validate(validation)
                validated = time.monotonic()
            if time.monotonic() - saved > self.schedule.checkpoint_every_s:
                self.save()
                saved = time.monotonic()
        self.save()
        self._validate(validation)

    def export(self) -> Path:
        """Writes the averaged weights in the format that the engine loads."""
        path = self.folder / FILES[self.kind]
        export(self.average.module.eval().cpu(), path)
        return path

    def _train_step(self, references: Tensor) -> float:
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE[self.kind] * self.schedule.rate * self._rate()
        references = references.to(self.device)
        heard, targets = self._cascade(references)
        # every example counts the same, however loud it was drawn; of what is heard, next to nothing may be left
        level = references.sum(dim=1).square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-3
        with training_precision(self.device):
            estimates = self.network(heard / level)
        loss = separation_loss(estimates.float(), targets / level[:, None])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return round(float(loss.detach()), 5)

    def _cascade(self, references: Tensor) -> tuple[Tensor, Tensor]:
        """What the network hears (batch, 2, samples), and what it is to answer: of vocals what is left there.

        Both at the network's own sample rate.
        """
        mixture = references.sum(dim=1)
        with torch.inference_mode():
            # excerpts stand side by side in one patch of the front, as many as fit: it costs the same as one
            patches = torch.split(mixture, max(1, self.front.chunk_samples // mixture.shape[-1]))
            rows = [self.front.vocals(patch.transpose(0, 1).flatten(1)[None])[0] for patch in patches]
            vocals = torch.cat([row.reshape(2, -1, mixture.shape[-1]).transpose(0, 1) for row in rows])
        vocals = vocals.clone()
        targets = references.clone()
        targets[:, STEMS.index("vocals")] -= vocals
        return self._at_its_rate(mixture - vocals), self._at_its_rate(targets)

    def _validate(self, songs: Sequence[Tensor]) -> None:
        network = self.average.module.eval()
        scores = []
        for references in songs:
            references = references[None].to(self.device)
            heard, targets = self._cascade(references)
            with torch.inference_mode():
                estimate = network(heard)
            error = (estimate - targets).square().sum(dim=(2, 3))[0]
            energy = self._at_its_rate(references).square().sum(dim=(2, 3))[0]
            scores.append(torch.where(energy > 1, 10 * torch.log10(energy / (error + 1e-9)), torch.nan).cpu())
        if not scores:
            return
        means = torch.stack(scores).nanmean(dim=0)
        row = {"step": self.step, "minutes": round(self.elapsed_s / 60, 2)}
        row |= {stem: round(float(value), 2) for stem, value in zip(STEMS, means, strict=True)}
        self.history.append(row)
        tqdm.write(f"{self.kind} uSDR on excerpts for validation: {row}")
        plot_curve(self.history, self.folder / "curve.png", title=self.kind)

    def _done(self) -> float:
        return self.schedule.done(self.step, self.elapsed_s)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 50)
        return warm * (0.5 * (1 + float(np.cos(np.pi * self._done()))) + 1e-3)

    def save(self) -> None:
        """Writes the checkpoint and the history, each under its final name only when it is whole."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "history": self.history,
        }
        torch.save(state, self.folder / "checkpoint.tmp")
        (self.folder / "checkpoint.tmp").replace(self.folder / "checkpoint.pt")
        (self.folder / "history.json").write_text("\n".join(json.dumps(row) for row in self.history) + "\n")

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s, self.history = state["step"], state["elapsed_s"], state["history"]


def moving_average(average: Tensor, current: Tensor, steps: int | Tensor) -> Tensor:
    """Exponential, over the last tenth of the steps at first: the beginning must not be remembered for long."""
    decay = min(0.999, (1.0 + float(steps)) / (10.0 + float(steps)))
    return average + (current - average) * (1 - decay) if average.is_floating_point() else current


def separation_loss(estimates: Tensor, targets: Tensor) -> Tensor:
    """L1 on waveforms (batch, stems, 2, samples) plus L1 on magnitudes at several resolutions."""
    loss = l1_loss(estimates, targets)
    for n_fft in RESOLUTIONS:
        window = torch.hann_window(n_fft, device=estimates.device)
        magnitudes = [
            torch.stft(x.flatten(0, 2), n_fft, n_fft // 2, window=window, return_complex=True).abs() / n_fft**0.5
            for x in (estimates, targets)
        ]
        loss = loss + SPECTRAL_WEIGHT / len(RESOLUTIONS) * l1_loss(magnitudes[0], magnitudes[1])
    return loss


def validation_excerpts(songs: Sequence[SongFiles]) -> list[Tensor]:
    """A few excerpts of each song, spread over it, in which all its stems sound."""
    excerpts = []
    for song in songs:
        references, _ = read_song(song)
        length = segment_samples()
        starts = np.linspace(0, references.shape[2] - length, 24).astype(int)
        present = [i for i in range(len(STEMS)) if references[i].any()]
        weakest = [min((references[i, :, s : s + length] ** 2).mean() for i in present) for s in starts]
        best = sorted(starts[np.argsort(weakest)[-VALIDATION_EXCERPTS:]])
        excerpts += [torch.from_numpy(references[:, :, s : s + length].copy()) for s in best]
    return excerpts

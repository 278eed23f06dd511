"""Trains the embedded Demucs and MDX networks on what Spleeter leaves of a song.

They listen to ``mixture − Spleeter's vocals`` (a cascade: singing with a clean licence is scarce, and Spleeter has
heard plenty of it) and answer four stems; their ``vocals`` is what the front missed, or took too much of.
Loss: L1 on waveforms (Défossez et al. 2021) and on magnitudes at two resolutions (Yamamoto et al., ICASSP 2020).
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
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
from spectacles_engine.separators.spleeter import SpleeterSeparator
from spectacles_engine.spectrogram import Stft
from spectacles_engine.training.checkpoints import load_checkpoint, save_checkpoint
from spectacles_engine.training.data import SongFiles, read_song
from spectacles_engine.training.networks import FILES, NETWORKS, export, load_weights, rate_of, segment_samples
from spectacles_engine.training.plots import plot_curve

LEARNING_RATE = {"demucs": 8e-4, "mdx": 2e-3, "mdx-low": 2e-3}
RESOLUTIONS = (1024, 4096)
SPECTRAL_WEIGHT = 0.3
VALIDATION_EXCERPTS = 6
CHECKPOINT_EVERY_S = 300.0
TELL_EVERY_S = 2.0
"""Between two readings of the losses, for each of which a GPU must have finished its work."""


@dataclass(frozen=True)
class Schedule:
    """How long to train: the learning rate falls along a cosine until either limit is reached."""

    steps: int
    minutes: float = float("inf")
    rate: float = 1.0
    """Highest learning rate, against ``LEARNING_RATE``: less where a training starts from trained weights."""
    validations: int = 16
    """How often the networks are measured on the way."""

    def done(self, step: int, elapsed_s: float) -> float:
        """Share of the training that lies behind, 0–1."""
        return min(1.0, max(step / self.steps, elapsed_s / 60 / self.minutes))


class Learner:
    """One network, its optimiser and its averaged weights."""

    def __init__(self, kind: str, device: str, start_from: Path | None) -> None:
        self.kind, self.device = kind, device
        self.network = NETWORKS[kind]()
        if start_from:
            load_weights(self.network, start_from / FILES[kind])
        self.network.to(device)
        self._at_its_rate = ResampleFrac(SAMPLE_RATE_HZ, rate_of(self.network)).to(device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE[kind], weight_decay=1e-4, fused=device == "cuda"
        )

    def learn(self, heard: Tensor, targets: Tensor, level: Tensor, rate: float, step: int) -> Tensor:
        """Step number ``step``, at ``rate`` times the usual learning rate → the loss, which is not waited for.

        ``heard`` (batch, 2, samples), ``targets`` (batch, stem, 2, samples), both divided by ``level`` (batch, 1, 1).
        """
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE[self.kind] * rate
        heard, targets = self._at_its_rate(heard / level), self._at_its_rate(targets / level[:, None])
        with _precision(self.device):
            estimates = self.network(heard)
        loss = separation_loss(estimates.float(), targets)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        move_average(self.average, self.network, step)
        return loss.detach()

    @torch.inference_mode()
    def usdr(self, references: Tensor, heard: Tensor, targets: Tensor) -> Tensor:
        """uSDR of each stem in dB, (stem), over what the network can hear; NaN where the reference is silent.

        ``references`` and ``targets`` (1, stem, 2, samples), ``heard`` (1, 2, samples).
        """
        estimate = self.average(self._at_its_rate(heard))
        error = (estimate - self._at_its_rate(targets)).square().sum(dim=(2, 3))[0]
        energy = self._at_its_rate(references).square().sum(dim=(2, 3))[0]
        return torch.where(energy > 1, 10 * torch.log10(energy / (error + 1e-9)), torch.nan).cpu()

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        for name, stored in state.items():
            getattr(self, name).load_state_dict(stored)


class Trainer:
    """Trains networks side by side on the same mixtures; resumes from ``folder/checkpoint.pt``.

    A mixture is drawn, and freed of the fronts' vocals, once for all networks.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        fronts: Sequence[SpleeterSeparator],
        folder: Path,
        schedule: Schedule,
        device: str,
        *,
        seed: int = 0,
        start_from: Path | None = None,
    ) -> None:
        """``start_from``: a folder of exported networks whose weights are the first, in place of random ones."""
        torch.manual_seed(seed)
        self.fronts, self.folder, self.schedule, self.device = fronts, folder, schedule, device
        self.learners = [Learner(kind, device, start_from) for kind in kinds]
        self.step, self.elapsed_s = 0, 0.0
        self.history: list[dict[str, Any]] = []
        self._losses: list[tuple[dict[str, Any], Tensor]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self._load(load_checkpoint(folder / "checkpoint.pt", device))

    def run(self, batches: Iterator[Tensor], validation: Sequence[Tensor]) -> None:
        """Trains until the schedule ends, and saves what it has, however it ends.

        ``batches``: references (batch, stem, 2, samples). ``validation``: references (stem, 2, samples).
        """
        try:
            self._run(batches, [(x, *self._cascade(x)) for x in (y[None].to(self.device) for y in validation)])
        finally:
            self.save()

    def _run(self, batches: Iterator[Tensor], validation: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        saved = told = time.monotonic()
        bar = tqdm(total=100, desc=self.folder.name, unit="%", initial=int(100 * self._done()), mininterval=5)
        while (done := self._done()) < 1:
            started = time.monotonic()
            self._train_step(next(batches))
            now = time.monotonic()
            self.elapsed_s += now - started
            if now - told > TELL_EVERY_S:
                self._read_losses()
                told = now
                bar.update(int(100 * self._done()) - bar.n)
                bar.set_postfix(step=self.step, loss=f"{self.history[-1]['loss']:.4f}")
            if int(self._done() * self.schedule.validations) > int(done * self.schedule.validations):
                self._validate(validation)
            if now - saved > CHECKPOINT_EVERY_S:
                self.save()
                saved = now

    def export(self, folder: Path) -> list[Path]:
        """Writes the averaged weights in the formats that the engine loads."""
        paths = [folder / FILES[learner.kind] for learner in self.learners]
        for learner, path in zip(self.learners, paths, strict=True):
            export(copy.deepcopy(learner.average).cpu(), path)
        return paths

    def _train_step(self, references: Tensor) -> None:
        references = references.to(self.device, non_blocking=True)
        heard, targets = self._cascade(references)
        # every example counts the same, however loud it was drawn; of what is heard, next to nothing may be left
        level = references.sum(dim=1).square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-3
        rate = self.schedule.rate * self._rate()
        self.step += 1
        for learner in self.learners:
            row = {"step": self.step, "minutes": round(self.elapsed_s / 60, 2), "network": learner.kind}
            self._losses.append((row, learner.learn(heard, targets, level, rate, self.step)))

    def _read_losses(self) -> None:
        # a GPU works on while more is asked of it: its answers are read now and then
        self.history += [row | {"loss": round(float(loss), 5)} for row, loss in self._losses]
        self._losses.clear()

    def _cascade(self, references: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks hear (batch, 2, samples), and what they are to answer: of vocals what is left there."""
        mixture = references.sum(dim=1)
        batch, channels, samples = mixture.shape
        # excerpts stand side by side in one patch of the front, as many as fit: it costs the same as one
        side = min(batch, max(1, SpleeterSeparator.chunk_samples // samples))
        patches = nn.functional.pad(mixture, (0, 0, 0, 0, 0, -batch % side)).reshape(-1, side, channels, samples)
        with torch.inference_mode():
            heard = patches.transpose(1, 2).flatten(2)
            vocals = torch.stack([front.vocals(heard) for front in self.fronts]).mean(dim=0)
        vocals = vocals.reshape(-1, channels, side, samples).transpose(1, 2).flatten(0, 1)[:batch].clone()
        targets = references.clone()
        targets[:, STEMS.index("vocals")] -= vocals
        return mixture - vocals, targets

    def _validate(self, examples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        self._read_losses()
        if not examples:
            return
        for learner in self.learners:
            means = torch.stack([learner.usdr(*example) for example in examples]).nanmean(dim=0)
            row = {"step": self.step, "minutes": round(self.elapsed_s / 60, 2), "network": learner.kind}
            row |= {stem: round(float(x), 2) for stem, x in zip(STEMS, means, strict=True) if not x.isnan()}
            self.history.append(row)
            tqdm.write(f"uSDR on excerpts for validation: {row}")

    def _done(self) -> float:
        return self.schedule.done(self.step, self.elapsed_s)

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 50)
        return warm * (0.5 * (1 + float(np.cos(np.pi * self._done()))) + 1e-3)

    def save(self) -> None:
        """Writes the checkpoint under its final name only when it is whole, the history, and the curves."""
        self._read_losses()
        state = {
            "learners": {learner.kind: learner.state() for learner in self.learners},
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "history": self.history,
        }
        save_checkpoint(state, self.folder / "checkpoint.pt")
        (self.folder / "history.json").write_text("\n".join(json.dumps(row) for row in self.history) + "\n")
        for learner in self.learners:
            rows = [row for row in self.history if row["network"] == learner.kind]
            plot_curve(rows, self.folder / f"{learner.kind}.png", title=learner.kind)

    def _load(self, state: dict[str, Any]) -> None:
        for learner in self.learners:
            learner.load(state["learners"][learner.kind])
        self.step, self.elapsed_s, self.history = state["step"], state["elapsed_s"], state["history"]
        tqdm.write(f"{self.folder} goes on at step {self.step}")


def _precision(device: str) -> AbstractContextManager[None]:
    """bfloat16 where the hardware has it. A CPU that has not computes it twenty times as slowly as float32."""
    able = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device, dtype=torch.bfloat16, enabled=able)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, step: int) -> None:
    """Exponential, over the last tenth of the steps at first: the beginning must not be remembered for long."""
    decay = min(0.999, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)


def separation_loss(estimates: Tensor, targets: Tensor) -> Tensor:
    """L1 on waveforms (batch, stems, 2, samples) plus L1 on magnitudes at several resolutions."""
    loss = l1_loss(estimates, targets)
    for n_fft in RESOLUTIONS:
        stft = Stft(n_fft, stft_hop=n_fft // 2)
        magnitudes = [stft.forward(x).abs() / n_fft**0.5 for x in (estimates, targets)]
        loss = loss + SPECTRAL_WEIGHT / len(RESOLUTIONS) * l1_loss(magnitudes[0], magnitudes[1])
    return loss


def validation_excerpts(songs: Sequence[SongFiles]) -> list[Tensor]:
    """A few excerpts of each song, spread over it, in which all its stems sound; silence follows a shorter song."""
    excerpts, length = [], segment_samples()
    for song in songs:
        references, _ = read_song(song)
        references = np.pad(references, [(0, 0), (0, 0), (0, max(0, length - references.shape[2]))])
        starts = np.unique(np.linspace(0, references.shape[2] - length, 24).astype(int))
        present = [i for i in range(len(STEMS)) if references[i].any()]
        if not present:
            continue
        weakest = [min((references[i, :, s : s + length] ** 2).mean() for i in present) for s in starts]
        best = sorted(starts[np.argsort(weakest)[-VALIDATION_EXCERPTS:]])
        excerpts += [torch.from_numpy(references[:, :, s : s + length].copy()) for s in best]
    return excerpts

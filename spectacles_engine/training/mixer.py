"""Trains the StemMixers on pre-computed estimates; by default as the paper does.

The paper: Adam 1e-3, ReduceLROnPlateau, L1, 100 epochs over whole chunks. One network a stem; all are trained side by
side on the same chunks. A tenth of the chunks is set aside, and decides on the learning rate and which epoch is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from spectacles_engine.devices import Placement
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import Mixer, Names, StemMixers
from spectacles_engine.stem_mixer import PAPER, Design, StemMixer
from spectacles_engine.training.bins import Bins, Chunk, DrawnBins, WholeChunks, chunks_of
from spectacles_engine.training.checkpoints import load_checkpoint, save_checkpoint
from spectacles_engine.training.estimates import StoredEstimates
from spectacles_engine.training.plots import plot_losses

Batches = WholeChunks | DrawnBins


def l1(errors: Tensor, worth: Tensor) -> Tensor:
    """The paper's: mean distance of magnitudes (or, for complex spectrograms, in the plane)."""
    return errors.abs().mean()


def level(errors: Tensor, worth: Tensor) -> Tensor:
    """Mean square of the errors against those of the models' average in the same song: what uSDR rewards."""
    return (errors.abs().square() * worth).mean()


LOSSES = {"l1": l1, "level": level}


@dataclass(frozen=True)
class Recipe:
    """How to train; by default the paper's. ``loss``: one of ``LOSSES``; ``chunk_s``: length of a chunk.

    ``bins``: learn from so many bins of each stem, drawn once, in place of whole chunks; then the learning rate falls
    along a cosine. ``stems``: which there are to be StemMixers for.
    """

    design: Design = PAPER
    epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    loss: str = "l1"
    chunk_s: float = 7.0
    bins: int = 0
    seed: int = 0
    stems: tuple[str, ...] = STEMS


OURS = Recipe(
    Design("spectrograms", knows_frequency=True, context=True, hidden=(32, 32), stft_hop=2048),
    epochs=12,
    learning_rate=3e-3,
    weight_decay=1e-2,
    loss="level",
    bins=1_000_000,
)
RECIPES = {
    "paper": Recipe(),
    "wide": replace(OURS, design=replace(OURS.design, hears_all=True)),
    "spectacles": OURS,
}
"""The paper's; `wide`, ours with the other stems to hear, at nearly twice the cost; and ours."""


def checkpoint_of(out: Path) -> Path:
    """From what an interrupted training of ``out`` goes on."""
    return out.with_name(f"{out.name.removesuffix('.safetensors')}.training")


def goes_on(out: Path) -> bool:
    """Whether a training of ``out`` has what it goes on from: it has after its first epoch."""
    return checkpoint_of(out).exists() and out.exists()


def train(songs: Sequence[StoredEstimates], recipe: Recipe, out: Path, device: str) -> Mixer:
    """Trains on all chunks of all songs, writes ``out`` after every epoch that got better, and returns the best.

    An interrupted training goes on from the checkpoint beside it.
    """
    chunks = chunks_of(songs, recipe.chunk_s)
    if len(chunks) < 2:
        raise ModelError(f"there are too few estimates to train on: fewer than two chunks of {recipe.chunk_s} s")
    training = _Training(songs[0].names, recipe, device)
    checkpoint, history = checkpoint_of(out), []
    made_of = {
        **asdict(recipe),
        "songs": [(song.name, song.fingerprint) for song in songs],
        "chunks": [(chunk.song.name, chunk.start) for chunk in chunks],
    }
    if not recipe.bins:
        del made_of["epochs"]  # nothing in the paper's schedule depends on them: more can be asked for later
    made_of = json.loads(json.dumps(made_of))
    if goes_on(out):
        history = training.restore(checkpoint, made_of)
    held_out = _batches(chunks[::10], len(chunks), recipe, device)
    trained = _batches([chunk for i, chunk in enumerate(chunks) if i % 10], len(chunks), recipe, device)
    for epoch in tqdm(range(len(history), recipe.epochs), desc="mixer", unit="epoch"):
        row = {"epoch": epoch, **training.epoch(trained, held_out, epoch)}
        if row["held_out"] <= min((r["held_out"] for r in history), default=np.inf):
            save_mixer(training.mixers, out)
        history.append(row)
        tqdm.write(f"epoch {epoch}: {recipe.loss} {row['train']:.5f}, held out {row['held_out']:.5f}")
        training.save(checkpoint, history, made_of)
    plot_losses(history, checkpoint.with_suffix(".png"), loss=recipe.loss)
    return load_mixer(out, device)


class _Training:
    """The networks and what moves them."""

    def __init__(self, names: Names, recipe: Recipe, device: str) -> None:
        torch.manual_seed(recipe.seed)
        models = {stem: tuple(model for owner, model in names if owner == stem) for stem in STEMS}
        networks = {stem: StemMixer(len(models[stem]), recipe.design).to(device) for stem in recipe.stems}
        self.mixers, self._recipe = StemMixers(networks, models, Placement(device, batch=1)), recipe
        parameters = [p for net in networks.values() for p in net.parameters()]
        # without decay AdamW is Adam
        self._optimiser = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self._optimiser, patience=5)
        self._state: dict[str, Any] = {**networks, "optimiser": self._optimiser, "plateau": self._plateau}

    def epoch(self, trained: Batches, held_out: Batches, epoch: int) -> dict[str, float]:
        """Goes over everything once; the mean loss of what it learned from, and of what was set aside."""
        recipe, random = self._recipe, np.random.default_rng([self._recipe.seed, epoch])
        if recipe.bins:
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
        losses = {"train": self._pass(trained, random, learn=True)}
        with torch.no_grad():
            losses["held_out"] = self._pass(held_out, random, learn=False)
        if not recipe.bins:
            self._plateau.step(losses["held_out"])
        return losses

    def _pass(self, batches: Batches, random: np.random.Generator, *, learn: bool) -> float:
        for network in self.mixers.networks.values():
            network.train(learn)
        losses, what = [], "train" if learn else "held out"
        # an epoch of the paper's recipe may take minutes: it has a bar of its own, for as long as it lasts
        for batch in tqdm(batches(random), total=len(batches), desc=what, unit="batch", leave=False, delay=1):
            loss = torch.stack([self._loss(stem, batch[stem]) for stem in self._recipe.stems]).sum()
            if learn:
                self._optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimiser.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _loss(self, stem: str, bins: Bins) -> Tensor:
        blended = (self.mixers.networks[stem](bins.clues) * bins.voices).sum(dim=1)
        # the paper's law decides on magnitudes alone: its phase is given
        given_phase = self._recipe.design.law == "magnitudes"
        errors = blended.abs() - bins.target.abs() if given_phase else blended - bins.target
        return LOSSES[self._recipe.loss](errors, bins.worth)

    def save(self, checkpoint: Path, history: list[dict[str, float]], made_of: dict[str, Any]) -> None:
        """Writes all that a training goes on from, under its final name only when it is whole."""
        saved = {name: part.state_dict() for name, part in self._state.items()}
        save_checkpoint({**saved, "history": history, "made_of": made_of}, checkpoint)

    def restore(self, checkpoint: Path, made_of: dict[str, Any]) -> list[dict[str, float]]:
        """The history of what is gone on from; raises ModelError where it is another training's."""
        saved = load_checkpoint(checkpoint, self.mixers.placement.device)
        if saved.get("made_of") != made_of:
            raise ModelError(f"{checkpoint} is of another recipe or of other songs: remove it to start anew")
        for name, part in self._state.items():
            part.load_state_dict(saved[name])
        history: list[dict[str, float]] = saved["history"]
        return history


def _batches(chunks: Sequence[Chunk], all_chunks: int, recipe: Recipe, device: str) -> Batches:
    if recipe.bins:
        bins = recipe.bins * len(chunks) // all_chunks
        return DrawnBins(chunks, recipe.design, device, bins, recipe.seed)
    return WholeChunks(chunks, recipe.design, device)

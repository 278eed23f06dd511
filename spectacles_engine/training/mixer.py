"""Trains the StemMixers on pre-computed estimates, as the paper does: Adam 1e-3, ReduceLROnPlateau, L1, 100 epochs.

One network a stem; all are trained side by side on the same chunks. A tenth of the chunks is set aside, and decides
on the learning rate and on which epoch is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.separators.devices import Placement
from spectacles_engine.stem_mixer import LAWS, STFT, StemMixer, StemMixers
from spectacles_engine.training.estimates import StoredEstimates
from spectacles_engine.training.plots import plot_losses


@dataclass(frozen=True)
class Recipe:
    """The paper's, by default. ``law``, ``knows_frequency``: see ``stem_mixer``.

    ``chunk_s``: length of a training chunk.
    ``every_frame``: learn from one frame in so many. Neighbours are much alike, and a CPU is slow.
    """

    epochs: int = 100
    learning_rate: float = 1e-3
    law: str = "magnitudes"
    knows_frequency: bool = False
    chunk_s: float = 7.0
    every_frame: int = 1
    seed: int = 0


def train(songs: Sequence[StoredEstimates], recipe: Recipe, out: Path, device: str) -> StemMixers:
    """Trains on all chunks of all songs, writes ``out`` after every epoch that got better, and returns the best.

    ``out`` with the suffix ``.training`` is the checkpoint from which an interrupted training goes on.
    """
    torch.manual_seed(recipe.seed)
    chunks = list(_places(songs, recipe))
    if len(chunks) < 2:
        raise ModelError(f"there are too few estimates to train on: fewer than two chunks of {recipe.chunk_s} s")
    models = {stem: tuple(model for owner, model in songs[0].names if owner == stem) for stem in STEMS}
    networks = {
        stem: StemMixer(len(names), knows_frequency=recipe.knows_frequency).to(device) for stem, names in models.items()
    }
    optimiser = torch.optim.Adam([p for net in networks.values() for p in net.parameters()], lr=recipe.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=5)
    state: dict[str, Any] = {**networks, "optimiser": optimiser, "plateau": plateau}
    checkpoint, history = out.with_suffix(".training"), []
    made_of = {**asdict(replace(recipe, epochs=0)), "chunks": [(song.name, start) for song, start in chunks]}
    if checkpoint.exists():
        history = _restore(checkpoint, state, made_of)
    held_out, trained = chunks[::10], [place for i, place in enumerate(chunks) if i % 10]
    mixers = StemMixers(networks, models, recipe.law, Placement(device, batch=1))
    for epoch in tqdm(range(len(history), recipe.epochs), desc="mixer", unit="epoch"):
        random = np.random.default_rng([recipe.seed, epoch])
        row = {"epoch": epoch, "train": _epoch(mixers, trained, recipe, random, optimiser)}
        row["held_out"] = _epoch(mixers, held_out, recipe, random, None)
        plateau.step(row["held_out"])
        if row["held_out"] <= min((r["held_out"] for r in history), default=np.inf):
            mixers.save(out)
        history.append(row)
        tqdm.write(f"epoch {epoch}: L1 {row['train']:.5f}, held out {row['held_out']:.5f}")
        saved = {**{name: part.state_dict() for name, part in state.items()}, "history": history, "made_of": made_of}
        torch.save(saved, partial := checkpoint.with_suffix(".partial"))
        partial.replace(checkpoint)
    plot_losses(history, out.with_suffix(".png"))
    return StemMixers.load(out, device)


def _places(songs: Sequence[StoredEstimates], recipe: Recipe) -> Iterator[tuple[StoredEstimates, int]]:
    """(song, first sample) of every chunk."""
    length = int(recipe.chunk_s * SAMPLE_RATE_HZ)
    for song in songs:
        # a song that is a little shorter is one chunk all the same
        yield from ((song, start) for start in range(0, max(1, song.estimates.shape[-1] - length + 1), length))


def _epoch(
    mixers: StemMixers,
    places: Sequence[tuple[StoredEstimates, int]],
    recipe: Recipe,
    random: np.random.Generator,
    optimiser: torch.optim.Optimizer | None,
) -> float:
    """Mean loss over all chunks in random order; learns where there is an optimiser."""
    losses = []
    for network in mixers.networks.values():
        network.train(optimiser is not None)
    for i in random.permutation(len(places)):
        with torch.set_grad_enabled(optimiser is not None):
            song, start = places[int(i)]
            loss = _loss(mixers, song, start, recipe, random)
        if optimiser is not None:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _loss(mixers: StemMixers, song: StoredEstimates, start: int, recipe: Recipe, random: np.random.Generator) -> Tensor:
    """L1 between blended and reference spectrogram, summed over the stems."""
    length = int(recipe.chunk_s * SAMPLE_RATE_HZ)
    frames = slice(int(random.integers(recipe.every_frame)), None, recipe.every_frame)
    losses = []
    for i, stem in enumerate(STEMS):
        said = song.estimates[song.of_stem(stem), :, start : start + length].astype(np.float32)
        reference = song.references[i, :, start : start + length].astype(np.float32)
        spectrograms = STFT.forward(torch.from_numpy(said).to(mixers.placement.device))[None, ..., frames]
        target = STFT.forward(torch.from_numpy(reference).to(mixers.placement.device))[None, ..., frames]
        blended = LAWS[mixers.law](mixers.networks[stem](spectrograms.abs()), spectrograms)
        # the paper's law decides on magnitudes alone: its phase is given
        error = blended.abs() - target.abs() if mixers.law == "magnitudes" else blended - target
        losses.append(error.abs().mean())
    return torch.stack(losses).sum()


def _restore(checkpoint: Path, state: dict[str, Any], made_of: dict[str, Any]) -> list[dict[str, float]]:
    saved = torch.load(checkpoint, weights_only=True)
    if saved["made_of"] != made_of:
        raise ModelError(f"{checkpoint} is of another recipe or of other songs: remove it to start anew")
    for name, part in state.items():
        part.load_state_dict(saved[name])
    history: list[dict[str, float]] = saved["history"]
    return history

"""Pre-computes what the frozen base models say of every song, as the paper does before it trains its mixer.

``OUT/<song>/`` holds ``references.npy`` (stem, 2, samples), ``mixture.npy`` (2, samples) and ``estimates.npy``
(estimate, 2, samples), all float16, and ``estimates.json``: the (stem, model) of every estimate, what made them, up to
which frequency some models know, and what is heard in which stem. A song that the same files of the same models have
gone over is not computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import InputError, ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.quality import energy
from spectacles_engine.training.augment import Sources
from spectacles_engine.training.examples import Example, each, parts
from spectacles_engine.whole_files import save_array, write_whole

FORMAT = 3
"""Of these files; others are computed anew."""
LEAST_ENERGY = 0.01
"""What errors are measured against has at least this share of the mixture's energy.

Else a stem that is hardly there would outweigh all others.
"""


def write_estimates(
    ensemble: Ensemble,
    examples: Iterable[Example],
    out: Path,
    made_by: Sequence[str] = (),
    up_to_hz: Mapping[str, float] | None = None,
) -> None:
    """Runs the base models of ``ensemble`` over every example; can be interrupted and goes on where it stopped.

    ``made_by``: what tells these models from others, the SHA-256 of their files. ``up_to_hz``: model → what is the
    highest that it knows, where that is not everything. Raises InputError for a song with stems that are ``untold``: of
    them there is silence in its references, and a mixer would learn to answer that.
    """
    common = {"format": FORMAT, "names": ensemble.names(), "made_by": list(made_by), "up_to_hz": dict(up_to_hz or {})}

    def write(example: Example) -> None:
        if untold := example.untold:
            raise InputError(
                f"{example.name} has no {' and no '.join(untold)}, and its mixture holds more than its other stems: "
                "add what it lacks, or leave it out with --skip"
            )
        folder = out / example.name
        about = json.dumps({**common, "sources": example.sources, "told": example.fingerprint})
        if (folder / "estimates.json").exists() and (folder / "estimates.json").read_text() == about:
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "estimates.json").unlink(missing_ok=True)
        estimates = np.concatenate([x.astype(np.float16) for x in ensemble.estimate([example.mixture])], axis=-1)
        for name, samples in {"references": example.references, "mixture": example.mixture}.items():
            save_array(folder / f"{name}.npy", samples.astype(np.float16))
        save_array(folder / "estimates.npy", estimates)
        write_whole(folder / "estimates.json", about.encode())

    each(examples, write, "estimates")


@dataclass(frozen=True)
class StoredEstimates:
    """One folder of ``write_estimates``, mapped, not read; see there, and ``Example``.

    ``worth``: how much it counts, against the others, in what is fitted to all of them. ``fingerprint``:
    what tells it from others of its name.
    """

    name: str
    references: Array
    mixture: Array
    estimates: Array
    names: tuple[tuple[str, str], ...]
    sources: Sources
    up_to_hz: Mapping[str, float]
    worth: float
    fingerprint: str

    def heard(self, part: slice) -> Array:
        """The mixture and all estimates in a part of the song, (1 + estimate, 2, samples)."""
        return np.concatenate([self.mixture[None, :, part], self.estimates[..., part]]).astype(np.float32)

    @cached_property
    def against(self) -> dict[str, float]:
        """Stem → the mean square that errors in it are measured against, so that every song counts alike.

        It is that of the error of the models' average, as gains in uSDR have it, within ``bounded``.
        """
        rows = [[1 + i for i, (owner, _) in enumerate(self.names) if owner == stem] for stem in STEMS]
        loudness, energies, errors = 0.0, np.zeros(len(STEMS)), np.zeros(len(STEMS))
        samples = self.mixture.shape[-1]
        for part in parts(samples):
            heard, references = self.heard(part), self.references[..., part].astype(np.float32)
            averages = np.stack([heard[own].mean(axis=0) for own in rows])
            loudness += energy(heard[0])
            energies += [energy(reference) for reference in references]
            errors += [energy(error) for error in averages - references]
        found = bounded(errors, energies, loudness) / (2 * samples) + 1e-9
        return dict(zip(STEMS, found.tolist(), strict=True))


def bounded(against: NDArray[np.float64], energies: NDArray[np.float64], loudness: float) -> NDArray[np.float64]:
    """Energies (stem,) that errors are measured against, but no less than a share of the mixture's, ``loudness``.

    Where a stem is silent (``energies``), what leaks into it is measured against the mixture.
    """
    return np.where(energies > 0, np.maximum(against, LEAST_ENERGY * loudness), loudness)


def read_estimates(*folders: Path) -> list[StoredEstimates]:
    """All songs in the ``folders``, sorted by name in each.

    Each folder counts alike: many random mixtures must not outvote a few songs, whose stems belong together. Raises
    ModelError for a folder without any, what an older version wrote, what is damaged, and where not all are of the
    same models.
    """
    found = [sorted(folder.glob("*/estimates.json")) for folder in folders]
    if [] in found:
        raise ModelError(f"there are no estimates in {folders[found.index([])]}")
    about = {path: _about(path) for paths in found for path in paths}
    made_by = {repr([one.get(key) for key in ("names", "made_by", "up_to_hz")]): path for path, one in about.items()}
    if len(made_by) > 1:
        one, other, *_ = (path.parent for path in made_by.values())
        raise ModelError(f"the estimates in {one} and {other} are of different models: run `estimates` again")
    return [_read(path, about[path], 1 / len(paths)) for paths in found for path in paths]


def _about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(path.read_text())
        if about["format"] != FORMAT:
            raise ModelError(f"the estimates in {path.parent} are of another version: run `estimates` again")
        return about
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged: remove it, and run `estimates` again") from error


def _read(path: Path, about: Mapping[str, Any], worth: float) -> StoredEstimates:
    try:
        references, mixture, estimates = (
            np.load(path.parent / f"{name}.npy", mmap_mode="r") for name in ("references", "mixture", "estimates")
        )
    except (ValueError, EOFError) as error:
        raise ModelError(
            f"the estimates in {path.parent} are damaged: remove them, and run `estimates` again"
        ) from error
    return StoredEstimates(
        path.parent.name,
        references,
        mixture,
        estimates,
        tuple((stem, model) for stem, model in about["names"]),
        about["sources"],
        about["up_to_hz"],
        worth,
        hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16],
    )

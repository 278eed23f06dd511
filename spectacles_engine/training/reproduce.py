"""The paper's experiment in one call: estimates of the training songs, the mixers, and Table 1 of the test songs.

Everything lies below one folder, and what is there already isn't done again: an interrupted run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectacles_engine.errors import InputError, ModelError
from spectacles_engine.manifest import PresetSpec, describe
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import LinearMixer, MeanMixer, Mixer, StemMixers, require_models
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import blends, load_blend, load_ensemble
from spectacles_engine.stem_mixer import Design
from spectacles_engine.training import estimates, linear, mixer
from spectacles_engine.training.evaluate import Evaluation
from spectacles_engine.training.oracle import Oracle
from spectacles_engine.training.plots import plot_table
from spectacles_engine.training.table import LINEAR, ORACLE, Report, Table


@dataclass(frozen=True)
class Bench:
    """A preset, the files of its models, and where they run (``cpu`` or ``cuda``)."""

    store: ModelStore
    spec: PresetSpec
    device: str

    def made_by(self) -> list[str]:
        """What tells these base models from others."""
        return [self.store.manifest.files[name].sha256 for model in self.spec.models for name in model.files.values()]

    def estimate(self, examples: estimates.Examples, out: Path) -> None:
        """Stores what all base models say of every example."""
        # the average listens to every model that there is
        ensemble = load_ensemble(self.spec, self.store, blend="average", device=self.device)
        estimates.write_estimates(ensemble, examples, out, self.made_by(), self.spec.up_to_hz)

    def evaluate(
        self,
        examples: estimates.Examples,
        files: Mapping[str, Path],
        *,
        ours: str = "stemmixer",
        json: Path | None = None,
        chart: Path | None = None,
    ) -> Report:
        """Table 1: all that the preset has, and a row for each of ``files``, row → mixer; ``ours`` is a row, too."""
        models = {model.name for model in self.spec.models}
        mixers = self._mixers()
        ensemble = load_ensemble(self.spec, self.store, blend="average", device=self.device)
        for name, file in files.items():
            if name in (*mixers, *models, ORACLE, "floor", "mixture"):
                raise InputError(f"{file} has the name of another row: rename it")
            mixers[name] = load_mixer(file, self.device)
            require_models(mixers[name], ensemble.names(), str(file))
        if ours not in mixers:
            raise ModelError(f"there is no row {ours!r} to compare, only {', '.join(mixers)}")
        chosen = mixers[ours]
        # all others weigh complex spectrograms, and with magnitudes alone they could pass it
        design = chosen.design if isinstance(chosen, StemMixers) else Design("spectrograms")
        evaluation = Evaluation(ensemble, mixers, Oracle(design), ours)
        embedded = [self.store.manifest.files[name].sha256 for name in self.spec.mixers.values()]
        made_by = {
            "models": self.made_by() + embedded,
            "mixers": {name: describe(file)[1] for name, file in files.items()},
            "rows": list(mixers),
            "ours": ours,
            "songs": list(examples.fingerprints),
        }
        table = Table.resumed(json, made_by)
        evaluation.run(examples, table, json)
        report = evaluation.report(table)
        if chart:
            plot_table(report, chart)
        return report

    def _mixers(self) -> dict[str, Mixer]:
        """Row → mixer, for all that the preset has, and for the linear part of its mean by itself."""
        models = {model.name for model in self.spec.models}
        names = [blend for blend in reversed(blends(self.spec)) if blend not in models]
        known = {name: load_blend(self.spec, self.store, name, self.device) for name in names}
        mean = known["stemmixer"]
        parts = mean.mixers if isinstance(mean, MeanMixer) else ()
        linear_part = [(LINEAR, part) for part in parts if isinstance(part, LinearMixer)]
        return {"average": known["average"], **dict(linear_part), **known}


def reproduce(
    bench: Bench, train: estimates.Songs, test: estimates.Songs, recipes: Mapping[str, mixer.Recipe], out: Path
) -> Report:
    """Trains all ``recipes`` (name → recipe; ours is `spectacles`) and the linear mixer on ``train``.

    Raises InputError where a song is in both halves.
    """
    names = {song.name for song in train.files}
    if both := names & {song.name for song in test.files}:
        raise InputError(f"songs to train on cannot be tested on: {', '.join(sorted(both))}")
    bench.estimate(train, out / "estimates")
    # what an earlier run with other songs has left there is not for this one
    songs = [song for song in estimates.read_estimates(out / "estimates") if song.name in names]
    files = {name: out / f"{name}.safetensors" for name in ("linear", *recipes)}
    fitted_to = [(song.name, song.fingerprint) for song in songs]
    if not _was_fitted(files["linear"], fitted_to):
        save_mixer(linear.fit(songs), files["linear"])
        _notes_of(files["linear"]).write_text(json.dumps(fitted_to), encoding="utf-8")
    for name, recipe in recipes.items():
        mixer.train(songs, recipe, files[name], bench.device)
    return bench.evaluate(test, files, ours="spectacles", json=out / "table.json", chart=out / "table.png")


def _was_fitted(file: Path, songs: Sequence[tuple[str, str]]) -> bool:
    """Whether a linear mixer was fitted to these songs. One that is fitted again may differ in its last bits."""
    notes = _notes_of(file)
    return file.exists() and notes.exists() and notes.read_text(encoding="utf-8") == json.dumps(songs)


def _notes_of(file: Path) -> Path:
    """What a mixer was fitted to."""
    return file.with_suffix(".songs")


def halves(folders: Sequence[Path], test: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Folders to train on and to test on: those that are given, or what MUSDB18 calls ``train`` and ``test``.

    Raises InputError where nothing says which songs are for what.
    """
    if test:
        return list(folders), list(test)
    parted = [(folder / "train", folder / "test") for folder in folders]
    if not all(part.is_dir() for pair in parted for part in pair):
        raise InputError("which songs are to be tested on? give their folders with --test")
    return [train for train, _ in parted], [test for _, test in parted]

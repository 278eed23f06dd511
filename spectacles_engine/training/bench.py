"""A preset on the bench: its base models run over songs, and all that can be made of them is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spectacles_engine.errors import InputError, ModelError
from spectacles_engine.manifest import PresetSpec, describe
from spectacles_engine.mixer_files import load_mixer
from spectacles_engine.mixers import LinearMixer, MeanMixer, Mixer, StemMixers, require_models
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_blend, load_ensemble
from spectacles_engine.stem_mixer import Design
from spectacles_engine.training import estimates
from spectacles_engine.training.evaluate import Evaluation
from spectacles_engine.training.examples import Examples
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

    def estimate(self, examples: Examples, out: Path) -> None:
        """Stores what all base models say of every example."""
        # the average listens to every model that there is
        ensemble = load_ensemble(self.spec, self.store, blend="average", device=self.device)
        estimates.write_estimates(ensemble, examples, out, self.made_by(), self.spec.up_to_hz)

    def evaluate(
        self,
        examples: Examples,
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
        names = [blend for blend in reversed(self.spec.blends) if blend not in models]
        known = {name: load_blend(self.spec, self.store, name, self.device) for name in names}
        mean = known["stemmixer"]
        parts = mean.mixers if isinstance(mean, MeanMixer) else ()
        linear_part = [(LINEAR, part) for part in parts if isinstance(part, LinearMixer)]
        return {"average": known["average"], **dict(linear_part), **known}

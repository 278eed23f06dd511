"""A preset of the manifest → an ensemble in memory."""

from __future__ import annotations

from collections.abc import Mapping

from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import ModelError
from spectacles_engine.manifest import OWN, BaseModelSpec, PresetSpec
from spectacles_engine.messages import STEMS
from spectacles_engine.mixer_files import load_mixer
from spectacles_engine.mixers import FixedShares, Mixer, require_models
from spectacles_engine.models import ModelStore
from spectacles_engine.quality import Calibration
from spectacles_engine.separators import Separator
from spectacles_engine.separators.demucs import DemucsSeparator
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.separators.spleeter import SpleeterSeparator

Loaded = dict[tuple[str, str], Separator]
"""(preset, model) → the base model: several blends of a preset share them."""


def load_ensemble(
    spec: PresetSpec, store: ModelStore, *, blend: str, device: str, loaded: Loaded | None = None
) -> Ensemble:
    """Loads the base models that the blend listens to (but for those that are ``loaded``), and its mixer.

    ``blend``: one of ``spec.blends``. Raises ModelError.
    """
    mixer = load_blend(spec, store, blend, device)
    names = mixer.names(STEMS)
    heard = {model for _, model in names}
    loaded = {} if loaded is None else loaded
    needed = [model for model in spec.models if model.front or model.name in heard]
    for model in needed:
        if (spec.name, model.name) not in loaded:
            loaded[spec.name, model.name] = _load(model, store, device)
    models = {model.name: loaded[spec.name, model.name] for model in needed}
    for stem, name in names:
        if stem not in models[name].stems:
            raise ModelError(f"{name} of the preset {spec.name} does not answer {stem}, which {blend} listens to")
    return Ensemble(models, mixer, tuple(model.name for model in needed if model.front))


def load_calibration(spec: PresetSpec, store: ModelStore) -> Calibration | None:
    """What turns the measurements on a song into the note, if the preset has it."""
    return Calibration.load(store.path(spec.quality)) if spec.quality else None


def average_shares(spec: PresetSpec) -> Mapping[str, Mapping[str, float]]:
    """Every base model has the same share; a front has vocals only, and comes last: the phase is the first one's."""
    models = sorted(spec.models, key=lambda model: model.front)
    shares = {}
    for stem in STEMS:
        names = [model.name for model in models if not model.front or stem == "vocals"]
        shares[stem] = dict.fromkeys(names, 1 / len(names))
    return shares


def load_blend(spec: PresetSpec, store: ModelStore, blend: str, device: str) -> Mixer:
    """The mixer of a blend, see ``PresetSpec.blends``; raises ModelError if the preset has no such."""
    if blend in [model.name for model in spec.models if not model.front]:
        return FixedShares({stem: {blend: 1.0} for stem in STEMS})
    if blend == "average":
        return FixedShares(average_shares(spec), spec.up_to_hz)
    if blend in spec.mixers:
        name = spec.mixers[blend]
        mixer = load_mixer(store.path(name), device)
        what = f"engine.mixer ({name})" if store.manifest.files[name].source == OWN else name
        require_models(mixer, FixedShares(average_shares(spec)).names(STEMS), what)
        return mixer
    if blend != "stemmixer":
        raise ModelError(f"the preset {spec.name} has no blend {blend!r}, only {', '.join(spec.blends)}")
    return FixedShares({stem: _published(spec, stem) for stem in STEMS})


def _published(spec: PresetSpec, stem: str) -> dict[str, float]:
    """A fixed blend of the manifest: model → share; what is left over belongs to the first model."""
    lead = next(model.name for model in spec.models if not model.front)
    shares = {lead: 0.0} | {model: stems[stem] for model, stems in spec.shares.items() if stem in stems}
    shares[lead] += 1.0 - sum(shares.values())
    return shares


def _load(spec: BaseModelSpec, store: ModelStore, device: str) -> Separator:
    files = {key: store.path(name) for key, name in spec.files.items()}
    if spec.family == "mdx":
        return MdxSeparator.load(files, spec.n_fft, device)
    if spec.family == "spleeter":
        return SpleeterSeparator.load(files, device)
    return DemucsSeparator.load(files, device)

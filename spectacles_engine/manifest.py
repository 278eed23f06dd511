"""What ``weights/manifest.yaml`` says: which model files there are, and which presets are made of them.

The manifest is part of the package, so a mistake in it is a :class:`ModelError` that names the place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path, PurePath
from typing import Any, TypeVar

import yaml

from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS

EMBEDDED, OWN = "embedded", "your own"
FAMILIES = ("spleeter", "demucs", "mdx")
WEIGHTS = Path(str(package_files("spectacles_engine") / "weights"))
"""Folder of the embedded files and of the manifest that comes with the package."""

T = TypeVar("T")


def describe(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 (64 hex digits) of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


@dataclass(frozen=True)
class ModelFile:
    """One file: how large it is, what it must hash to, whose it is, where it comes from.

    ``size_bytes`` is None where nobody states it. An embedded file has no size and an empty ``sha256`` until
    ``python -m spectacles_engine.models refresh`` has filled them in.
    """

    name: str
    size_bytes: int | None
    sha256: str
    licence: str
    source: str
    sha256_from: str

    @property
    def embedded(self) -> bool:
        """True if the file comes with the package."""
        return self.source == EMBEDDED

    @property
    def fetched(self) -> bool:
        """True if ``source`` is an address."""
        return self.source not in (EMBEDDED, OWN)


@dataclass(frozen=True)
class BaseModelSpec:
    """A base model. ``files`` and ``n_fft`` (samples) are keyed by stem, by ``accompaniment`` or by ``all``.

    ``front``: the other models of the preset listen to the mixture minus the mean of the vocals of its fronts.
    ``up_to_hz``: above that it answers silence, and an average does without it.
    """

    name: str
    family: str
    files: Mapping[str, str]
    front: bool
    n_fft: Mapping[str, int]
    up_to_hz: int | None


@dataclass(frozen=True)
class PresetSpec:
    """A named ensemble; the first of ``models`` that is not ``front`` gives the phase.

    ``mixers``: blend → file of its mixer; ``quality`` names the calibration of the note. ``shares`` is a fixed
    blend, model → stem → share 0–1; what is left over belongs to the model that gives the phase.
    """

    name: str
    models: tuple[BaseModelSpec, ...]
    mixers: Mapping[str, str]
    quality: str | None
    shares: Mapping[str, Mapping[str, float]]

    @property
    def blends(self) -> tuple[str, ...]:
        """What can be had of it: its mixers (or the published shares in their place), the average, single models."""
        alone = [model.name for model in self.models if not model.front]
        return tuple(dict.fromkeys(["stemmixer", *self.mixers, "average", *alone]))

    @property
    def up_to_hz(self) -> Mapping[str, float]:
        """Model → what is the highest that it knows, of those that don't know everything."""
        return {model.name: float(model.up_to_hz) for model in self.models if model.up_to_hz}

    @property
    def answers_together(self) -> bool:
        """Whether a model of it answers all stems at once: one alone then costs what all do."""
        return any("all" in model.files for model in self.models)

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every file that the preset needs, once, in the order of the manifest."""
        named = [name for model in self.models for name in model.files.values()]
        return tuple(dict.fromkeys([*named, *self.mixers.values(), *([self.quality] if self.quality else [])]))


@dataclass(frozen=True)
class Manifest:
    """Files and presets by name. Embedded files lie in ``folder``."""

    files: Mapping[str, ModelFile]
    presets: Mapping[str, PresetSpec]
    folder: Path

    @classmethod
    def load(cls, path: Path = WEIGHTS / "manifest.yaml") -> Manifest:
        """Reads and checks a manifest; raises :class:`ModelError` with the place of the first mistake."""
        try:
            parsed = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        top = _fields(parsed, path.name, ("files", "presets"))
        files = {name: _file(name, entry) for name, entry in _mapping(top["files"], "files").items()}
        presets = {name: _preset(name, entry) for name, entry in _mapping(top["presets"], "presets").items()}
        used = {name for preset in presets.values() for name in preset.file_names}
        _require(used == set(files), "files", f"and presets differ in {', '.join(sorted(used ^ set(files)))}")
        return cls(files, presets, path.parent)

    def with_own(self, preset: str, mixer: Path | None, quality: Path | None) -> Manifest:
        """The same with files that somebody trained for a preset: its mixer for the blend ``stemmixer``, and the note's
        estimator. That of the preset goes where there is another mixer, of which it says nothing.
        """
        own = {file: _own(file) for file in (mixer, quality) if file}
        spec = self.presets[preset]
        if mixer:
            spec = replace(spec, mixers={**spec.mixers, "stemmixer": own[mixer].name}, quality=None)
        if quality:
            spec = replace(spec, quality=own[quality].name)
        presets = {**self.presets, preset: spec}
        used = {name for known in presets.values() for name in known.file_names}
        files = {**self.files, **{file.name: file for file in own.values()}}
        return Manifest({name: file for name, file in files.items() if name in used}, presets, self.folder)

    def presets_of(self, file_name: str) -> tuple[str, ...]:
        """Names of the presets that need a file."""
        return tuple(name for name, preset in self.presets.items() if file_name in preset.file_names)


def _own(file: Path) -> ModelFile:
    """Its whole path is its name; it is what it is, so its own sum is the right one."""
    path = file.expanduser().absolute()
    try:
        size_bytes, sha256 = describe(path)
    except OSError:  # said where the file is asked for
        size_bytes, sha256 = None, ""
    return ModelFile(str(path), size_bytes, sha256, licence="your own", source=OWN, sha256_from="itself")


def _file(name: str, entry: Any) -> ModelFile:
    where = f"files.{name}"
    _require(PurePath(name).name == name and name not in ("", ".", ".."), where, "must be a plain file name")
    known = _fields(entry, where, ("bytes", "sha256", "licence", "source", "sha256_from"))
    # 0: an embedded file that was not measured yet.
    size_bytes = None if known["bytes"] is None else _typed(known["bytes"], int, f"{where}.bytes") or None
    texts = {key: _typed(known[key], str, f"{where}.{key}") for key in ("sha256", "licence", "source", "sha256_from")}
    file = ModelFile(name, size_bytes, **texts)
    not_yet = file.embedded and file.sha256 == ""
    hashed = re.fullmatch(r"[0-9a-f]{64}", file.sha256) is not None
    _require(hashed or not_yet, f"{where}.sha256", "must be 64 lower-case hex digits")
    return file


def _preset(name: str, entry: Any) -> PresetSpec:
    where = f"presets.{name}"
    known = _fields(entry, where, ("models",), ("mixers", "quality", "shares"))
    models = tuple(_model(where, key, model) for key, model in _mapping(known["models"], f"{where}.models").items())
    _require(any(not model.front for model in models), f"{where}.models", "must hold one that is not `front`")
    mixers = {
        blend: _typed(file, str, f"{where}.mixers.{blend}")
        for blend, file in _mapping(known.get("mixers", {}), f"{where}.mixers").items()
    }
    quality = None if known.get("quality") is None else _typed(known["quality"], str, f"{where}.quality")
    shares = _shares(known.get("shares", {}), {model.name for model in models if not model.front}, f"{where}.shares")
    return PresetSpec(name, models, mixers, quality, shares)


def _model(preset: str, name: str, entry: Any) -> BaseModelSpec:
    where = f"{preset}.models.{name}"
    known = _fields(entry, where, ("family", "files"), ("front", "n_fft", "up_to_hz"))
    family = _typed(known["family"], str, f"{where}.family")
    _require(family in FAMILIES, f"{where}.family", f"must be one of {', '.join(FAMILIES)}")
    files = _mapping(known["files"], f"{where}.files")
    alone = files.keys() in ({"all"}, {"accompaniment"})
    _require(alone or _are_stems(files), f"{where}.files", "must name stems, or `all` or `accompaniment` alone")
    n_fft = _mapping(known.get("n_fft", {}), f"{where}.n_fft")
    _require(n_fft.keys() <= files.keys(), f"{where}.n_fft", "must have the keys of files")
    return BaseModelSpec(
        name,
        family,
        {key: _typed(value, str, f"{where}.files.{key}") for key, value in files.items()},
        _typed(known.get("front", False), bool, f"{where}.front"),
        {key: _typed(value, int, f"{where}.n_fft.{key}") for key, value in n_fft.items()},
        None if known.get("up_to_hz") is None else _typed(known["up_to_hz"], int, f"{where}.up_to_hz"),
    )


def _shares(entry: Any, models: set[str], where: str) -> dict[str, dict[str, float]]:
    shares = {model: _mapping(stems, f"{where}.{model}") for model, stems in _mapping(entry, where).items()}
    _require(shares.keys() <= models, where, f"must name models among {', '.join(sorted(models))}")
    for model, stems in shares.items():
        _require(_are_stems(stems), f"{where}.{model}", "must name stems")
        numbers = all(type(share) in (int, float) and share >= 0 for share in stems.values())
        _require(numbers, f"{where}.{model}", "must be numbers from 0 to 1")
    for stem in STEMS:
        _require(sum(stems.get(stem, 0) for stems in shares.values()) <= 1, where, f"give {stem} more than 1 in all")
    return shares


def _are_stems(keys: Iterable[str]) -> bool:
    return bool(set(keys)) and set(keys) <= set(STEMS)


def _fields(value: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    known = _mapping(value, where)
    for key in required:
        _require(key in known, where, f"lacks {key}")
    for key in known:
        _require(key in required + optional, where, f"has an unknown key {key}")
    return known


def _mapping(value: Any, where: str) -> dict[str, Any]:
    _require(isinstance(value, dict) and all(isinstance(key, str) for key in value), where, "must be a mapping")
    return dict(value)


def _typed(value: Any, kind: type[T], where: str) -> T:
    # Not isinstance: `true` would pass for an int.
    if type(value) is not kind:
        raise ModelError(f"{where} in the manifest of models must be {kind.__name__}")
    return value


def _require(condition: bool, where: str, complaint: str) -> None:
    if not condition:
        raise ModelError(f"{where} in the manifest of models {complaint}")

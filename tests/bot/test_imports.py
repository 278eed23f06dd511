from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
import {package} as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sorted(sys.modules))
"""
IMPORT_ONE = "import sys, {package}; print(*sorted(sys.modules))"
HEAVY = {"torch", "numpy", "onnxruntime", "soundfile", "av", "demucs"}
BORDER = {"messages", "errors", "process", "keeper", "child", "worker", "audio_files", "short_child", "playback"}
"""Of the engine, what an event loop may import."""


def _loaded(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_bot_imports_no_torch_and_of_the_engine_only_what_crosses_the_border() -> None:
    loaded = _loaded(IMPORT_ALL.format(package="bot"))
    assert not loaded & HEAVY
    engine = {name.partition(".")[2] for name in loaded if name.startswith("spectacles_engine.")}
    assert engine <= BORDER
    assert "bot.config" in loaded


@pytest.mark.parametrize(
    "module",
    ["spectacles_engine", "run_bot", *(f"spectacles_engine.{name}" for name in ("models", "process", "audio_files"))],
)
def test_what_must_answer_at_once_imports_nothing_heavy(module: str) -> None:
    assert not _loaded(IMPORT_ONE.format(package=module)) & HEAVY

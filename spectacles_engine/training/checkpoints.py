"""Checkpoints: what a training goes on from, whole or not there."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch

from spectacles_engine.errors import ModelError
from spectacles_engine.whole_files import write_whole


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Raises OSError."""
    whole = io.BytesIO()  # torch.save to a path would raise no OSError where the disk is full
    torch.save(state, whole)
    write_whole(path, whole.getvalue())


def load_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """The inverse; raises ModelError for what is damaged, and OSError for what cannot be read."""
    whole = io.BytesIO(path.read_bytes())  # what torch.load has to say of a damaged file may be an OSError
    try:
        state: dict[str, Any] = torch.load(whole, map_location=device, weights_only=True)
        return state
    except (RuntimeError, ValueError, EOFError, UnpicklingError, BadZipFile) as error:
        raise ModelError(f"{path} is damaged: remove it to start anew") from error

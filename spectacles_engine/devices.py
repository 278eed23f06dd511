"""Where a network runs, and what happens when a GPU turns out too small for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError


def pick_device(wanted: str) -> str:
    """``auto``, ``cpu`` or ``cuda`` -> the device to use, ``cpu`` or ``cuda``.

    Raises:
        ModelError: ``cuda`` on a machine where torch finds none that it can use.
    """
    if wanted == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        lacking = "no CUDA device was found on this machine"
    elif not _has_kernels():
        lacking = "the GPU of this machine is too old for this PyTorch"
    else:
        return "cuda"
    if wanted == "cuda":
        raise ModelError(f"{lacking}: set engine.device to auto or cpu")
    return "cpu"


def _has_kernels() -> bool:
    """Whether torch was built for this GPU: one that is too old for that is counted all the same."""
    try:
        torch.zeros(1, device="cuda").add(1).cpu()
    except RuntimeError as error:
        return "no kernel image" not in str(error)  # full just now, or out of order: that is said when it runs
    return True


def gpus(device: str) -> int:
    """How many GPUs there are to run on: none for ``auto`` where torch can use none, though it counts them all.

    A driver that is too old is such a case.
    """
    return torch.cuda.device_count() if pick_device(device) == "cuda" else 0


def mixed_precision(device: str) -> AbstractContextManager[None]:
    """Half precision for the layers that bear it, on a GPU only: on a CPU it gains nothing."""
    return torch.autocast(device, dtype=torch.float16, enabled=device == "cuda")


_OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "alloc_failed", "allocation_failed")
"""What their errors hold: those of torch and CUDA, of onnxruntime, of cuBLAS and cuDNN, of cuFFT."""
GPU_BATCH = 4
"""So many chunks at once keep a GPU busy; a CPU is kept busy by one."""


@dataclass
class Placement:
    """Where one network runs (``cpu`` or ``cuda``), and how many chunks it is best given at once.

    Both shrink when the GPU's memory runs out, until ``renew``; ``warnings`` says what is left.
    """

    device: str
    batch: int
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, device: str) -> Placement:
        """Of a base model on ``device``."""
        return cls(device, batch=GPU_BATCH if device == "cuda" else 1)

    def __post_init__(self) -> None:
        self._at_first = self.device, self.batch, tuple(self.warnings)

    def renew(self) -> None:
        """For the next song: what had filled the GPU may be gone by then."""
        self.device, self.batch, warnings = self._at_first
        self.warnings = list(warnings)

    def run(self, work: Callable[[Array, str], dict[str, Array]], mixture: Array) -> dict[str, Array]:
        """``work(chunks, device)`` over a batch of chunks (b, 2, samples), in parts that fit into memory.

        Out of memory on a GPU: half the batch, at batch 1 the CPU.
        """
        done: list[dict[str, Array]] = []
        first = 0
        while first < len(mixture):
            part = mixture[first : first + self.batch]
            try:
                done.append(work(part, self.device))
            except Exception as error:  # onnxruntime has no type of its own for it; all else is raised again
                if self.device == "cpu" or not is_out_of_memory(error):
                    raise
            else:
                first += len(part)
                continue
            self._shrink(len(part))  # no sooner: the error holds on to all that ran, and to its memory
        return {stem: np.concatenate([answer[stem] for answer in done]) for stem in done[0]}

    def _shrink(self, failed_batch: int) -> None:
        if failed_batch > 1:
            self.batch = failed_batch // 2
            left = f"{self.batch} at once"
        else:
            self.device = "cpu"
            left = "on the CPU"
        self.warnings = [f"the GPU's memory ran out: chunks are separated {left}"]
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is what some library says when a GPU's memory runs out."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _OUT_OF_MEMORY)

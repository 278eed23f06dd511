"""The training of a base model: it learns, stops, goes on, and writes what the engine loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectacles_engine.messages import STEMS
from spectacles_engine.separators.devices import Placement
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.separators.spleeter import SpleeterSeparator, SpleeterUNet
from spectacles_engine.training.augment import MixtureSource
from spectacles_engine.training.data import Recording
from spectacles_engine.training.separators import Schedule, Trainer, moving_average

SAMPLES = 44_100


@pytest.fixture
def front() -> SpleeterSeparator:
    torch.manual_seed(0)
    return SpleeterSeparator(SpleeterUNet(), Placement("cpu", batch=1))


def _source() -> MixtureSource:
    noise = np.random.default_rng(0).integers(-3000, 3000, (2, 10 * SAMPLES)).astype(np.int16)
    recording = Recording(noise, np.arange(10), "noise")
    return MixtureSource([dict.fromkeys(STEMS, recording)], {}, SAMPLES, seed=0)


def test_an_interrupted_training_goes_on_and_exports_what_the_engine_loads(
    front: SpleeterSeparator, tmp_path: Path
) -> None:
    first = Trainer("mdx", front, tmp_path, Schedule(steps=2, batch=1), "cpu")
    first.run(_source(), [])
    assert first.step == 2
    resumed = Trainer("mdx", front, tmp_path, Schedule(steps=3, batch=1), "cpu")
    assert resumed.step == 2
    for one, two in zip(first.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    resumed.run(_source(), [])
    assert resumed.step == 3
    assert [row["step"] for row in resumed.history] == [1, 2, 3]
    separator = MdxSeparator.load({"all": resumed.export()}, None, "cpu")
    assert separator.stems == STEMS
    tuned = Trainer("mdx", front, tmp_path / "tuned", Schedule(steps=1, batch=1), "cpu", start_from=tmp_path)
    for one, two in zip(resumed.average.module.parameters(), tuned.network.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_the_schedule_ends_at_whichever_limit_comes_first() -> None:
    assert Schedule(steps=100).done(50, 1e9) == 0.5
    assert Schedule(steps=100, minutes=10).done(10, 300) == 0.5
    assert Schedule(steps=100, minutes=10).done(10, 6000) == 1


def test_the_moving_average_forgets_its_beginning() -> None:
    average = torch.tensor(100.0)
    for step in range(1, 300):
        average = moving_average(average, torch.tensor(1.0), step)
    assert float(average) == pytest.approx(1, abs=0.01)

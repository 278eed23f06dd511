"""The training of a base model: it learns, stops, goes on, and writes what the engine loads."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from spectacles_engine.devices import Placement
from spectacles_engine.messages import STEMS
from spectacles_engine.separators.mdx import MdxSeparator
from spectacles_engine.separators.spleeter import PARTS, SpleeterSeparator, SpleeterUNet
from spectacles_engine.training.augment import Material, MixtureSource, batches, end
from spectacles_engine.training.data import Recording
from spectacles_engine.training.separators import Schedule, Trainer, move_average

SAMPLES = 44_100


@pytest.fixture
def fronts() -> list[SpleeterSeparator]:
    torch.manual_seed(0)
    return [SpleeterSeparator(SpleeterUNet(), part, Placement("cpu", batch=1)) for part in PARTS]


def _source() -> MixtureSource:
    noise = np.random.default_rng(0).integers(-3000, 3000, (2, 10 * SAMPLES)).astype(np.int16)
    recording = Recording(noise, np.arange(10), "noise")
    return MixtureSource([Material([dict.fromkeys(STEMS, recording)])], SAMPLES, seed=0)


def test_an_interrupted_training_goes_on_and_exports_what_the_engine_loads(
    fronts: list[SpleeterSeparator], tmp_path: Path
) -> None:
    first = Trainer(["mdx", "mdx-low"], fronts, tmp_path, Schedule(steps=2), "cpu")
    first.run(batches(_source(), 1), [])
    assert first.step == 2
    assert all((tmp_path / f"{kind}.png").stat().st_size > 1000 for kind in ("mdx", "mdx-low"))
    resumed = Trainer(["mdx", "mdx-low"], fronts, tmp_path, Schedule(steps=3), "cpu")
    assert resumed.step == 2
    for one, two in zip(first.learners[0].network.parameters(), resumed.learners[0].network.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    resumed.run(batches(_source(), 1), [])
    assert resumed.step == 3
    rows = [(row["step"], row["network"]) for row in resumed.history]
    assert rows == [(step, network) for step in (1, 2, 3) for network in ("mdx", "mdx-low")]
    file, _ = resumed.export(tmp_path)
    assert MdxSeparator.load({"all": file}, {}, "cpu").stems == STEMS
    tuned = Trainer(["mdx"], fronts, tmp_path / "tuned", Schedule(steps=1), "cpu", start_from=tmp_path)
    average, network = resumed.learners[0].average, tuned.learners[0].network
    for one, two in zip(average.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_network_learns_the_same_beside_another_and_is_measured_on_the_way(
    fronts: list[SpleeterSeparator], tmp_path: Path
) -> None:
    """Noise in all stems alike: a quarter of the mixture each is the best answer, 1.25 dB."""
    excerpt = torch.from_numpy(_source().draw().references)
    losses = []
    for kinds in (["mdx-low"], ["mdx-low", "mdx"]):
        trainer = Trainer(kinds, fronts, tmp_path / kinds[-1], Schedule(steps=2, validations=2), "cpu")
        trainer.run(batches(_source(), 2), [excerpt])
        losses.append([row["loss"] for row in trainer.history if row["network"] == "mdx-low" and "loss" in row])
        measured = [row for row in trainer.history if "loss" not in row]
        assert [row["step"] for row in measured] == [1] * len(kinds) + [2] * len(kinds)
        assert all(-10 < row[stem] < 3 for row in measured for stem in ("bass", "other"))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)


def test_mixtures_drawn_by_several_processes_are_many_and_the_same_each_time() -> None:
    first, second = ([next(drawn) for _ in range(3)] for drawn in (batches(_source(), 2, workers=2) for _ in range(2)))
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two)
    assert first[0].shape == (2, len(STEMS), 2, SAMPLES)
    assert not torch.equal(first[0], first[1])


def test_the_processes_that_draw_end_though_something_holds_what_they_draw() -> None:
    others = multiprocessing.active_children()
    drawn = batches(_source(), 1, workers=2)
    next(drawn)
    ours = [process for process in multiprocessing.active_children() if process not in others]
    assert len(ours) == 2
    end(drawn)
    assert not any(process.is_alive() for process in ours)
    end(batches(_source(), 1))  # drawn in this process: nothing to end


def test_the_schedule_ends_at_whichever_limit_comes_first() -> None:
    assert Schedule(steps=100).done(50, 1e9) == 0.5
    assert Schedule(steps=100, minutes=10).done(10, 300) == 0.5
    assert Schedule(steps=100, minutes=10).done(10, 6000) == 1


def test_the_moving_average_forgets_its_beginning() -> None:
    average, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(average.weight, 100)
    torch.nn.init.constant_(network.weight, 1)
    for step in range(1, 300):
        move_average(average, network, step)
    assert average.weight.item() == pytest.approx(1, abs=0.01)

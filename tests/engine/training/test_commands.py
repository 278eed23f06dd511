"""The commands of README's *Train and measure*, one after the other, as a person types them."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import LinearMixer, load_mixer
from spectacles_engine.training import commands, separators

Run = Callable[..., None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """``run("evaluate", "--data", …)``, in an empty folder."""
    monkeypatch.setenv("SPECTACLES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> None:
        monkeypatch.setattr("sys.argv", ["training", *argv])
        commands.main()

    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    yield run
    for kind, handler in before.items():
        signal.signal(kind, handler)


def _write_songs(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        (folder / f"song-{number}").mkdir(parents=True)
        for stem in STEMS:
            samples = random.standard_normal((2 * SAMPLE_RATE_HZ, 2)) * 0.05
            soundfile.write(folder / f"song-{number}" / f"{stem}.wav", samples, SAMPLE_RATE_HZ)


def test_from_songs_to_a_mixer_and_a_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_songs(tmp_path / "songs", 2)
    run("estimates", "--data", "songs", "--out", "est")
    run("mixer", "--estimates", "est", "--recipe", "bands", "--out", "mine.safetensors")
    fitted = load_mixer(tmp_path / "mine.safetensors")
    assert isinstance(fitted, LinearMixer)
    assert len(fitted.edges_hz) == 2  # where the two models of `lite` end that don't know everything
    run("evaluate", "--data", "songs", "--only", "song-1", "--mixers", "mine.safetensors", "--json", "table.json")
    assert "| mine |" in capsys.readouterr().out
    scores = json.loads((tmp_path / "table.json").read_text())["uSDR"]["mean"]["summary"]
    # it was fitted to this very noise
    assert all(scores["mine"][stem] > scores["stemmixer"][stem] for stem in STEMS)


def test_what_is_wrong_is_one_sentence(run: Run) -> None:
    for argv, sentence in (
        (["evaluate", "--data", "nowhere"], "there is no folder nowhere"),
        (["estimates", "--out", "est"], "which songs"),
        (["mixer", "--estimates", "est", "--out", "m.safetensors"], "too few estimates"),
        (["spleeter", "--wheel", "gone.whl", "--out", "s.safetensors"], r"gone\.whl cannot be read or written"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            run(*argv)


def test_a_disk_that_takes_no_more_is_told(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SystemExit, match="cannot be read or written"):
            run("estimates", "--data", "songs", "--out", "est")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_end_keeps_what_it_has(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
) -> None:
    _write_songs(tmp_path / "songs", 1)
    step = separators.Trainer._train_step

    def told_at_the_second(self: separators.Trainer, *args: object) -> None:
        if self.step == 1:
            os.kill(os.getpid(), kind)
        step(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(separators.Trainer, "_train_step", told_at_the_second)
    with pytest.raises(SystemExit, match="goes on where this one was"):
        run("separators", "--data", "songs", "--model", "mdx-low", "--batch", "1", "--steps", "3", "--out", "run")
    assert json.loads((tmp_path / "run" / "mdx-low" / "history.json").read_text().splitlines()[0])["step"] == 1
    assert (tmp_path / "run" / "mdx-low" / "checkpoint.pt").exists()

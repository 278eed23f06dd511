"""The commands of README's *Train and measure*, one after the other, as a person types them."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from spectacles_engine.ensemble import Ensemble
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import FixedShares, LinearMixer, MeanMixer
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_blend
from spectacles_engine.training import command_line, commands, mixer, separators
from spectacles_engine.training.estimates import FORMAT
from spectacles_engine.training.scoring import Row
from tests.engine.fakes import FakeSeparator, share
from tests.limits import limited

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


def _write_estimates(folder: Path, count: int) -> None:
    names = [(stem, model) for stem in STEMS for model in ("demucs", "mdx")]
    about = {"format": FORMAT, "names": names, "sources": {}, "up_to_hz": {}}
    for number in range(count):
        song = folder / str(number)
        song.mkdir(parents=True)
        for name, shape in {"references": (4, 2, 9), "mixture": (2, 9), "estimates": (8, 2, 9)}.items():
            np.save(song / f"{name}.npy", np.ones(shape, np.float16))
        (song / "estimates.json").write_text(json.dumps(about))


def test_from_songs_to_a_mixer_and_a_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_songs(tmp_path / "songs", 2)
    run("estimates", "--data", "songs", "--out", "est")
    run("mixer", "--estimates", "est", "--recipe", "bands", "--out", "mine.safetensors")
    fitted = load_mixer(tmp_path / "mine.safetensors")
    assert isinstance(fitted, LinearMixer)
    assert len(fitted.edges_hz) == 2  # where the two models of `lite` end that don't know everything
    run("mixer", "--estimates", "est", "--recipe", "linear", "--out", "linear.safetensors")
    run("mean", "--mixers", "mine.safetensors", "linear.safetensors", "--out", "mean.safetensors")
    assert isinstance(load_mixer(tmp_path / "mean.safetensors"), MeanMixer)
    mixers = ("mine.safetensors", "mean.safetensors")
    run("evaluate", "--data", "songs", "--only", "song-1", "--mixers", *mixers, "--json", "table.json")
    assert "| mine |" in capsys.readouterr().out
    scores = json.loads((tmp_path / "table.json").read_text())["uSDR"]["mean"]["summary"]
    # it was fitted to this very noise
    assert all(scores[mixer][stem] > scores["stemmixer"][stem] for mixer in ("mine", "mean") for stem in STEMS)
    rows = [row for row in scores if row in {"average", "linear mixer", "stemmixer-paper", "stemmixer", "oracle α"}]
    assert rows == ["average", "linear mixer", "stemmixer-paper", "stemmixer", "oracle α"]


def test_the_row_of_the_linear_mixer_is_the_linear_part_of_the_presets_mixer(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    store = ModelStore(tmp_path)
    spec = store.preset("lite")
    mean = load_blend(spec, store, "stemmixer", "cpu")
    assert isinstance(mean, MeanMixer)
    (part,) = (mixer for mixer in mean.mixers if isinstance(mixer, LinearMixer))
    save_mixer(part, tmp_path / "part.safetensors")
    command = ("evaluate", "--data", "songs", "--mixers", "part.safetensors", "--json", "table.json")
    run(*command)
    table = json.loads((tmp_path / "table.json").read_text())
    scores = table["uSDR"]["mean"]["summary"]
    assert scores["linear mixer"] == scores["part"] != scores["stemmixer"]
    del table["made_by"]["rows"]  # as an earlier version wrote it
    (tmp_path / "table.json").write_text(json.dumps(table))
    with pytest.raises(SystemExit, match="remove it, or name another file"):
        run(*command)


def test_what_is_wrong_is_one_sentence(run: Run) -> None:
    for argv, sentence in (
        (["evaluate", "--data", "nowhere"], "there is no folder nowhere"),
        (["estimates", "--out", "est"], "which songs"),
        (["mixer", "--estimates", "est", "--out", "m.safetensors"], "there are no estimates in est"),
        (["calibrate", "--estimates", "est", "--out", "q.json"], "there are no estimates in est"),
        (["evaluate", "--mixers", "a/m.safetensors", "b/m.safetensors"], "two files of --mixers have the same name"),
        (["spleeter", "--wheel", "gone.whl", "--out", "s.safetensors"], r"gone\.whl cannot be read or written"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            run(*argv)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["separators", "--steps", "0", "--data", "s", "--out", "r"], "--steps: it must be 1 or more"),
        (["evaluate", "--mixture-s", "inf", "--data", "s"], "--mixture-s: it must be 1 to 3600"),
        (["evaluate", "--seed", "-1", "--data", "s"], "--seed: it must be 0 or more"),
        (["separators", "--minutes", "-1", "--data", "s", "--out", "r"], "--minutes: it must be more than 0"),
        (["separators", "--workers", "-1", "--data", "s", "--out", "r"], "--workers: it must be 0 or more"),
        (
            ["mixer", "--stems", "bass,flute", "--estimates", "e", "--out", "m"],
            "--stems: it must be some of",
        ),
        (["mixer", "--estimates", "e", "--out", "m.png"], "--out: the loss curve .* will have that name"),
        (["evaluate", "--chart", "c.xyz", "--data", "s"], r"--chart: it must be a \.png"),
    ],
)
def test_what_cannot_be_is_wrong_usage(
    run: Run, argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*argv)
    assert re.search(sentence, capsys.readouterr().err)


def test_a_mixer_that_the_disk_does_not_take_is_told(run: Run, tmp_path: Path) -> None:
    _write_estimates(tmp_path / "est", 20)
    before = tmp_path / "m.safetensors"
    before.write_bytes(b"another mixer")
    # less than a mixer has, more than its bar writes into the captured stderr on a busy machine
    with (
        limited(resource.RLIMIT_FSIZE, 10_000),
        pytest.raises(SystemExit, match=r"m\.saf\S+ cannot be .* written"),
    ):
        run("mixer", "--estimates", "est", "--epochs", "1", "--out", "m.safetensors")
    assert before.read_bytes() == b"another mixer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["est", "m.safetensors"]


def test_ctrl_c_ends_it_while_it_imports(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    waits = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    (tmp_path / "matplotlib.py").write_text(waits)
    with _started(tmp_path, "--help") as process:
        while not ready.exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("package", ["matplotlib", "onnxruntime"])
def test_a_package_that_is_lacking_is_one_sentence(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('none', name={package!r})")
    with _started(tmp_path, "--help") as process:
        _, told = process.communicate(timeout=60)
    extras = "pip install '.[cpu,train]', or '.[gpu,train]' for an NVIDIA GPU"
    assert told == f"training needs the package {package}: {extras}\n"
    assert process.returncode == 1


def _started(before: Path, *argv: str) -> subprocess.Popen[str]:
    """``python -m spectacles_engine.training``, which imports what lies in ``before`` in place of packages."""
    places = os.pathsep.join([str(before), str(Path(__file__).parents[3])])
    return subprocess.Popen(
        [sys.executable, "-m", "spectacles_engine.training", *argv],
        env={**os.environ, "PYTHONPATH": places},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
    )


@pytest.mark.parametrize("command", [["separators"], ["estimates"], ["estimates", "--mixtures", "1"], ["evaluate"]])
def test_a_folder_without_songs_is_told(run: Run, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    out = [] if command == ["evaluate"] else ["--out", "out"]
    with pytest.raises(SystemExit, match=r"there are no such songs in .*empty: <song>/{vocals"):
        run(*command, "--data", "empty", *out)


def test_nothing_to_validate_on_is_told_before_the_training(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="there are no such songs in empty"):
        run("separators", "--data", "songs", "--valid", "empty", "--steps", "1", "--out", "out")


def test_other_sound_under_the_same_name_is_gone_over_anew(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 2)
    run("estimates", "--data", "songs", "--out", "new/est")
    run("evaluate", "--data", "songs", "--only", "song-0", "--json", "new/table.json")
    before = np.load(tmp_path / "new/est/song-0/references.npy")
    kept_ns = (tmp_path / "new/est/song-1/references.npy").stat().st_mtime_ns
    soundfile.write(tmp_path / "songs/song-0/bass.wav", np.full((SAMPLE_RATE_HZ, 2), 0.1), SAMPLE_RATE_HZ)
    run("estimates", "--data", "songs", "--out", "new/est")
    assert not np.array_equal(before, np.load(tmp_path / "new/est/song-0/references.npy"))
    assert (tmp_path / "new/est/song-1/references.npy").stat().st_mtime_ns == kept_ns
    with pytest.raises(SystemExit, match="of another preset, of other models or of other songs"):
        run("evaluate", "--data", "songs", "--only", "song-0", "--json", "new/table.json")


def test_random_mixtures_of_several_seeds_lie_side_by_side(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_songs(tmp_path / "songs", 2)
    models = {"demucs": FakeSeparator("demucs", {stem: share(0.25) for stem in STEMS})}
    ensemble = Ensemble(models, FixedShares({stem: {"demucs": 1.0} for stem in STEMS}))
    monkeypatch.setattr("spectacles_engine.training.bench.load_ensemble", lambda *_, **__: ensemble)

    def drawn_with(seed: str) -> dict[str, int]:
        run(*("estimates", "--data", "songs", "--out", "est", "--mixtures", "2", "--mixture-s", "1", "--seed", seed))
        return {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.glob("est/*/references.npy")}

    first = drawn_with("0")
    both = drawn_with("1")
    assert sorted(both) == ["mixture-0-0000", "mixture-0-0001", "mixture-1-0000", "mixture-1-0001"]
    assert {name: both[name] for name in first} == first
    drawn = [np.load(tmp_path / "est" / name / "references.npy") for name in both]
    assert not any(np.array_equal(one, other) for one, other in combinations(drawn, 2))
    assert drawn_with("0") == both  # the same seed draws the same, and nothing is computed again
    soundfile.write(tmp_path / "songs/song-0/bass.wav", np.full((SAMPLE_RATE_HZ, 2), 0.1), SAMPLE_RATE_HZ)
    assert {name for name, at in drawn_with("0").items() if at != both[name]} == set(first)


def test_a_song_whose_mixture_holds_stems_that_are_not_given_teaches_no_silence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"demucs": FakeSeparator("demucs", {stem: share(0.25) for stem in STEMS})}
    ensemble = Ensemble(models, FixedShares({stem: {"demucs": 1.0} for stem in STEMS}))
    monkeypatch.setattr("spectacles_engine.training.bench.load_ensemble", lambda *_, **__: ensemble)
    _write_songs(tmp_path / "songs", 3)
    for number, mixed in enumerate((("drums", "vocals"), ("drums",))):  # of the third one the mixture is the sum
        song = tmp_path / "songs" / f"song-{number}"
        parts = {stem: soundfile.read(song / f"{stem}.wav")[0] for stem in mixed}
        soundfile.write(song / "mixture.wav", sum(parts.values()), SAMPLE_RATE_HZ)
        for stem in set(STEMS) - {"drums"}:
            (song / f"{stem}.wav").unlink()
    (tmp_path / "songs/song-2/bass.wav").unlink()
    sentence = "song-0 has no vocals and no bass and no other, and its mixture holds more .* leave it out with --skip"
    with pytest.raises(SystemExit, match=sentence):
        run("estimates", "--data", "songs", "--out", "est")
    assert not (tmp_path / "est" / "song-0").exists()
    run("estimates", "--data", "songs", "--skip", "song-0", "--out", "est")
    assert sorted(song.name for song in (tmp_path / "est").iterdir()) == ["song-1", "song-2"]


def test_a_disk_that_takes_no_more_is_told(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(SystemExit, match=r"est/\S+npy cannot be .* written"):
        run("estimates", "--data", "songs", "--out", "est")


def test_there_may_be_more_songs_than_files_that_a_shell_lets_be_open(run: Run, tmp_path: Path) -> None:
    _write_estimates(tmp_path / "est", 100)
    with limited(resource.RLIMIT_NOFILE, 200):
        run("mixer", "--estimates", "est", "--recipe", "linear", "--out", "m.safetensors")


def test_what_a_linear_mixer_has_no_use_for_is_refused(run: Run, tmp_path: Path) -> None:
    _write_estimates(tmp_path / "est", 1)
    with pytest.raises(SystemExit, match="bands is solved for: it takes no --epochs"):
        run("mixer", "--estimates", "est", "--recipe", "bands", "--epochs", "3", "--out", "m.safetensors")


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
    assert (tmp_path / "run" / "mdx-low" / "mdx-low.png").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
def test_who_ends_all_processes_of_a_training_at_once_loses_nothing(tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    command = [sys.executable, "-m", "spectacles_engine.training", "separators", "--data", str(tmp_path / "songs")]
    command += [
        "--out",
        str(tmp_path / "run"),
        "--model",
        "mdx-low",
        "--batch",
        "1",
        "--steps",
        "999",
        "--workers",
        "2",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as training:
        children = Path(f"/proc/{training.pid}/task/{training.pid}/children")
        while training.poll() is None and len(children.read_text().split()) < 2:
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(training.pid, signal.SIGTERM)
        _, told = training.communicate(timeout=60)
    assert "stopped; the same command goes on where this one was" in told
    assert "Traceback" not in told
    assert (tmp_path / "run" / "mdx-low" / "checkpoint.pt").exists()


def test_a_note_is_fitted_to_the_mixer_that_is_named(run: Run, tmp_path: Path) -> None:
    _write_songs(tmp_path / "songs", 1)
    with pytest.raises(SystemExit, match="there is no mixer gone"):
        run("calibrate", "--data", "songs", "--mixers", "gone.safetensors", "--out", "q.json")


def test_a_mixer_goes_on_after_its_first_epoch_and_before_it_begins_anew(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_estimates(tmp_path / "est", 20)
    epoch = mixer._Training.epoch
    for stopped_in, sentence in ((0, "stopped; the same command begins anew"), (1, "goes on where this one was")):

        def interrupted(self: mixer._Training, *args: Any, stopped_in: int = stopped_in) -> Row:
            if args[-1] == stopped_in:
                raise KeyboardInterrupt
            return epoch(self, *args)

        monkeypatch.setattr(mixer._Training, "epoch", interrupted)
        with pytest.raises(SystemExit, match=sentence):
            run("mixer", "--estimates", "est", "--epochs", "2", "--out", "m.safetensors")


def test_no_other_mixer_takes_the_place_of_one_in_training(run: Run, tmp_path: Path) -> None:
    _write_estimates(tmp_path / "est", 20)
    run("mixer", "--estimates", "est", "--epochs", "1", "--out", "m-0.1.safetensors")
    assert (tmp_path / "m-0.1.training").exists()
    assert (tmp_path / "m-0.1.png").exists()
    for command in (["mixer", "--estimates", "est", "--recipe", "linear"], ["mean", "--mixers", "m-0.1.safetensors"]):
        with pytest.raises(SystemExit, match=r"m-0\.1\.training goes on with"):
            run(*command, "--out", "m-0.1.safetensors")
    (tmp_path / "m-0.1.training").write_bytes((tmp_path / "m-0.1.training").read_bytes()[:5000])
    with pytest.raises(SystemExit, match="is damaged: remove it to start anew"):
        run("mixer", "--estimates", "est", "--epochs", "1", "--out", "m-0.1.safetensors")


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_each_option_has_a_word_of_help(name: str) -> None:
    command = argparse.ArgumentParser(name)
    command_line.COMMANDS[name][1](command)
    assert [action.dest for action in command._actions if not action.help] == []

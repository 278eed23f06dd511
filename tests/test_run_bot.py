from __future__ import annotations

import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile

import run_bot
from bot.config import EngineSettings, LimitSettings, Settings
from spectacles_engine.errors import ModelMissingError, NotAudioError
from spectacles_engine.messages import (
    MIXES,
    STEMS,
    Limits,
    QualityNote,
    SeparationRequest,
    SeparationResult,
    StemQuality,
)
from spectacles_engine.worker import SeparateSong
from tests.ports import free_port

SCRIPT = Path(run_bot.__file__)
TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPECTACLES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def fake_engine(settings: Settings) -> SeparateSong:
    """Hands out the song, a quarter of it, as every stem; songs whose name says so fail."""
    del settings
    print("a library that talks on stdout")
    return _separate


def _separate(
    song: Path, folder: Path, request: SeparationRequest, on_share: Callable[[float], None]
) -> SeparationResult:
    on_share(0.5)
    if "text" in song.name:
        raise NotAudioError("not an audio file")
    if "crash" in song.name:
        raise ValueError("shapes (2, 3)\nand (3, 2)")
    if "slow" in song.name:
        raise KeyboardInterrupt
    if "killed" in song.name:
        os.kill(os.getpid(), signal.SIGTERM)
    samples, rate = soundfile.read(song)
    folder.mkdir(parents=True, exist_ok=True)
    quality = StemQuality("fair", 3.0, 1.0, 5.0)
    files = {}
    for name in (*request.stems, *([request.mix] if request.mix else [])):
        path = folder / f"{name}.{request.format}"
        soundfile.write(path, samples / 4, rate)
        files[name] = str(path)
    note = QualityNote(dict.fromkeys((*STEMS, *MIXES), quality), -40.0)
    return SeparationResult(
        str(song),
        len(samples) / rate,
        rate,
        request.preset,
        request.blend,
        "cpu",
        1.0,
        100,
        files,
        note,
        ("it is short",),
        ("the GPU is full",),
    )


def _song(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((4410, 2)), 44_100)
    return str(path)


def _run(*argv: str) -> int:
    return run_bot.main(argv, fake_engine)


def _objects(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], list[str]]:
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err.splitlines()


def test_a_song_becomes_a_folder_of_stems_and_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("separate", _song(tmp_path / "song.wav")) == 0
    assert sorted(path.name for path in (tmp_path / "stems" / "song").iterdir()) == sorted(f"{s}.wav" for s in STEMS)
    out = capsys.readouterr().out
    assert "stems/song/vocals.wav" in out
    assert "Estimated quality (dB SDR, 80 % range): vocals 3.0 (1.0–5.0) fair" in out
    assert "Note: it is short.\n  Note: the GPU is full." in out


def test_a_failure_is_one_line_and_the_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    songs = [_song(tmp_path / name) for name in ("text.wav", "crash.wav", "song.wav")]
    assert _run("separate", *songs, "nowhere.mp3", str(tmp_path), "--json") == 1
    objects, errors = _objects(capsys)
    assert errors == [
        "a library that talks on stdout",
        f"{songs[0]}: not an audio file",
        f"{songs[1]}: something went wrong in SpecTacles itself (ValueError: shapes (2, 3) and (3, 2))",
        "nowhere.mp3: no such file",
        f"{tmp_path}: a folder; name the files in it",
    ]
    assert [made["status"] for made in objects] == ["failed", "failed", "done", "failed", "failed"]
    assert objects[0] == {"song": songs[0], "status": "failed", "error": "not an audio file"}
    assert objects[2]["warnings"] == ["it is short", "the GPU is full"]
    assert objects[2]["stems"]["vocals"] == {
        "path": "stems/song/vocals.wav", "grade": "fair", "estimated_sdr_db": 3.0, "low_db": 1.0, "high_db": 5.0
    }  # fmt: skip


def test_an_output_that_lacks_a_character_costs_no_song(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    songs = [_song(tmp_path / name) for name in ("夜曲.wav", "b.wav")]
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="latin-1"))
    assert _run("separate", *songs) == 0
    assert out.getvalue().decode("latin-1").count("vocals.wav") == 2


def test_an_output_that_is_full_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert _run("separate", _song(tmp_path / "a.wav"), "--json") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "the output cannot be written (no space left on device)"


def test_kill_ends_a_separation_as_ctrl_c_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert _run("separate", _song(tmp_path / "killed.wav")) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_engine_that_cannot_start_fails_every_song(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(settings: Settings) -> SeparateSong:
        raise ModelMissingError("x.onnx is not on this machine")

    songs = [_song(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert run_bot.main(["separate", *songs], missing) == 1
    assert capsys.readouterr().err.splitlines() == [f"{song}: x.onnx is not on this machine" for song in songs]


def test_songs_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    songs = [_song(tmp_path / name) for name in ("a/x.wav", "b/X.wav", "c/x.flac", "d/..x-2.wav")]
    assert _run("separate", *songs, "--json", "--out", "made", "--stems", "bass") == 0
    objects, _ = _objects(capsys)
    paths = [made["stems"]["bass"]["path"] for made in objects]
    assert paths == ["made/x/bass.wav", "made/X-2/bass.wav", "made/x-3/bass.wav", "made/x-2-2/bass.wav"]


@pytest.mark.parametrize(
    ("flags", "files"),
    [
        ([], ["vocals.wav", "drums.wav", "bass.wav", "other.wav"]),
        (["--stems", "other, drums,drums", "--format", "flac"], ["drums.flac", "other.flac"]),
        (["--mix", "karaoke"], ["karaoke.wav"]),
        (["--mix", "no-bass", "--stems", "bass"], ["bass.wav", "no-bass.wav"]),
    ],
)
def test_what_is_asked_for_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], files: list[str]
) -> None:
    assert _run("separate", _song(tmp_path / "x.wav"), "--json", *flags) == 0
    objects, _ = _objects(capsys)
    assert [Path(file["path"]).name for file in objects[0]["stems"].values()] == files


def test_flags_win_over_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTACLES_ENGINE__PRESET", "studio")
    monkeypatch.setenv("SPECTACLES_ENGINE__BLEND", "mdx")
    assert _run("separate", _song(tmp_path / "x.wav"), "--json", "--blend", "average") == 0
    objects, _ = _objects(capsys)
    assert (objects[0]["preset"], objects[0]["blend"]) == ("studio", "average")


def test_a_mixer_of_ones_own_is_for_the_preset_that_is_asked_for(tmp_path: Path) -> None:
    loaded: list[Settings] = []

    def load_engine(settings: Settings) -> SeparateSong:
        loaded.append(settings)
        return _separate

    assert run_bot.main(["separate", str(_song(tmp_path / "x.wav")), "--preset", "studio"], load_engine) == 0
    assert [settings.engine.preset for settings in loaded] == ["studio"]


@pytest.mark.parametrize(
    ("set_for", "asked", "own", "used"),
    [
        ("studio", "lite", ("m", "q"), (None, None)),
        ("studio", "studio", ("m", "q"), ("m", "q")),
        ("lite", "studio", (None, "q"), (None, None)),
        # lite is what everybody has who set no preset: both may be meant for the one that is asked for
        ("lite", "studio", ("m", "q"), ("m", "q")),
    ],
)
def test_files_of_ones_own_go_with_the_preset_that_they_are_set_beside(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_for: str,
    asked: str,
    own: tuple[str | None, str],
    used: tuple[str | None, str | None],
) -> None:
    for key, value in zip(("PRESET", "MIXER", "QUALITY"), (set_for, *own), strict=True):
        monkeypatch.setenv(f"SPECTACLES_ENGINE__{key}", value or "")
    loaded: list[Settings] = []

    def load_engine(settings: Settings) -> SeparateSong:
        loaded.append(settings)
        return _separate

    assert run_bot.main(["separate", _song(tmp_path / "x.wav"), "--preset", asked], load_engine) == 0
    engine = loaded[0].engine
    assert (engine.mixer, engine.quality) == tuple(name and Path(name) for name in used)


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("separate", "a\x1b[2J\nb.mp3") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "a\ufffd[2J b.mp3: no such file"


def test_ctrl_c_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("separate", _song(tmp_path / "slow.wav")) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(
    "argv",
    [
        ["separate"],
        ["separate", "x.wav", "--stems", "guitar"],
        ["separate", "x.wav", "--stems", ""],
        ["separate", "x.wav", "--mix", "all"],
        ["separate", "x.wav", "--format", "aiff"],
        ["models"],
        ["models", "fetch", "huge"],
        ["dance"],
    ],
)
def test_wrong_usage_is_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        _run(*argv)
    assert left.value.code == 2


def test_a_wrong_setting_is_2_and_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTACLES_WEB__PORT", "many")
    assert _run("models", "list") == 2
    assert capsys.readouterr().err == "SPECTACLES_WEB__PORT is 'many', but must be a valid integer\n"


def test_demo_puts_the_true_sdr_beside_the_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("demo") == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(STEMS)}
    assert rows["vocals"][:2] == ["3.0", "(1.0–5.0)"]
    assert rows["vocals"][3] == "-7.1"
    # a quarter of the mixture is a better guess than the whole of it, for every stem
    assert all(float(row[2]) > float(row[3]) for row in rows.values())
    assert "The stems are in stems/demo." in out
    mixture = soundfile.info(tmp_path / "stems" / "demo" / "mixture.wav")
    assert (mixture.frames, mixture.subtype) == (255_780, "FLOAT")


def test_demo_says_in_one_sentence_that_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stems").write_text("in the way", encoding="utf-8")
    assert _run("demo") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("stems/demo/mixture.wav cannot be written")


def test_demo_says_that_the_disk_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mixture = tmp_path / "stems" / "demo" / "mixture.wav"
    mixture.parent.mkdir(parents=True)
    mixture.symlink_to("/dev/full")
    assert _run("demo") == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence == "stems/demo/mixture.wav cannot be written: No space left on device"


def test_models_list_and_fetch_and_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("models", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["preset", "file", "state", "MB", "licence", "source"]
    assert any("lite-quality.json" in line and " <0.1 " in line for line in lines)
    assert any("studio" in line and "missing" in line and "https://" in line for line in lines)
    assert _run("models", "fetch", "lite") == 0
    assert "lite is here" in capsys.readouterr().out
    assert _run("models", "verify") == 0
    assert "intact" in capsys.readouterr().out


def test_models_verify_names_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "kuielab_a_bass.onnx").write_bytes(b"half")
    assert _run("models", "verify") == 1
    assert "kuielab_a_bass.onnx is not the file that it should be" in capsys.readouterr().err


def test_a_python_that_is_too_old_or_lacks_the_packages_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = subprocess.run([sys.executable, "-E", "-S", SCRIPT, "models", "list"], capture_output=True, text=True)
    assert (bare.returncode, bare.stderr) == (1, f"{run_bot.NEEDS} (No module named 'yaml')\n")
    with monkeypatch.context() as older, pytest.raises(SystemExit, match=r"needs Python 3\.11 .*\.\[cpu\]"):
        older.setattr(sys, "version_info", (3, 10, 13))
        runpy.run_path(str(SCRIPT))


def _script(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *argv], capture_output=True, text=True, check=False)


@contextmanager
def _serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A bot that has said where its web chat is, and the port of that."""
    port = free_port()
    environment = os.environ | {"SPECTACLES_WEB__PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run below nohup
    ) as bot:
        try:
            assert bot.stdout is not None
            lines = iter(bot.stdout.readline, "")
            assert f"web chat: http://127.0.0.1:{port}\n" in lines
            yield bot, port
        finally:
            bot.kill()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_without_a_command_the_web_chat_is_served_until_it_is_told_to_end(kind: signal.Signals) -> None:
    with _serving() as (bot, port):
        with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert json.load(answer) == {"status": "ok"}
        bot.send_signal(kind)
        out, err = bot.communicate(timeout=60)
    assert bot.returncode == 0
    assert out == "ending; songs in progress go on at the next start\n"
    assert "Traceback" not in err


def test_what_people_send_is_for_nobody_else_wherever_the_data_lie(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with _serving():
        files = [path for path in data.rglob("*") if path.is_file()]
        assert data / "jobs.sqlite3" in files
        assert [path for path in files if path.stat().st_mode & 0o077] == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks into /proc")
def test_the_engine_knows_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", f"http://127.0.0.1:{free_port()}")
    with _serving() as (bot, _):
        engine = None
        while engine is None:
            time.sleep(0.05)
            children = "".join(file.read_text() for file in Path(f"/proc/{bot.pid}/task").glob("*/children")).split()
            commands = {child: Path("/proc", child, "cmdline").read_bytes() for child in children}
            engine = next((child for child, command in commands.items() if b"spawn_main" in command), None)
        environment = Path("/proc", engine, "environ").read_bytes()
    assert b"PATH=" in environment
    assert TOKEN.encode() not in environment


def test_two_bots_do_not_share_a_folder() -> None:
    with _serving():
        done = _script()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "another SpecTacles bot is at work in" in done.stderr


def test_what_keeps_a_bot_from_starting_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("SPECTACLES_WEB__PORT", str(taken.getsockname()[1]))
        done = _script()
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "set web.port (SPECTACLES_WEB__PORT) to a free one" in done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("SPECTACLES_WEB__HOST", "[::1]")
        assert "set web.host (SPECTACLES_WEB__HOST) to an address of this machine" in _script().stderr
    monkeypatch.setenv("SPECTACLES_WEB__ENABLED", "false")
    done = _script()
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "there is no chat to serve: set TELEGRAM_BOT_TOKEN" in done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("SPECTACLES_ENGINE__PRESET", "studio")
        done = _script()
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "python run_bot.py models fetch studio" in done.stderr
        patch.setenv("SPECTACLES_ENGINE__BLEND", "stemmixer-paper")
        done = _script()
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "engine.blend is 'stemmixer-paper', but studio has only stemmixer, average, demucs, mdx" in done.stderr
    unreadable = "/proc/self/mem"  # by anybody, also by root
    for file, sentence in (
        (
            "own.safetensors",
            f"{Path.cwd() / 'own.safetensors'}, which lite needs, is not on this machine: engine.mixer",
        ),
        (unreadable, f"{unreadable} cannot be read: Input/output error"),
    ):
        monkeypatch.setenv("SPECTACLES_ENGINE__MIXER", file)
        done = _script()
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert sentence in done.stderr


def test_the_engine_of_the_chats_is_the_one_that_is_set(tmp_path: Path) -> None:
    mixer, quality = tmp_path / "mixer.safetensors", tmp_path / "quality.json"
    for file in (mixer, quality):
        file.touch()
    engine = EngineSettings(device="cpu", blend="average", mixer=mixer, quality=quality)
    limits = LimitSettings(longest_song_minutes=2, decode_deadline_s=9)
    options = run_bot._engine_options(Settings(engine=engine, limits=limits))
    assert (options.preset, options.blend, options.device) == ("lite", "average", "cpu")
    assert (options.mixer, options.quality) == (mixer, quality)
    assert options.limits == Limits(120, 9)


def test_a_chat_that_cannot_be_reached_is_one_sentence_without_the_token_and_the_web_chat_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("TELEGRAM_API_BASE_URL", f"http://127.0.0.1:{free_port()}")
    with _serving() as (bot, _):
        assert bot.stderr is not None
        err = bot.stderr.readline()
        bot.send_signal(signal.SIGTERM)
        err += bot.communicate(timeout=60)[1]
    assert bot.returncode == 0
    assert len(err.splitlines()) == 1
    assert "Telegram cannot be reached (NetworkError); it is tried again until it can be" in err
    assert "AAHdqTcv" not in err


def test_help_names_the_commands() -> None:
    done = _script("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("separate", "demo", "models"))


def test_a_reader_who_leaves_early_costs_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, SCRIPT, "models", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        assert run.stderr.read() == b""
    assert run.returncode == 1

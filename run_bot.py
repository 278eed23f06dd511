"""SpecTacles separates a song into vocals, drums, bass and other, and says how good it thinks each stem is."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bot.names import song_folder
from spectacles_engine.errors import InputError, SpecTaclesError
from spectacles_engine.messages import (
    BLENDS,
    FORMATS,
    MIXES,
    PRESETS,
    STEMS,
    SeparationRequest,
    SeparationResult,
    failed_json,
)

if TYPE_CHECKING:
    from bot.config import Settings
    from spectacles_engine.models import FileStatus, ModelStore

Separate = Callable[[Path, Path, SeparationRequest, Callable[[float], None]], SeparationResult]
"""(song, folder of its stems, what is wanted, called with the share done) → result; raises SpecTaclesError."""

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
CONFIG = Path(__file__).with_name("config.yaml")
CHATS_COME_LATER = (
    "the chats (web, Telegram, Discord) come with a later version; "
    "until then: python run_bot.py separate song.mp3, or python run_bot.py demo"
)


def engine(settings: Settings) -> Separate:
    """The real engine; imported late, because torch takes seconds."""
    from spectacles_engine.separation import Limits, SongSeparator

    separator = SongSeparator(_store(settings), device=settings.engine.device)
    limits = Limits(
        longest_s=settings.limits.longest_song_minutes * 60, decode_deadline_s=settings.limits.decode_deadline_s
    )

    def separate(
        song: Path, folder: Path, request: SeparationRequest, on_share: Callable[[float], None]
    ) -> SeparationResult:
        return separator.separate(song, folder, request, limits=limits, on_progress=on_share)

    return separate


def main(argv: Sequence[str] | None = None, make_separate: Callable[[Settings], Separate] = engine) -> int:
    """Runs one command and returns the exit status (CONTRACT: 0 all done, 1 something failed, 2 wrong usage)."""
    arguments = _parser().parse_args(argv)
    # Late, so that --help and a mistyped command answer at once.
    from bot.config import ConfigError, load
    from bot.console import complain

    try:
        settings = load(CONFIG)
        status = WRONG_USAGE
        if arguments.command == "separate":
            status = _separate(arguments, settings, make_separate)
        elif arguments.command == "demo":
            status = _demo(arguments, settings, make_separate)
        elif arguments.command == "models":
            status = _models(arguments, settings)
        else:
            complain(CHATS_COME_LATER)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        complain(str(error))
    except SpecTaclesError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return WRONG_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_bot.py", description=__doc__, epilog="Without a command: the chats.")
    commands = parser.add_subparsers(dest="command", metavar="separate | demo | models")

    separate = commands.add_parser("separate", help="separate files", description="Separate files.")
    separate.add_argument("files", nargs="+", type=Path, metavar="FILE", help="any audio or video file")
    separate.add_argument("--stems", type=_stems, help=f"some of {','.join(STEMS)} (default: all)")
    separate.add_argument("--mix", choices=tuple(MIXES), help="one file with all stems but one")
    separate.add_argument("--format", choices=FORMATS, default="wav", help="default: wav")
    separate.add_argument("--preset", choices=PRESETS, help="default: as in config.yaml")
    separate.add_argument("--blend", choices=BLENDS, help="default: as in config.yaml")
    separate.add_argument("--json", action="store_true", help="one JSON object a song on stdout")

    demo = commands.add_parser("demo", help="separate an excerpt, true SDR beside the estimate")
    for command in (separate, demo):
        command.add_argument("--out", type=Path, default=Path("stems"), metavar="DIR", help="default: stems/")

    models = commands.add_parser("models", help="what each preset needs").add_subparsers(dest="action", required=True)
    models.add_parser("list", help="every model file, its licence and source")
    models.add_parser("fetch", help="fetch what a preset lacks").add_argument("preset", choices=PRESETS)
    models.add_parser("verify", help="check the SHA-256 of every file")
    return parser


def _stems(text: str) -> tuple[str, ...]:
    wanted = {name.strip() for name in text.split(",")}
    if not wanted <= set(STEMS):
        raise argparse.ArgumentTypeError(f"{text!r} must be some of {','.join(STEMS)}")
    return tuple(stem for stem in STEMS if stem in wanted)


def _request(arguments: argparse.Namespace, settings: Settings) -> SeparationRequest:
    return SeparationRequest(
        # A mix alone means that nobody asked for single stems.
        stems=arguments.stems or (() if arguments.mix else STEMS),
        mix=arguments.mix,
        format=arguments.format,
        preset=arguments.preset or settings.engine.preset,
        blend=arguments.blend or settings.engine.blend,
    )


def _separate(arguments: argparse.Namespace, settings: Settings, make_separate: Callable[[Settings], Separate]) -> int:
    from bot.console import complain, print_result, song_progress

    request = _request(arguments, settings)
    separate = cache(lambda: make_separate(settings))
    taken: set[str] = set()
    status = DONE
    for file in arguments.files:
        folder = song_folder(file.name, taken)
        taken.add(folder.lower())
        # Whatever a library prints must not get between the results.
        with redirect_stdout(sys.stderr), song_progress(file.name) as on_share:
            outcome = _attempt(lambda: separate()(_existing(file), arguments.out / folder, request, on_share))  # noqa: B023
        if isinstance(outcome, str):
            status = FAILED
            complain(f"{file}: {outcome}")
        if arguments.json:
            done = failed_json(str(file), outcome) if isinstance(outcome, str) else outcome.to_json()
            print(json.dumps(done), flush=True)
        elif not isinstance(outcome, str):
            print_result(outcome)
    return status


def _attempt(job: Callable[[], SeparationResult]) -> SeparationResult | str:
    """The result, or the sentence that says why there is none: the other songs go on."""
    try:
        return job()
    except SpecTaclesError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a mistake of ours in one song must not cost the others
        if os.environ.get("SPECTACLES_DEBUG"):
            traceback.print_exc()
        return f"something went wrong in SpecTacles itself ({type(error).__name__}: {error})"


def _existing(file: Path) -> Path:
    try:
        if file.is_file():
            return file
        raise InputError("not an audio file" if file.exists() else "no such file")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


def _demo(arguments: argparse.Namespace, settings: Settings, make_separate: Callable[[Settings], Separate]) -> int:
    from bot.console import complain, print_demo, song_progress
    from spectacles_engine import demo

    folder: Path = arguments.out / "demo"
    mixture = folder / "mixture.wav"
    references = demo.references()
    demo.write_mixture(references, mixture)
    request = SeparationRequest(preset=settings.engine.preset, blend=settings.engine.blend)
    with redirect_stdout(sys.stderr), song_progress("demo") as on_share:
        outcome = _attempt(lambda: make_separate(settings)(mixture, folder, request, on_share))
    if isinstance(outcome, str):
        complain(f"demo: {outcome}")
        return FAILED
    true_db = demo.true_sdr_db(references, {stem: Path(file.path) for stem, file in outcome.files.items()})
    print_demo(outcome, true_db, demo.mixture_sdr_db(references))
    print(f"\nThe stems are in {folder}. {CHATS_COME_LATER[0].upper()}{CHATS_COME_LATER[1:]}.")
    return DONE


def _store(settings: Settings) -> ModelStore:
    from spectacles_engine.models import ModelStore

    return ModelStore(settings.data_folder / "models")


def _models(arguments: argparse.Namespace, settings: Settings) -> int:
    from bot.console import complain, download_progress, print_table

    store = _store(settings)
    if arguments.action == "list":
        columns = ("preset", "file", "state", "MB", "licence", "source")
        print_table(columns, [_row(status) for status in store.status()])
        return DONE
    if arguments.action == "fetch":
        with download_progress() as on_bytes:
            paths = store.fetch(arguments.preset, on_bytes)
        print(f"{arguments.preset} is here, {len(paths)} files, each with the right SHA-256")
        return DONE
    verified = store.verify()
    print_table(("file", "state", "SHA-256 from"), [(file.name, file.state, file.sha256_from) for file in verified])
    problems = list(_problems(verified))
    for problem in problems:
        complain(problem)
    return FAILED if problems else DONE


def _row(file: FileStatus) -> tuple[str, ...]:
    size = f"{file.size_bytes / 1e6:.1f}" if file.size_bytes else "?"
    return ", ".join(file.presets), file.name, file.state, size, file.licence, file.source


def _problems(files: Iterable[FileStatus]) -> Iterable[str]:
    """A file that was never fetched is no problem; one that came with the package and is gone is."""
    return (
        file.problem
        for file in files
        if file.state == "damaged" or (file.state, file.source) == ("missing", "embedded")
    )


if __name__ == "__main__":
    if not os.environ.get("SPECTACLES_DEBUG"):
        warnings.simplefilter("ignore")
    sys.exit(main())

"""SpecTacles separates a song into vocals, drums, bass and other, and says how good it thinks each stem is."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

NEEDS = 'SpecTacles needs Python 3.11 to 3.14, and its packages: pip install ".[cpu]"'
if sys.version_info < (3, 11):
    sys.exit(f"{NEEDS} (this is Python {sys.version.split()[0]})")

from bot.jobs import StartError
from bot.names import song_folder
from bot.signals import ended_as_by_ctrl_c, signals_held
from spectacles_engine.errors import MISTAKE_OF_OURS, InputError, SpecTaclesError
from spectacles_engine.messages import (
    BLENDS,
    FORMATS,
    MIXES,
    PRESETS,
    STEMS,
    EngineOptions,
    SeparationRequest,
    SeparationResult,
    failed_json,
    stems_meant,
)
from spectacles_engine.worker import SeparateSong

if TYPE_CHECKING:
    from bot.config import Settings
    from bot.service import SeparationService
    from bot.serving import ChatApp
    from spectacles_engine.models import ModelStore

LoadEngine = Callable[["Settings"], SeparateSong]
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
CONFIG = Path(__file__).with_name("config.yaml")


def engine(settings: Settings) -> SeparateSong:
    """The real engine; imported late, because torch takes seconds."""
    with signals_held():
        from spectacles_engine.separation import SongSeparator

    return SongSeparator(_store(settings), settings.engine.device, settings.limits.of_a_song).separate


def main(argv: Sequence[str] | None = None, load_engine: LoadEngine = engine) -> int:
    """Runs one command and returns the exit status: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    # Late, so that --help and a mistyped command answer at once.
    from bot.config import ConfigError, load
    from bot.console import complain, steady_output

    steady_output()
    try:
        settings = load(CONFIG)
        with ended_as_by_ctrl_c() if arguments.command else nullcontext():
            if arguments.command == "separate":
                status = _separate(arguments, settings, load_engine)
            elif arguments.command == "demo":
                status = _demo(arguments, settings, load_engine)
            elif arguments.command == "models":
                status = _models(arguments, settings)
            else:
                status = _serve(settings)
        sys.stdout.flush()
        return status
    except (ConfigError, StartError) as error:
        complain(str(error))
        return WRONG_USAGE
    except SpecTaclesError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # then whoever read our output has left
            complain(f"the output cannot be written ({(error.strerror or str(error)).lower()})")
        # without this, Python complains once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_bot.py",
        description=__doc__,
        epilog="Without a command: the web chat, and Telegram and Discord if their tokens are in the environment.",
    )
    commands = parser.add_subparsers(dest="command", metavar="separate | demo | models")

    separate = commands.add_parser("separate", help="separate files, without any chat", description="Separate files.")
    separate.add_argument("files", nargs="+", type=Path, metavar="FILE", help="any audio or video file")
    separate.add_argument("--stems", type=_stems, default=(), help=f"some of {','.join(STEMS)} (default: all)")
    separate.add_argument("--mix", choices=tuple(MIXES), help="all stems but one, in one file")
    separate.add_argument("--format", choices=FORMATS, default="wav", help="of the stems (default: wav)")
    separate.add_argument("--preset", choices=PRESETS, help="which models (default: as in config.yaml)")
    separate.add_argument(
        "--blend",
        choices=BLENDS,
        help="how they are blended, or one of them alone; stemmixer-paper is of lite only (default: as in config.yaml)",
    )
    separate.add_argument("--json", action="store_true", help="one JSON object per song on stdout")

    demo = commands.add_parser("demo", help="separate six seconds of a real song, and show how good that is")
    for command in (separate, demo):
        command.add_argument(
            "--out",
            type=Path,
            default=Path("stems"),
            metavar="DIR",
            help="for the stems, a folder for each song (default: stems/)",
        )

    models = commands.add_parser("models", help="list, fetch or check models").add_subparsers(
        dest="action", required=True
    )
    models.add_parser("list", help="every model file, with its licence and source")
    models.add_parser("fetch", help="download what a preset lacks").add_argument(
        "preset", choices=PRESETS, help="which models; lite comes with SpecTacles"
    )
    models.add_parser("verify", help="check the SHA-256 of every file")
    return parser


def _stems(text: str) -> set[str]:
    wanted = {name.strip() for name in text.split(",")}
    if not wanted <= set(STEMS):
        raise argparse.ArgumentTypeError(f"{text!r} must be some of {','.join(STEMS)}")
    return wanted


def _separate(arguments: argparse.Namespace, settings: Settings, load_engine: LoadEngine) -> int:
    from bot.console import complain, print_result, song_progress

    own = settings.engine
    given = {key: value for key in ("preset", "blend") if (value := getattr(arguments, key))}
    # what is set beside a preset is for it; but lite is set for everybody, and a mixer may be for the one meant now
    if arguments.preset not in (None, own.preset) and (own.preset != "lite" or not own.mixer):
        given |= {"mixer": None, "quality": None}
    settings = settings.model_copy(update={"engine": own.model_copy(update=given)})
    request = SeparationRequest(
        stems=stems_meant(arguments.stems, arguments.mix),
        mix=arguments.mix,
        format=arguments.format,
        preset=settings.engine.preset,
        blend=settings.engine.blend,
    )
    separate = cache(lambda: load_engine(settings))
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
        return f"{MISTAKE_OF_OURS} ({type(error).__name__}: {error})"


def _existing(file: Path) -> Path:
    try:
        if file.is_file():
            return file
        if file.is_dir():
            raise InputError("a folder; name the files in it")
        raise InputError("not a file that can be read again" if file.exists() else "no such file")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


def _demo(arguments: argparse.Namespace, settings: Settings, load_engine: LoadEngine) -> int:
    from bot.console import complain, print_demo, song_progress

    with signals_held():
        from spectacles_engine import demo

    folder: Path = arguments.out / "demo"
    mixture = folder / "mixture.wav"
    references = demo.references()
    demo.write_mixture(references, mixture)
    request = SeparationRequest(preset=settings.engine.preset, blend=settings.engine.blend)
    with redirect_stdout(sys.stderr), song_progress("demo") as on_share:
        outcome = _attempt(lambda: load_engine(settings)(mixture, folder, request, on_share))
    if isinstance(outcome, str):
        complain(f"demo: {outcome}")
        return FAILED
    true_db = demo.true_sdr_db(references, {stem: Path(path) for stem, path in outcome.files.items()})
    print_demo(outcome, true_db, demo.mixture_sdr_db(references))
    print(f"\nThe stems are in {folder}. To listen to them in the web chat: python run_bot.py")
    return DONE


def _serve(settings: Settings) -> int:
    """Serves every chat that is set up, until it is told to end. Raises StartError."""
    from bot.config import TOKENS
    from bot.console import announce
    from bot.logs import set_up
    from bot.service import SeparationService
    from bot.serving import serve
    from bot.store import JobStore
    from spectacles_engine.process import start_engines

    os.umask(0o077)  # what people send is for nobody else on this machine, whoever may look into the data folder
    set_up(settings.tokens)
    for name in [name for name in os.environ if name.upper() in TOKENS]:
        del os.environ[name]  # what decodes a stranger's file, or dumps its core, is not to know them
    options = _engine_options(settings)
    store = JobStore(settings.data_folder)

    async def run() -> None:
        service = SeparationService(settings, store)
        apps = _chat_apps(settings, service)
        if not settings.tokens:
            announce(f"Neither {' nor '.join(TOKENS)} is set: only the web chat is served.")
        await serve(service, apps, lambda: start_engines(options), announce)

    try:
        asyncio.run(run())
    except StartError:
        raise
    except Exception:
        # through the log, which hides secrets
        logging.getLogger("run_bot").critical("the bot ends by a mistake of ours", exc_info=True)
        return FAILED
    finally:
        store.close()
    return DONE


def _chat_apps(settings: Settings, service: SeparationService) -> list[ChatApp]:
    """The chats that are set up; each is imported only if it is. Raises StartError if there is none."""
    from bot.config import TOKENS

    apps: list[ChatApp] = []
    if "telegram" in settings.platforms:
        from bot.telegram.app import TelegramApp

        apps.append(TelegramApp(settings, service))
    if "discord" in settings.platforms:
        from bot.discord.app import DiscordApp

        apps.append(DiscordApp(settings, service))
    if "web" in settings.platforms:
        from bot.web.app import WebApp

        apps.append(WebApp(settings, service))
    if not apps:
        raise StartError(f"there is no chat to serve: set {' or '.join(TOKENS)}, or web.enabled to true")
    return apps


def _engine_options(settings: Settings) -> EngineOptions:
    """Raises StartError for a preset that is not here, or a blend that it does not have."""
    store, preset, blend = _store(settings), settings.engine.preset, settings.engine.blend
    if blend not in (blends := store.preset(preset).blends):
        raise StartError(f"engine.blend is {blend!r}, but {preset} has only {', '.join(blends)}")
    for file in store.status():
        if preset in file.presets and file.problem:
            raise StartError(file.problem)
    return EngineOptions(
        models=store.folder,
        preset=preset,
        blend=blend,
        device=settings.engine.device,
        mixer=settings.engine.mixer,
        quality=settings.engine.quality,
        limits=settings.limits.of_a_song,
    )


def _store(settings: Settings) -> ModelStore:
    from spectacles_engine.manifest import Manifest
    from spectacles_engine.models import ModelStore

    own = settings.engine
    return ModelStore(settings.data_folder / "models", Manifest.load().with_own(own.preset, own.mixer, own.quality))


def _models(arguments: argparse.Namespace, settings: Settings) -> int:
    from bot.console import complain, download_progress, print_models, print_table

    store = _store(settings)
    if arguments.action == "list":
        print_models(store.status())
        return DONE
    if arguments.action == "fetch":
        with download_progress() as on_bytes:
            paths = store.fetch(arguments.preset, on_bytes)
        print(f"{arguments.preset} is here, {len(paths)} files, each with the right SHA-256")
        return DONE
    verified = store.verify()
    rows = [(each.file.name, each.state, each.file.sha256_from) for each in verified]
    print_table(("file", "state", "SHA-256 from"), rows)
    status = DONE
    for each in verified:
        # one that was never fetched is no problem; one that came with the package, or is your own, and is gone is
        if each.state == "damaged" or (each.state == "missing" and not each.file.fetched):
            complain(each.problem)
            status = FAILED
    return status


if __name__ == "__main__":
    if not os.environ.get("SPECTACLES_DEBUG"):
        warnings.simplefilter("ignore")
    try:
        sys.exit(main())
    except ModuleNotFoundError as error:
        sys.exit(f"{NEEDS} ({error})")

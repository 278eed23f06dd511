"""The paper's network and its descendants: their weights, what they see, and how they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spectacles_engine.chunking import Array
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixer_files import load_mixer, save_mixer
from spectacles_engine.mixers import FixedShares, LinearMixer, MeanMixer, StemMixers
from spectacles_engine.stem_mixer import LAWS, N_FFT, PAPER, Design, StemMixer

OURS = Design("spectrograms", knows_frequency=True, context=True, hears_all=True)
DESIGNS = {
    "paper": PAPER,
    "complex": Design("spectrograms", stft_hop=2048),
    "frequency": Design(knows_frequency=True),
    "ours": OURS,
}
TWO = ("demucs", "mdx")


def _mixers(design: Design, **models: tuple[str, ...]) -> StemMixers:
    """Untrained, but not unbiased."""
    torch.manual_seed(0)
    models = dict.fromkeys(STEMS, TWO) | models
    return StemMixers({stem: StemMixer(len(names), design).eval() for stem, names in models.items()}, models)


def _noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(0.1)


def test_the_papers_network_has_the_papers_layers() -> None:
    layers = [type(layer).__name__ for layer in StemMixer().mlp]
    assert layers == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    widths = [(c.in_channels, c.out_channels) for c in StemMixer().mlp if isinstance(c, torch.nn.Conv2d)]
    assert widths == [(4, 32), (32, 16), (16, 2)]


def test_two_models_are_weighted_by_a_sigmoid_and_its_complement() -> None:
    network = StemMixer().eval()
    magnitudes = torch.rand(1, 2, 2, 5, 7)
    alpha = torch.sigmoid(network.mlp(magnitudes.flatten(1, 2)))
    weights = network(magnitudes.flatten(1, 2))
    torch.testing.assert_close(weights[:, 0], alpha)
    torch.testing.assert_close(weights[:, 1], 1 - alpha)


@pytest.mark.parametrize("models", [2, 3, 5])
def test_weights_of_any_number_of_models_sum_to_one(models: int) -> None:
    weights = StemMixer(models).eval()(torch.rand(2, 2 * models, 4, 3))
    assert weights.shape == (2, models, 2, 4, 3)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 2, 4, 3))


def test_the_papers_blend_takes_magnitudes_of_both_and_the_phase_of_the_first() -> None:
    first, second = torch.polar(torch.tensor(2.0), torch.tensor(0.5)), torch.polar(torch.tensor(6.0), torch.tensor(2.5))
    spectrograms = torch.stack([first, second]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    weights = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    blended = (weights * LAWS["magnitudes"](spectrograms)).sum(dim=1)
    torch.testing.assert_close(blended.abs(), torch.full((1, 2, 1, 1), 5.0))
    torch.testing.assert_close(blended.angle(), torch.full((1, 2, 1, 1), 0.5))
    complex_blend = (weights * LAWS["spectrograms"](spectrograms)).sum(dim=1)
    torch.testing.assert_close(complex_blend[0, 0, 0, 0], 0.25 * first + 0.75 * second)


def test_where_the_first_model_says_nothing_the_papers_blend_takes_the_phase_of_the_next() -> None:
    silent, faint, loud = (
        torch.polar(torch.tensor(x), torch.tensor(p)) for x, p in ((0.0, 0.0), (1e-5, 1.0), (2.0, 2.5))
    )
    spectrograms = torch.stack([torch.stack([silent, faint, loud]), loud.expand(3)]).reshape(1, 2, 1, 3, 1)
    phases = LAWS["magnitudes"](spectrograms)[0, 1, 0, :, 0].angle()
    torch.testing.assert_close(phases, torch.full((3,), 2.5))


def test_fixed_shares_are_a_weighted_sum() -> None:
    _, first, second, third = heard = np.random.default_rng(0).standard_normal((4, 2, 100)).astype(np.float32)
    mixer = FixedShares({"drums": {"mdx": 1.0}, "vocals": {"demucs": 0.1, "mdx": 0.9}})
    assert mixer.names(STEMS[:2]) == (("vocals", "demucs"), ("vocals", "mdx"), ("drums", "mdx"))
    vocals, drums = mixer.blend(heard[None], STEMS[:2])[0]
    np.testing.assert_allclose(vocals, 0.1 * first + 0.9 * second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(drums, third, rtol=1e-5, atol=1e-6)


def _tones(*hertz: float) -> Array:
    """(2, 1 s): one sine after the other, summed."""
    time_s = np.arange(44_100) / 44_100
    return np.stack([sum(np.sin(2 * np.pi * f * time_s) for f in hertz)] * 2).astype(np.float32)


def test_an_average_does_without_a_model_above_what_it_knows() -> None:
    mixer = FixedShares({"bass": {"demucs": 0.5, "mdx": 0.5}}, {"demucs": 1000})
    heard = np.stack([_tones(100, 3000), 3 * _tones(100), _tones(100, 3000)])[None]
    np.testing.assert_allclose(mixer.blend(heard, ["bass"])[0, 0], 2 * _tones(100) + _tones(3000), atol=1e-3)


def test_above_what_the_only_model_with_a_share_knows_there_is_nothing() -> None:
    mixer = FixedShares({"bass": {"demucs": 1.0, "mdx": 0.0}}, {"demucs": 1000})
    heard = np.stack([_tones(100, 3000)] * 3)[None]
    np.testing.assert_allclose(mixer.blend(heard, ["bass"])[0, 0], _tones(100), atol=1e-3)


def test_a_linear_mixer_has_weights_of_its_own_in_every_band(tmp_path: Path) -> None:
    names = tuple((stem, "mdx") for stem in STEMS)
    weights = np.zeros((2, 4, 2, 5, 2), np.float32)
    weights[0, :, [0, 1], 1, [0, 1]] = 0.5
    weights[1, :, [0, 1], 2, [1, 0]] = 2
    save_mixer(LinearMixer(weights, names, (1000.0,)), tmp_path / "bands.safetensors")
    mixer = load_mixer(tmp_path / "bands.safetensors")
    heard = np.zeros((1, 5, 2, 44_100), np.float32)
    heard[0, 1], heard[0, 2, 0] = _tones(100, 3000), _tones(200, 5000)[0]
    left, right = mixer.blend(heard, ["drums"])[0, 0]
    np.testing.assert_allclose(left, 0.5 * _tones(100)[0], atol=1e-3)
    np.testing.assert_allclose(right, 0.5 * _tones(100)[0] + 2 * _tones(5000)[0], atol=1e-3)


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_where_the_models_agree_the_mixer_changes_nothing(design: Design) -> None:
    mixture, *said = _noise(5, 2, 30_000)
    heard = np.stack([mixture, *(estimate for estimate in said for _ in range(3))])[None]
    mixers = _mixers(design, **dict.fromkeys(STEMS, ("a", "b", "c")))
    np.testing.assert_allclose(mixers.blend(heard, STEMS)[0], said, atol=1e-4)


def test_what_is_heard_of_a_stem_depends_on_the_design() -> None:
    assert _mixers(PAPER).names(["bass"]) == (("bass", "demucs"), ("bass", "mdx"))
    assert len(_mixers(OURS).names(["bass"])) == 8
    heard = _noise(1, 9, 2, 30_000)
    one, all_four = _mixers(OURS).blend(heard, ["bass"]), _mixers(OURS).blend(heard, STEMS)
    np.testing.assert_allclose(one[:, 0], all_four[:, 2], atol=1e-6)


def test_blending_in_slices_of_bins_is_blending_at_once() -> None:
    network = StemMixer(2, OURS).eval()
    own, scene = (torch.randn(1, n, 2, 200, 9, dtype=torch.complex64) for n in (2, 5))
    weights = network(OURS.clues(own, scene, 0, 200))
    torch.testing.assert_close(network.blend(own, scene), (weights * own).sum(dim=1))


def test_the_clues_of_ours_are_loudness_here_and_around_and_the_frequency() -> None:
    own, scene = torch.ones(1, 2, 2, 8, 9, dtype=torch.complex64), torch.zeros(1, 5, 2, 8, 9, dtype=torch.complex64)
    own[0, 0, 0, 4, 4] = 5
    clues = OURS.clues(own, scene, 0, 8)
    assert clues.shape == (1, OURS.clue_count(2), 8, 9) == (1, 31, 8, 9)
    assert clues[0, 0, 4, 4].exp() == pytest.approx(5, rel=1e-3)
    around = clues[0, 14].exp()  # of the first model, on the left: 24 ones and a 25
    assert around[4, 4] == pytest.approx((49 / 25) ** 0.5, rel=1e-3)
    assert around[1, 4] == pytest.approx(1, rel=1e-3)
    assert clues[0, 28, 4, 4].exp() == pytest.approx((16 / 25) ** 0.5, rel=1e-3)  # what the two differ in
    assert list(clues[0, -1, :, 0]) == sorted(clues[0, -1, :, 0])
    assert clues[0, -1, [0, -1], 0].tolist() == [0, 1]


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_a_file_of_mixers_is_read_back_as_it_was(tmp_path: Path, design: Design) -> None:
    written = _mixers(design, vocals=("demucs", "mdx", "spleeter"))
    save_mixer(written, tmp_path / "mixers.safetensors")
    read = load_mixer(tmp_path / "mixers.safetensors")
    assert isinstance(read, StemMixers)
    assert (read.models, read.design) == (written.models, design)
    heard = _noise(1, 10, 2, N_FFT)
    np.testing.assert_array_equal(read.blend(heard, STEMS), written.blend(heard, STEMS))


def test_a_linear_mixer_is_one_layer_over_the_mixture_and_all_estimates(tmp_path: Path) -> None:
    names = tuple((stem, "mdx") for stem in STEMS)
    save_mixer(LinearMixer(_noise(1, 4, 2, 5, 2), names), tmp_path / "linear.safetensors")
    mixer, heard = load_mixer(tmp_path / "linear.safetensors"), _noise(1, 5, 2, 100, seed=1)
    assert mixer.names(["other"]) == names
    assert isinstance(mixer, LinearMixer)
    layer = mixer.weights.reshape(8, 10)  # KUIELab's 10 → 8
    expected = (layer @ heard[0].reshape(10, 100)).reshape(4, 2, 100)
    np.testing.assert_allclose(mixer.blend(heard, STEMS)[0], expected, atol=1e-6)
    np.testing.assert_allclose(mixer.blend(heard, ["bass"])[0, 0], expected[2], atol=1e-6)


def test_a_mean_of_mixers_is_halfway_between_what_they_say(tmp_path: Path) -> None:
    mixers = _mixers(Design("spectrograms", context=True, stft_hop=2048))
    linear = LinearMixer(_noise(1, 4, 2, 9, 2), mixers.names(STEMS))
    save_mixer(MeanMixer((linear, mixers)), tmp_path / "mean.safetensors")
    mean, heard = load_mixer(tmp_path / "mean.safetensors"), _noise(1, 9, 2, 30_000)
    assert mean.names(["bass"]) == linear.heard_names  # the linear one hears all for one stem
    assert mean.placements == mixers.placements
    halfway = (linear.blend(heard, STEMS) + mixers.blend(heard, STEMS)) / 2
    np.testing.assert_allclose(mean.blend(heard, STEMS), halfway, atol=1e-6)
    np.testing.assert_allclose(mean.blend(heard, ["bass"])[:, 0], halfway[:, 2], atol=1e-6)


def test_a_mean_is_of_those_mixers_that_make_the_stem(tmp_path: Path) -> None:
    mixers, heard = _mixers(Design("spectrograms")), _noise(1, 9, 2, 30_000)
    linear = LinearMixer(_noise(1, 4, 2, 9, 2), mixers.names(STEMS))
    bass_alone = StemMixers({"bass": mixers.networks["bass"]}, mixers.models)
    save_mixer(MeanMixer((bass_alone, linear)), tmp_path / "mean.safetensors")
    mean, whole = load_mixer(tmp_path / "mean.safetensors"), MeanMixer((linear, mixers)).blend(heard, STEMS)
    assert mean.names(["drums"]) == mean.names(STEMS) == linear.heard_names
    vocals, drums, bass, other = mean.blend(heard, STEMS).swapaxes(0, 1)
    np.testing.assert_allclose(bass, whole[:, 2], atol=1e-6)
    np.testing.assert_allclose(np.stack([vocals, drums, other], 1), linear.blend(heard, STEMS)[:, [0, 1, 3]], atol=1e-6)
    np.testing.assert_allclose(mean.blend(heard, ["drums"])[:, 0], drums, atol=1e-6)


def test_frames_that_leave_gaps_are_no_design() -> None:
    with pytest.raises(ValueError, match="cannot be 2049 apart"):
        Design(stft_hop=N_FFT // 2 + 1)


def test_a_file_that_holds_no_mixer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mixers.safetensors").write_bytes(b"not a safetensors file")
    save_mixer(LinearMixer(_noise(1, 4, 2, 5, 2), (("vocals", "mdx"),)), tmp_path / "shape.safetensors")
    save_mixer(
        LinearMixer(np.full((1, 4, 2, 2, 2), np.nan, np.float32), (("vocals", "mdx"),)), tmp_path / "nan.safetensors"
    )
    mixers = _mixers(Design())
    object.__setattr__(mixers.design, "law", "of a later version")
    save_mixer(mixers, tmp_path / "law.safetensors")
    all_stems = _mixers(PAPER)
    save_mixer(StemMixers(all_stems.networks, {"vocals": TWO}), tmp_path / "stems.safetensors")
    for name in ("mixers", "shape", "nan", "law", "stems"):
        with pytest.raises(ModelError, match=rf"{name}\.safetensors could not be read as a mixer"):
            load_mixer(tmp_path / f"{name}.safetensors")

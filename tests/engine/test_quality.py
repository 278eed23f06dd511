from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Block
from spectacles_engine.errors import ModelError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS, StemQuality
from spectacles_engine.quality import FEATURES, TERMS, Calibration, Meter, estimated_db, note, quality_of_mix, usdr

NAMES = tuple((stem, model) for stem in STEMS for model in ("demucs", "mdx"))


def _noise(seed: int, seconds: int, level: float = 0.1) -> Array:
    shape = (2, seconds * SAMPLE_RATE_HZ)
    return (np.random.default_rng(seed).standard_normal(shape) * level).astype(np.float32)


def _meter(stems: list[Array], errors: list[tuple[Array, Array]]) -> Meter:
    """A separation in which each stem's two models are wrong by the two given signals, averaged."""
    meter = Meter(NAMES, STEMS)
    mixture = np.sum(stems, axis=0)
    estimates = np.stack([stem + error for stem, pair in zip(stems, errors, strict=True) for error in pair])
    mixed = np.stack([estimates[2 * i : 2 * i + 2].mean(axis=0) for i in range(len(STEMS))])
    for start in range(0, mixture.shape[1], SAMPLE_RATE_HZ):
        second = slice(start, start + SAMPLE_RATE_HZ)
        meter.add(Block(mixture[:, second], estimates[..., second], mixed[..., second], mixed[..., second]))
    return meter


def _errors(level: float, seconds: int, seed: int) -> tuple[Array, Array]:
    return _noise(seed, seconds, level), _noise(seed + 1, seconds, level)


def test_usdr_of_a_known_error() -> None:
    reference = _noise(0, 1)
    assert usdr(reference, reference * 0.9) == pytest.approx(20, abs=1e-3)


def test_agreement_is_the_energy_of_the_stem_against_the_models_differences() -> None:
    stems = [_noise(i, 10) for i in range(4)]
    meter = _meter(stems, [_errors(0.01, 10, 10 + 2 * i) for i in range(4)])
    # two independent errors 20 dB below the stem: their difference is 17 dB below it
    assert meter.features("drums")["agreement_db"] == pytest.approx(17, abs=0.2)
    assert meter.features("drums")["share_db"] == pytest.approx(-6, abs=0.2)
    # it has nothing in common with the others: the mixture holds all of it
    assert meter.features("drums")["gain_db"] == pytest.approx(0, abs=0.1)
    assert meter.features("drums")["contested_db"] < -25


def test_a_stem_that_is_only_half_there_is_found_in_the_mixture_with_more_gain() -> None:
    vocals, *others = (_noise(i, 10) for i in range(4))
    half = (-0.5 * vocals, -0.5 * vocals)
    meter = _meter([vocals, *others], [half, *[_errors(0.01, 10, 10)] * 3])
    assert meter.features("vocals")["gain_db"] == pytest.approx(6, abs=0.1)


def test_a_stem_that_took_noise_along_is_found_with_less_gain() -> None:
    stems, noise = [_noise(i, 10) for i in range(4)], _noise(9, 10)
    meter = _meter(stems, [(noise, noise), *[_errors(0.01, 10, 10)] * 3])
    assert meter.features("vocals")["gain_db"] == pytest.approx(-6, abs=0.1)


def test_what_two_models_call_by_different_names_is_contested() -> None:
    """One of them takes a sound for drums, the other for bass."""
    stems, sound, nothing = [_noise(i, 10) for i in range(4)], _noise(9, 10, 0.05), _noise(0, 10, 0)
    meter = _meter(stems, [(nothing, nothing), (sound, nothing), (nothing, sound), (nothing, nothing)])
    # one of the two pairs has it in common, and in what comes out half of it stands beside a stem twice as loud
    contested_db = 10 * np.log10(0.5 * 0.05**2 / (0.1**2 + 0.025**2))
    for stem in ("drums", "bass"):
        assert meter.features(stem)["contested_db"] == pytest.approx(contested_db, abs=0.5)
    assert meter.features("other")["contested_db"] < contested_db - 10


def test_the_features_of_a_stem_do_not_depend_on_which_others_were_asked_for() -> None:
    stems = [_noise(i, 5) for i in range(4)]
    block = Block(
        np.sum(stems, axis=0), np.stack([stem for stem in stems for _ in range(2)]), np.stack(stems), np.stack(stems)
    )
    alone = Block(block.mixture, block.estimates, block.mixed[2:3], block.stems[2:3])
    whole, part = Meter(NAMES, STEMS), Meter(NAMES, ["bass"])
    whole.add(block)
    part.add(alone)
    assert whole.features("bass") == pytest.approx(part.features("bass"))


def test_the_residual_is_what_no_stem_took() -> None:
    stems = [_noise(i, 5) for i in range(4)]
    lost = _noise(9, 5, 0.02)
    meter = _meter(stems, [(-lost, -lost), *[(lost * 0, lost * 0)] * 3])
    assert meter.residual_db == pytest.approx(20 * np.log10(0.02 / 0.2), abs=0.2)


def test_a_stem_with_next_to_nothing_in_it_is_silent_and_gets_no_figure() -> None:
    stems = [_noise(0, 5), _noise(1, 5), _noise(2, 5), _noise(3, 5, 1e-5)]
    meter = _meter(stems, [_errors(1e-6, 5, 10)] * 4)
    assert note(meter, None).stems["other"] == StemQuality("silent")
    assert note(meter, None).stems["bass"] == StemQuality("unknown")
    # 46 and 51 dB below the mixture; 34, and quiet as such; quiet, but a third of the song
    levels = ((0.5, 2.5e-3, "unknown"), (0.5, 1.4e-3, "silent"), (0.02, 4e-4, "silent"), (1e-5, 8e-4, "unknown"))
    for loud, level, grade in levels:
        quiet = _meter([_noise(0, 5, loud), *[_noise(i, 5, level) for i in (1, 2, 3)]], [_errors(1e-6, 5, 10)] * 4)
        assert note(quiet, None).stems["other"] == StemQuality(grade)


def test_of_some_stems_alone_there_is_no_residual() -> None:
    stem = _noise(0, 2)
    meter = Meter(NAMES[:2], ["vocals"])
    meter.add(Block(stem, np.stack([stem, stem]), stem[None], stem[None]))
    assert meter.residual_db is None


def _bass(stem_level: float, written_level: float | None = None) -> StemQuality:
    """What the note says of a bass beside three stems of 0.1."""
    stems = np.stack([_noise(i, 5, stem_level if i == 2 else 0.1) for i in range(4)])
    written = stems.copy()
    written[2] *= (written_level or stem_level) / stem_level
    meter = Meter(NAMES, STEMS)
    meter.add(Block(written.sum(axis=0), stems.repeat(2, axis=0), stems, written))
    return note(meter, None).stems["bass"]


def test_silent_is_what_is_written_not_what_was_mixed() -> None:
    assert _bass(3e-4) == StemQuality("silent")
    # what no stem took was handed back to it
    assert _bass(3e-4, written_level=0.01) == StemQuality("unknown")


@pytest.mark.parametrize("gain", [1.0, 1e-2, 1e-3])
def test_a_quiet_song_is_not_a_silent_one(gain: float) -> None:
    stems = [_noise(i, 5, level * gain) for i, level in enumerate((0.1, 0.1, 0.02, 1e-4))]
    said = note(_meter(stems, [_errors(1e-6 * gain, 5, 10)] * 4), None).stems
    assert [said[stem].grade for stem in STEMS] == ["unknown", "unknown", "unknown", "silent"]


def test_of_silence_all_is_silent_and_nothing_is_left_over() -> None:
    for noise in (0.0, 1e-5):
        said = note(_meter([_noise(i, 5, noise) for i in range(4)], [_errors(0, 5, 10)] * 4), None)
        assert set(said.stems.values()) == {StemQuality("silent")}
        assert said.residual_db == -100.0


def test_a_passage_in_which_the_models_part_is_found_where_it_is() -> None:
    stems = [_noise(i, 60) for i in range(4)]
    errors = [_errors(0.01, 60, 10 + 2 * i) for i in range(4)]
    errors[0][0][:, 20 * SAMPLE_RATE_HZ : 35 * SAMPLE_RATE_HZ] *= 15
    spots = note(_meter(stems, errors), None).weak_spots
    assert [spot.stem for spot in spots] == ["vocals"]
    assert abs(spots[0].from_s - 20) <= 4
    assert abs(spots[0].to_s - 35) <= 4


def test_the_longest_weak_spot_comes_first_and_none_is_in_silence_or_behind_the_end() -> None:
    stems = [_noise(i, 60)[:, : round(59.5 * SAMPLE_RATE_HZ)] for i in range(4)]
    errors = [_errors(0.01, 60, 10 + 2 * i) for i in range(4)]
    errors = [(one[:, : stems[0].shape[1]], two[:, : stems[0].shape[1]]) for one, two in errors]
    errors[0][0][:, 8 * SAMPLE_RATE_HZ : 16 * SAMPLE_RATE_HZ] *= 15
    errors[2][0][:, 46 * SAMPLE_RATE_HZ :] *= 15
    stems[1][:, 20 * SAMPLE_RATE_HZ : 40 * SAMPLE_RATE_HZ] *= 0.001  # quieter than what its models make up
    first, second = note(_meter(stems, errors), None).weak_spots
    assert (first.stem, second.stem) == ("bass", "vocals")
    assert [first.from_s, second.from_s] == pytest.approx([46, 8], abs=4)
    assert first.to_s == 59.5


def test_a_weak_passage_ends_with_its_sound() -> None:
    stems = [_noise(i, 60) for i in range(4)]
    errors = [_errors(0.01, 60, 10 + 2 * i) for i in range(4)]
    errors[0][0][:, 45 * SAMPLE_RATE_HZ :] *= 15
    for sound in (*stems, *(error for pair in errors for error in pair)):
        sound[:, 54 * SAMPLE_RATE_HZ :] = 0
    (spot,) = note(_meter(stems, errors), None).weak_spots
    assert spot.from_s == pytest.approx(45, abs=4)
    assert spot.to_s == 54


@pytest.mark.parametrize(("level", "weak"), [(0.01, ["other"]), (0.003, [])])
def test_a_stem_that_is_hardly_heard_has_no_weak_spot(level: float, weak: list[str]) -> None:
    stems = [*(_noise(i, 60) for i in range(3)), _noise(3, 60, level)]
    errors = [_errors(level / 10, 60, 10 + 2 * i) for i in range(4)]
    errors[3][0][:, 8 * SAMPLE_RATE_HZ : 16 * SAMPLE_RATE_HZ] *= 15
    assert [spot.stem for spot in note(_meter(stems, errors), None).weak_spots] == weak


def test_a_song_that_is_equally_good_everywhere_has_no_weak_spot() -> None:
    stems = [_noise(i, 60) for i in range(4)]
    assert note(_meter(stems, [_errors(0.03, 60, 10 + 2 * i) for i in range(4)]), None).weak_spots == ()


def test_the_calibration_turns_features_into_figures_with_a_range_and_a_grade(tmp_path: Path) -> None:
    fitted = {
        "intercept": 1.0,
        "weights": dict.fromkeys(TERMS, 0.0) | {"agreement_db": 0.4, "agreement_db * agreement_db": 0.01},
        "seen": {name: [-2.0, 30.0] for name in FEATURES},
        "seen_db": [-3.0, 12.0],
        "low_db": -1.5,
        "high_db": 1.0,
    }
    (tmp_path / "quality.json").write_text(json.dumps({"stems": {"vocals": fitted}}))
    calibration = Calibration.load(tmp_path / "quality.json")
    features = dict.fromkeys(FEATURES, 0.0) | {"agreement_db": 10.0}
    assert calibration.judge("vocals", features) == StemQuality("good", 6.0, 4.5, 7.0)
    assert calibration.judge("bass", features) == StemQuality("unknown")
    # nothing like it was ever seen
    assert calibration.judge("vocals", features | {"agreement_db": 60.0}) == StemQuality("good", 12.0, 10.5, 13.0)
    assert calibration.judge("vocals", features | {"agreement_db": -60.0}) == StemQuality("poor", 0.2, -1.3, 1.2)
    # nor anything as quiet: it loses what it is quieter, but not what makes a stem worse than none
    assert calibration.judge("vocals", features | {"share_db": -5.0}) == StemQuality("fair", 3.0, 1.5, 4.0)
    assert calibration.judge("vocals", features | {"share_db": -40.0}) == StemQuality("poor", 0.0, -1.5, 1.0)
    assert estimated_db(fitted | {"intercept": -2.0}, dict.fromkeys(FEATURES, 0.0) | {"share_db": -40.0}) == -2.0


def test_a_calibration_of_another_version_is_a_clear_error(tmp_path: Path) -> None:
    stems = {"vocals": {"intercept": 1.0, "weights": dict.fromkeys(TERMS, 0.0), "low_db": -1.5, "high_db": 1.0}}
    (tmp_path / "quality.json").write_text(json.dumps({"stems": stems}))
    with pytest.raises(ModelError, match=r"quality\.json could not be read as the calibration"):
        Calibration.load(tmp_path / "quality.json")


@pytest.mark.parametrize(
    "damage",
    [
        {"low_db": None},
        {"seen_db": [0, float("inf")]},
        {"seen": {}},
        {"weights": dict.fromkeys(TERMS, float("nan"))},
    ],
)
def test_a_calibration_with_something_else_in_place_of_a_number_is_a_clear_error(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    fitted = {
        "intercept": 1.0,
        "weights": dict.fromkeys(TERMS, 0.0),
        "seen": {name: [-2.0, 30.0] for name in FEATURES},
        "seen_db": [-3.0, 12.0],
        "low_db": -1.5,
        "high_db": 1.0,
    }
    (tmp_path / "quality.json").write_text(json.dumps({"stems": {"vocals": fitted}}))
    Calibration.load(tmp_path / "quality.json")
    (tmp_path / "quality.json").write_text(json.dumps({"stems": {"vocals": fitted | damage}}))
    with pytest.raises(ModelError, match=r"quality\.json could not be read as the calibration"):
        Calibration.load(tmp_path / "quality.json")


def test_a_mix_of_all_but_one_has_that_ones_error() -> None:
    left_out, rest = _noise(0, 2, 0.1), _noise(1, 2, 0.3)
    wrong = left_out + _noise(2, 2, 0.05)
    more_db = float(10 * np.log10((rest**2).sum() / (left_out**2).sum()))
    judged = quality_of_mix(StemQuality("good", usdr(left_out, wrong), 0.0, 9.0), more_db)
    assert judged.estimated_sdr_db == pytest.approx(usdr(rest, left_out + rest - wrong), abs=0.1)


def test_a_mix_is_judged_by_the_stem_that_it_leaves_out_unless_nothing_is_left() -> None:
    stems = [_noise(0, 5), *[_noise(i, 5, 1e-5) for i in (1, 2, 3)]]
    judged = note(_meter(stems, [_errors(1e-6, 5, 10)] * 4), None).stems
    assert judged["karaoke"] == StemQuality("silent")
    assert judged["no-drums"] == StemQuality("unknown")

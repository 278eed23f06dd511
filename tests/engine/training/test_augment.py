"""What changes a random mixture changes it as music is changed, and leaves the sum of its stems whole."""

from __future__ import annotations

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.training import augment, synthesised
from spectacles_engine.training.augment import Material, MixtureSource
from spectacles_engine.training.data import Recording
from spectacles_engine.training.effects import coded, pumping, stretched


def _tone(seconds: float, frequency_hz: float, level: float = 0.3) -> Array:
    wave = level * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ)
    return np.stack([wave, wave]).astype(np.float32)


def _loudest_hz(part: Array) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(part[0]))) * SAMPLE_RATE_HZ / part.shape[1])


@pytest.mark.parametrize("factor", [0.87, 1.0, 1.13])
def test_a_stretched_tone_is_longer_and_keeps_its_pitch_and_level(factor: float) -> None:
    tone = _tone(2, 440)
    samples = int(tone.shape[1] * factor)
    longer = stretched(tone, samples)
    assert longer.shape == (2, samples)
    assert _loudest_hz(longer) == pytest.approx(440, abs=1)
    middle = longer[:, samples // 4 : -samples // 4]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_a_change_in_time_is_stretched_along(tone_then_silence: Array) -> None:
    longer = stretched(tone_then_silence, int(tone_then_silence.shape[1] * 1.1))
    loud = np.abs(longer[0]) > 0.05
    assert np.flatnonzero(loud)[-1] / SAMPLE_RATE_HZ == pytest.approx(1.1, abs=0.06)


@pytest.fixture
def tone_then_silence() -> Array:
    return np.concatenate([_tone(1, 600), np.zeros((2, SAMPLE_RATE_HZ), np.float32)], axis=1)


def test_a_codec_takes_the_highs_and_what_is_masked_from_all_stems_alike() -> None:
    loud, masked, high = _tone(1, 1000), _tone(1, 1200, 0.0005), _tone(1, 14_000)
    left = coded(np.stack([loud, masked, high]), 12_000, 40)

    def kept(index: int, before: Array) -> float:
        middle = slice(8192, -8192)
        return float(np.sum(left[index][:, middle] ** 2) / np.sum(before[:, middle] ** 2))

    assert kept(0, loud) > 0.99
    assert kept(1, masked) < 0.1
    assert kept(2, high) < 0.01


@pytest.mark.parametrize("samples", [171_990, 40_000, 1_024, 700])
def test_a_codec_leaves_no_click_at_the_end(samples: int) -> None:
    stems = np.random.default_rng(0).standard_normal((4, 2, samples)).astype(np.float32) * np.float32(0.1)
    left = coded(stems, 9_000, 15)
    assert left.shape == stems.shape
    assert np.abs(left[..., -100:]).max() <= 1.1 * np.abs(stems[..., -100:]).max()


def test_a_compressor_that_hears_nothing_or_nothing_new_leaves_all_as_it_is() -> None:
    assert (pumping(np.zeros((2, SAMPLE_RATE_HZ), np.float32), np.random.default_rng(0)) == 1).all()
    steady = pumping(_tone(1, 1000), np.random.default_rng(0))
    assert steady.std() < 0.01 * steady.mean()


SHARES = (
    "DUCKING_SHARE",
    "PUMPING_SHARE",
    "MONO_SHARE",
    "CODEC_SHARE",
    "ELECTRONIC_SHARE",
)


def _source(seed: int) -> MixtureSource:
    noise = np.random.default_rng(0).integers(-3000, 3000, (2, 10 * SAMPLE_RATE_HZ)).astype(np.int16)
    song = dict.fromkeys(STEMS, Recording(noise, np.arange(10), "noise"))
    return MixtureSource([Material([song])], SAMPLE_RATE_HZ, seed)


def test_with_every_change_mixtures_are_whole_and_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in SHARES:
        monkeypatch.setattr(augment, share, 1.0)
    monkeypatch.setattr(augment, "STRETCH_SHARE", dict.fromkeys(STEMS, 1.0))
    first, again = _source(3), _source(3)
    for _ in range(6):
        drawn = first.draw().references
        np.testing.assert_array_equal(drawn, again.draw().references)
        assert drawn.shape == (len(STEMS), 2, SAMPLE_RATE_HZ)
        assert np.isfinite(drawn).all()
        np.testing.assert_allclose(drawn[:, 0], drawn[:, 1], atol=1e-6)  # mono
        assert np.abs(drawn.sum(axis=0)).max() <= 1 + 1e-5


def test_a_made_up_kick_sounds_low_and_what_ducks_is_softer_under_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("COHERENT_SHARE", "PUMPING_SHARE", "MONO_SHARE", "CODEC_SHARE", "ELECTRONIC_SHARE"):
        monkeypatch.setattr(augment, share, 0.0)
    monkeypatch.setattr(augment, "ABSENT_SHARE", dict.fromkeys(STEMS, 0.0))
    monkeypatch.setattr(augment, "SYNTHESISED_SHARE", {"drums": 1.0})
    low = []
    followed = []
    for ducking in (0.0, 1.0):
        monkeypatch.setattr(augment, "DUCKING_SHARE", ducking)
        drawn = [_source(seed).draw().references.mean(axis=1) for seed in range(8)]
        drums, bass = (np.stack([each[STEMS.index(stem)] for each in drawn]) for stem in ("drums", "bass"))
        energy = np.abs(np.fft.rfft(drums)) ** 2
        low.append(energy[:, :200].sum() / energy.sum())  # a second: a bin is one hertz
        levels = [np.sqrt((x.reshape(8, 100, -1) ** 2).mean(axis=-1)) for x in (drums, bass)]
        followed.append(np.mean([np.corrcoef(d, b)[0, 1] for d, b in zip(*levels, strict=True)]))
    assert min(low) > 0.3  # of the noise it is struck among, a hundredth is as low
    assert followed[1] < followed[0] - 0.3


def test_an_amplifier_gives_a_bass_harmonics_and_leaves_it_as_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    tone = (_tone(10, 55) * 32768).astype(np.int16)
    song = {"bass": Recording(tone, np.arange(10), "tone")}
    for share in SHARES:
        monkeypatch.setattr(augment, share, 0.0)
    monkeypatch.setattr(augment, "COHERENT_SHARE", 1.0)
    monkeypatch.setattr(augment, "_gain", lambda level_db: np.float32(1))
    high, loud = {}, {}
    for driven in (0.0, 1.0):
        monkeypatch.setattr(augment, "DRIVE_SHARE", dict.fromkeys(STEMS, driven))
        source = MixtureSource([Material([song])], SAMPLE_RATE_HZ, 4)
        drawn = np.stack([source.draw().references[STEMS.index("bass")] for _ in range(12)])
        energy = np.abs(np.fft.rfft(drawn)) ** 2
        high[driven] = energy[..., 100:].sum() / energy.sum()
        loud[driven] = np.square(drawn).mean()
    assert high[0.0] < 0.01
    assert high[1.0] > 0.03
    assert loud[1.0] == pytest.approx(loud[0.0], rel=0.05)


def test_a_song_has_its_sides_swapped_as_a_whole_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in SHARES:
        monkeypatch.setattr(augment, share, 0.0)
    monkeypatch.setattr(augment, "COHERENT_SHARE", 1.0)
    sound = np.random.default_rng(0).integers(-3000, 3000, (2, 10 * SAMPLE_RATE_HZ)).astype(np.int16)
    sound[1] = 0
    song = dict.fromkeys(STEMS, Recording(sound, np.arange(10), "left"))
    source = MixtureSource([Material([song])], SAMPLE_RATE_HZ, 0)
    heard = [np.abs(source.draw().references).max(axis=-1) > 1e-3 for _ in range(12)]
    assert {tuple(map(tuple, sides)) for sides in heard} == {((True, False),) * 4, ((False, True),) * 4}


def test_a_stem_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("COHERENT_SHARE", "ELECTRONIC_SHARE"):
        monkeypatch.setattr(augment, share, 0.0)
    monkeypatch.setattr(augment, "ABSENT_SHARE", dict.fromkeys(STEMS, 0.0) | {"drums": 1.0})
    assert [_source(seed).draw().references.any(axis=(1, 2)).tolist() for seed in range(4)] == [
        [stem != "drums" for stem in STEMS]
    ] * 4


@pytest.mark.parametrize("coherent", [0.0, 1.0])
def test_many_made_up_songs_do_not_drown_a_few_real_ones(coherent: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "COHERENT_SHARE", coherent)
    monkeypatch.setattr(augment, "ABSENT_SHARE", dict.fromkeys(STEMS, 0.0))
    sound = np.full((2, 10 * SAMPLE_RATE_HZ), 1000, np.int16)
    real = Material([{"drums": Recording(sound, np.arange(10), "real")}])
    made_up = Material([{"drums": Recording(sound, np.arange(10), f"made up {i}")} for i in range(64)])
    source = MixtureSource([real, made_up], SAMPLE_RATE_HZ // 10, 0)
    drawn = [source.draw().sources["drums"] for _ in range(400)]
    assert np.mean([names == ["real"] for names in drawn]) == pytest.approx(1 / 9, abs=0.05)  # 1 to √64


def test_a_made_up_bass_is_low_and_each_draw_another() -> None:
    lines = [synthesised.bass(4 * SAMPLE_RATE_HZ, np.random.default_rng(seed)) for seed in range(8)]
    energy = np.abs(np.fft.rfft(np.stack(lines)[:, 0])) ** 2
    low = energy[:, : 4 * 300].sum(axis=1) / energy.sum(axis=1)
    assert low.mean() > 0.7
    sounding = [np.mean(np.abs(line) > 0.02 * np.abs(line).max()) for line in lines]
    assert max(sounding) - min(sounding) > 0.3  # some are cut short, some are held

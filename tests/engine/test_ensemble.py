from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pytest

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import MIXER_MARGIN_SAMPLES, Ensemble
from spectacles_engine.errors import CancelledError
from spectacles_engine.messages import STEMS
from spectacles_engine.mixers import FixedShares, LinearMixer
from tests.engine.fakes import FakeSeparator, share

SHARES = {"vocals": 0.4, "drums": 0.3, "bass": 0.2, "other": 0.1}


def _song(samples: int) -> Array:
    return np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32) * np.float32(0.1)


def _model(name: str = "demucs", chunk_samples: int = 30_000) -> FakeSeparator:
    return FakeSeparator(name, {stem: share(part) for stem, part in SHARES.items()}, chunk_samples)


def _alone(name: str) -> FixedShares:
    return FixedShares({stem: {name: 1.0} for stem in STEMS})


@pytest.mark.parametrize("samples", [1, 44_099, 44_100, 44_101, 30_000 * 9 + 7, 441_000 + 8192])
def test_a_linear_model_comes_out_as_it_is_at_every_length(samples: int) -> None:
    song = _song(samples)
    ensemble = Ensemble({"demucs": _model()}, _alone("demucs"))
    blocks = list(ensemble.separate(np.array_split(song, 3, axis=1)))
    np.testing.assert_array_equal(np.concatenate([b.mixture for b in blocks], axis=1), song)
    stems = np.concatenate([b.stems for b in blocks], axis=-1)
    expected = song * np.array(list(SHARES.values()), np.float32)[:, None, None]
    np.testing.assert_allclose(stems, expected, atol=1e-6)
    np.testing.assert_allclose(stems.sum(axis=0), song, atol=1e-6)


def test_models_with_different_chunks_stay_aligned() -> None:
    song = _song(500_000)
    models = {"demucs": _model("demucs", 30_000), "mdx": _model("mdx", 77_777)}
    average = FixedShares({stem: {"demucs": 0.5, "mdx": 0.5} for stem in STEMS})
    blocks = list(Ensemble(models, average).separate([song]))
    estimates = np.concatenate([b.estimates for b in blocks], axis=-1)
    np.testing.assert_allclose(estimates[0::2], estimates[1::2], atol=1e-6)
    np.testing.assert_allclose(np.concatenate([b.stems for b in blocks], axis=-1).sum(axis=0), song, atol=1e-6)


FRONTS = {
    "one": FakeSeparator("spleeter", {"vocals": share(0.6)}, 50_000),
    "other": FakeSeparator("spleeter", {"vocals": share(0.4)}, 70_000),
}


def test_above_what_a_model_knows_the_others_are_heard_alone() -> None:
    mixer = FixedShares({"bass": {"demucs": 0.5, "mdx-low": 0.5}}, {"mdx-low": 2000.0})
    time_s = np.arange(44_100) / 44_100
    below, above = (np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (1990.0, 2010.0))
    heard = np.zeros((1, 3, 2, 44_100), np.float32)
    heard[:, 1 + mixer.names(["bass"]).index(("bass", "demucs"))] = below + above
    np.testing.assert_allclose(mixer.blend(heard, ["bass"])[0, 0, 0], 0.5 * below + above, atol=1e-4)


def test_behind_fronts_the_others_hear_what_they_left_and_their_vocals_are_added_to_the_mean_of_theirs() -> None:
    song = _song(200_000)
    mixer = FixedShares({"vocals": {"demucs": 1.0}} | {stem: {"demucs": 1.0} for stem in STEMS[1:]})
    blocks = list(Ensemble({**FRONTS, "demucs": _model()}, mixer, tuple(FRONTS)).separate([song]))
    vocals, drums, *_ = np.concatenate([b.stems for b in blocks], axis=-1)
    np.testing.assert_allclose(vocals, song * (0.5 + 0.5 * 0.4), atol=1e-6)
    np.testing.assert_allclose(drums, song * 0.5 * 0.3, atol=1e-6)


@pytest.mark.parametrize(("front", "heard"), [("one", 0.6), ("other", 0.4)])
def test_each_front_can_be_listened_to_itself(front: str, heard: float) -> None:
    song = _song(100_000)
    mixer = FixedShares({"vocals": {"demucs": 0.0, front: 1.0}})
    block, *_ = Ensemble({**FRONTS, "demucs": _model()}, mixer, tuple(FRONTS)).separate([song], ("vocals",))
    np.testing.assert_allclose(block.stems[0], song[:, : block.mixture.shape[1]] * heard, atol=1e-6)


def test_only_what_is_asked_for_is_estimated() -> None:
    model, deaf = _model("demucs"), _model("mdx")
    mixer = FixedShares({"bass": {"demucs": 1.0}, "drums": {"mdx": 1.0}})
    list(Ensemble({"demucs": model, "mdx": deaf}, mixer).separate([_song(50_000)], ("bass",)))
    assert (model.asked, deaf.asked) == ({"bass"}, set())


class _Fussy(FakeSeparator):
    """Knows nothing within its margins, and is off by the number of the chunk."""

    margin_samples = 5_000
    overlap = 0.5
    seen = 0

    def estimate(self, mixture: Array, stems: Collection[str]) -> dict[str, Array]:
        assert len(mixture) <= self.placement.batch
        answer = np.full_like(mixture, 99)
        for chunk in answer:
            chunk[:, self.margin_samples : -self.margin_samples] = self.seen
            self.seen += 1
        return dict.fromkeys(stems, answer)


def test_a_model_is_asked_as_it_wants_to_be() -> None:
    ensemble = Ensemble({"mdx": _Fussy("mdx", {"bass": share(1)}, 30_000)}, _alone("mdx"))
    bass = np.concatenate([block.stems[0] for block in ensemble.separate([_song(100_000)], ("bass",))], axis=-1)
    assert (bass[0, 0], round(bass.max())) == (0, 8)
    assert np.abs(np.diff(bass)).max() < 3 / 10_000  # faded over half of what is used of a chunk, the last one faster


class _FussyMixer(FixedShares):
    """As fussy, at the ends of what it is given."""

    seen = 0

    def blend(self, heard: Array, stems: Sequence[str]) -> Array:
        mixed = np.full_like(heard[:, 1:], 99)
        mixed[..., MIXER_MARGIN_SAMPLES:-MIXER_MARGIN_SAMPLES] = _FussyMixer.seen
        _FussyMixer.seen += 1
        return mixed


def test_a_mixers_chunks_have_margins_and_are_faded_into_one_another() -> None:
    ensemble = Ensemble({"demucs": _model()}, _FussyMixer({"bass": {"demucs": 1.0}}))
    bass = np.concatenate([block.stems[0] for block in ensemble.separate([_song(800_000)], ("bass",))], axis=-1)
    assert (bass[0, 0], round(bass.max())) == (0, 3)
    assert np.abs(np.diff(bass)).max() < 0.01


def test_silence_stays_silence() -> None:
    blocks = Ensemble({"demucs": _model()}, _alone("demucs")).separate([np.zeros((2, 300_000), np.float32)])
    assert all(not block.stems.any() for block in blocks)


def test_it_can_be_ended_between_two_chunks() -> None:
    left = 3

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        list(Ensemble({"demucs": _model()}, _alone("demucs")).separate([_song(900_000)], between_chunks=check))


@pytest.mark.parametrize("samples", [25_000, 200_000])
def test_models_hear_no_dc_offset_and_the_stems_still_sum_to_the_song(samples: int) -> None:
    song, means = _song(samples) + np.array([[0.03], [0]], np.float32), []

    def listen(mixture: Array) -> Array:
        means.append(np.abs(mixture.mean(axis=-1)).max())
        assert samples > 30_000 or not mixture[..., samples:].any()  # what fills the chunk up
        return mixture * np.float32(0.25)

    ensemble = Ensemble({"demucs": FakeSeparator("demucs", dict.fromkeys(STEMS, listen))}, _alone("demucs"))
    stems = np.concatenate([b.stems for b in ensemble.separate([song])], axis=-1)
    assert max(means) < 0.003
    np.testing.assert_allclose(stems.sum(axis=0), song, atol=1e-6)


def test_of_a_song_with_one_channel_the_models_hear_both_and_the_other_stays_silent() -> None:
    song = _song(200_000)
    song[1] = 0

    def listen(mixture: Array) -> Array:
        np.testing.assert_array_equal(mixture[:, 0], mixture[:, 1])
        return mixture * np.float32(0.25)

    # a mixer that crosses the channels, as a linear one may
    weights = np.zeros((1, 4, 2, 5, 2), np.float32)
    for row in range(4):
        weights[0, row, :, row + 1] = 0.5
    mixer = LinearMixer(weights, tuple((stem, "demucs") for stem in STEMS))
    ensemble = Ensemble({"demucs": FakeSeparator("demucs", dict.fromkeys(STEMS, listen))}, mixer)
    stems = np.concatenate([b.stems for b in ensemble.separate([song])], axis=-1)
    np.testing.assert_allclose(stems[:, 0], song[[0] * 4] / 4, atol=1e-6)
    assert not stems[:, 1].any()


def test_a_quiet_channel_upside_down_is_put_right_for_the_models_and_comes_out_as_it_was() -> None:
    song = _song(200_000)
    song[1] = song[0] * np.float32(-0.25)

    def listen(mixture: Array) -> Array:
        np.testing.assert_allclose(mixture[:, 1], mixture[:, 0], rtol=0.15)
        return mixture * np.float32(0.25)

    ensemble = Ensemble({"demucs": FakeSeparator("demucs", dict.fromkeys(STEMS, listen))}, _alone("demucs"))
    blocks = list(ensemble.separate([song]))
    np.testing.assert_array_equal(np.concatenate([b.mixture for b in blocks], axis=-1), song)
    np.testing.assert_allclose(
        np.concatenate([b.stems for b in blocks], axis=-1), song[None].repeat(4, 0) / 4, atol=1e-6
    )

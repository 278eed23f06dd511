"""Every way of separating is scored, as museval scores it, one second after the other."""

from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Iterator, Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from spectacles_engine.chunking import Array
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import InputError
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.mixers import FixedShares
from spectacles_engine.quality import usdr
from spectacles_engine.stem_mixer import Design
from spectacles_engine.training import plots
from spectacles_engine.training.estimates import write_estimates
from spectacles_engine.training.evaluate import Evaluation
from spectacles_engine.training.examples import Example
from spectacles_engine.training.oracle import Oracle
from spectacles_engine.training.plots import plot_table
from spectacles_engine.training.scoring import BSS_EVAL, MEASURES, USDR, SongScores
from spectacles_engine.training.table import ORACLE, WRITTEN, Report, Table, _gain
from tests.engine.fakes import FakeSeparator, share


def _references(seconds: float = 3, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).standard_normal((4, 2, int(seconds * SAMPLE_RATE_HZ)))
    return (noise * 0.1).astype(np.float32)


def _score(references: Array, estimates: Mapping[str, Array]) -> SongScores:
    scores = SongScores()
    for start in range(0, references.shape[-1], SAMPLE_RATE_HZ):
        second = slice(start, start + SAMPLE_RATE_HZ)
        ways = {"way": {stem: estimate[:, second] for stem, estimate in estimates.items()}}
        scores.add(references[..., second], references.sum(axis=0)[:, second], ways)
    return scores


def _museval() -> Any:
    """``museval.metrics`` without its package, which wants an ffmpeg binary as soon as it is imported."""
    package = find_spec("museval")
    assert package is not None
    assert package.origin is not None
    spec = spec_from_file_location("museval_metrics", Path(package.origin).with_name("metrics.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_usdr_of_a_stem_with_a_known_error_and_none_of_a_silent_one() -> None:
    references = _references()
    references[2] = 0
    rows = _score(references, {"vocals": references[0] * 0.9, "bass": references[1]}).rows(USDR)
    assert rows == {"way": {"vocals": pytest.approx(20, abs=0.01)}}


def test_a_stem_is_silent_from_60_db_below_the_mixture_on() -> None:
    references = _references()
    references[0] *= 10 ** (-50 / 20)
    references[1] *= 10 ** (-70 / 20)
    scores = _score(references, dict(zip(STEMS, references * 0.9, strict=True)))
    assert all(list(scores.rows(measure)["way"]) == ["vocals", "bass", "other"] for measure in MEASURES)


@pytest.mark.parametrize("seconds", [0.6, 1.0, 3.4])
def test_bss_eval_is_what_museval_says_to_a_hundredth_of_a_db(seconds: float) -> None:
    """Errors of all kinds, among them a filtered stem and interference, and seconds of digital silence."""
    references = _references(seconds)
    estimates = references * 0.8 + 0.2 * np.roll(references, 7, axis=-1) + 0.1 * references[::-1]
    estimates[..., : SAMPLE_RATE_HZ // 3] *= 2
    if seconds > 2:
        references[1, :, SAMPLE_RATE_HZ : 2 * SAMPLE_RATE_HZ] = 0
        estimates[3, :, 2 * SAMPLE_RATE_HZ : 3 * SAMPLE_RATE_HZ] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr, *_ = _museval().bss_eval(
            references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, filters_len=16
        )
    row = _score(references, dict(zip(STEMS, estimates, strict=True))).rows(BSS_EVAL)["way"]
    assert np.isnan(sdr).any() == (seconds > 2)
    assert list(row.values()) == pytest.approx(np.nanmedian(sdr, axis=1), abs=0.01)


def test_bss_eval_is_the_median_second_and_usdr_the_whole_song() -> None:
    references = _references(3)
    error = _references(3, seed=5)[0] * np.float32(0.1)
    error[:, : SAMPLE_RATE_HZ // 2] *= 30  # one bad second of three
    scores = _score(references, {"vocals": references[0] + error})
    assert scores.rows(BSS_EVAL)["way"]["vocals"] == pytest.approx(20, abs=0.3)
    assert scores.rows(USDR)["way"]["vocals"] < 0


def _evaluation() -> Evaluation:
    """Two models, of which one answers half of the mixture for every stem, the other a tenth of it."""
    models = {
        "demucs": FakeSeparator("demucs", {stem: share(0.5) for stem in STEMS}),
        "mdx": FakeSeparator("mdx", {stem: share(0.1) for stem in STEMS}),
    }
    average, ours = (FixedShares({s: {"demucs": d, "mdx": 1 - d} for s in STEMS}) for d in (0.5, 0.25))
    return Evaluation(
        Ensemble(models, average), {"average": average, "stemmixer": ours}, Oracle(Design("spectrograms"))
    )


def test_all_ways_of_separating_are_in_the_table_and_the_oracle_is_above_all_blends() -> None:
    table = Table()
    _evaluation().run([Example.summed("song", _references())], table)
    summary = table.summary(USDR, "mean")
    blends = {"mixture": 1.0, "demucs": 0.5, "mdx": 0.1, "average": 0.3, "stemmixer": 0.2}
    assert set(summary) == {*blends, "stemmixer, residual handed back", ORACLE}
    # a quarter of the sum of four independent equals leaves an error of 3/4 of the energy, and so on
    for row, factor in blends.items():
        error = (1 - factor) ** 2 + 3 * factor**2
        assert summary[row]["drums"] == pytest.approx(-10 * np.log10(error), abs=0.1)
    assert all(summary[ORACLE][stem] > summary[row][stem] for row in blends for stem in STEMS)


def test_of_a_long_song_a_few_chunks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation, held, most = _evaluation(), list[weakref.ref[Array]](), 0
    hear = Ensemble.hear

    def watched(self: Ensemble, *args: Any) -> Iterator[Array]:
        for block in hear(self, *args):
            held.append(weakref.ref(block))
            yield block
            del block

    monkeypatch.setattr(Ensemble, "hear", watched)
    for _ in evaluation.ways(Example.summed("song", _references(40))):
        most = max(most, sum(block() is not None for block in held))
    assert len(held) == 40
    assert most < 25


def test_of_a_folder_one_song_is_held(tmp_path: Path) -> None:
    evaluation, read = _evaluation(), list[weakref.ref[Array]]()

    def examples() -> Iterator[Example]:
        for number in range(3):
            assert all(song() is None for song in read)
            references = _references(1)
            read.append(weakref.ref(references))
            one = Example.summed(str(number), references)
            del references
            yield one
            del one

    evaluation.run(examples(), Table())
    write_estimates(evaluation.ensemble, examples(), tmp_path)
    assert len(read) == 6


def test_the_mixture_of_a_song_is_what_is_separated_not_the_sum_of_its_stems() -> None:
    references, table = _references(), Table()
    _evaluation().run([Example("song", references, 2 * references[1])], table)
    assert table.summary(USDR, "mean")["demucs"]["drums"] > 60


def test_an_interrupted_evaluation_goes_on_and_a_table_of_others_is_not_written_over(tmp_path: Path) -> None:
    evaluation, path = _evaluation(), tmp_path / "table.json"
    examples = [Example.summed(f"song-{i}", _references(2, seed=i)) for i in range(3)]
    told = [[example.name, "as it was"] for example in examples]
    evaluation.run(examples[:2], Table.resumed(path, {"models": ["a"], "songs": told}), path)
    resumed = Table.resumed(path, {"models": ["a"], "songs": told})
    assert list(resumed.songs) == ["song-0", "song-1"]
    scored = dict(resumed.songs)
    evaluation.run(examples, resumed)
    assert list(resumed.songs) == ["song-0", "song-1", "song-2"]
    assert all(resumed.songs[name] is scores for name, scores in scored.items())
    without_the_last = Table.resumed(path, {"models": ["a"], "songs": [*told[:2], ["another", "new"]]})
    assert list(without_the_last.songs) == ["song-0", "song-1"]
    changed = [told[0], ["song-1", "other sound"], told[2]]
    wrong: list[dict[str, object]] = [{"models": ["b"], "songs": told}, {"songs": told}]
    for made_by in wrong + [{"models": ["a"], "songs": songs} for songs in (told[1:], changed)]:
        with pytest.raises(InputError, match="remove it, or name another file"):
            Table.resumed(path, made_by)
    for damage in ("", "[]", '{"made_by": {}, "songs": {}}'):
        path.write_text(damage)
        with pytest.raises(InputError, match="no table"):
            Table.resumed(path, {"songs": told})


def _table(values: Mapping[str, Mapping[str, float]]) -> Table:
    """Row → song → dB of the drums."""
    songs: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for row, by_song in values.items():
        for song, value in by_song.items():
            for measure in MEASURES:
                songs.setdefault(song, {}).setdefault(measure, {})[row] = {"drums": value}
    return Table({}, songs)


def _report(songs: int) -> Report:
    base = {f"song-{i}": float(i % 5) for i in range(songs)}
    rows = {
        "demucs": {song: value - 1 for song, value in base.items()},
        "mdx": base,
        "average": {song: value - 0.5 for song, value in base.items()},
        "stemmixer": {song: value + 1 + 0.1 * (i % 3) for i, (song, value) in enumerate(base.items())},
        "stemmixer" + WRITTEN: {song: value + 1 for song, value in base.items()},
        ORACLE: {song: value + 4 for song, value in base.items()},
    }
    return Report(_table(rows), ("demucs", "mdx"), ("average", "stemmixer"), "stemmixer")


def test_gains_come_with_an_interval_that_pairs_the_songs_and_shares_are_of_the_oracles_gain(tmp_path: Path) -> None:
    report = _report(20)
    usdr_mean = report.as_json()[USDR]["mean"]
    gain = usdr_mean["gains"]["stemmixer − best base model"]["drums"]
    assert gain["against"] == "mdx"
    assert gain["gain_db"] == pytest.approx(1.095, abs=0.01)
    # songs differ by 5 dB, gains by 0.2 dB: an interval that took them apart would be far wider
    assert gain["gain_db"] - 0.1 < gain["low_db"] < gain["gain_db"] < gain["high_db"] < gain["gain_db"] + 0.1
    spread_db = np.std([0.1 * (i % 3) for i in range(20)]) / np.sqrt(20)
    assert gain["high_db"] - gain["low_db"] == pytest.approx(2 * 1.96 * spread_db, rel=0.1)
    assert usdr_mean["share_of_oracle_percent"]["stemmixer" + WRITTEN]["drums"] == pytest.approx(25)
    assert usdr_mean["share_of_oracle_percent"]["average"]["drums"] == pytest.approx(-12.5)
    assert set(report.as_json()) == set(MEASURES)
    text = report.text()
    for expected in (
        "uSDR, dB, mean of 20 songs",
        "BSS Eval v4 SDR, dB, median over 1 s frames, then median of 20 songs",
    ):
        assert expected in text
    plot_table(report, tmp_path / "charts" / "table.png")
    assert (tmp_path / "charts" / "table.png").stat().st_size > 1000


@pytest.mark.parametrize("songs", [6, 10, 20])
def test_the_interval_of_a_mean_holds_as_often_as_it_says(songs: int) -> None:
    random = np.random.default_rng(songs)
    held = []
    for _ in range(300):
        theirs = random.normal(5, 3, songs)
        gain = _gain(np.stack([theirs + random.normal(0.5, 1, songs), theirs], axis=1), np.mean)
        held.append(gain["low_db"] < 0.5 < gain["high_db"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)


def test_nothing_lies_over_the_bars_of_the_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    finish = plots._finish

    def finished(figure: Figure, path: Path, dpi: int) -> None:
        drawn.append(figure)
        finish(figure, path, dpi)

    monkeypatch.setattr(plots, "_finish", finished)
    plot_table(_report(2), tmp_path / "table.png")
    (figure,) = drawn
    legends = [legend.get_window_extent() for axis in figure.axes if (legend := axis.get_legend())]
    assert len(legends) == 1
    assert not any(legends[0].overlaps(axis.get_window_extent()) for axis in figure.axes)


def test_of_a_few_songs_no_interval_is_claimed() -> None:
    gain = _report(5).as_json()[USDR]["mean"]["gains"]["stemmixer − average"]["drums"]
    assert "low_db" not in gain
    assert "(songs: 5)" in _report(5).text()
    assert "mean of 1 song |" in _report(1).text()


def test_the_best_base_model_is_the_one_with_the_highest_score() -> None:
    table = _table({"demucs": {"a": 2.0}, "mdx": {"a": 1.0}, "average": {"a": 3.0}, ORACLE: {"a": 2.0}})
    assert table.best_of(("demucs", "mdx"), USDR, "mean") == {"drums": "demucs"}
    # above which there is nothing to gain here
    assert table.shares(["average"], ("demucs", "mdx"), USDR, "mean") == {"average": {}}


def test_the_text_is_a_table_of_scores_and_one_of_what_is_gained() -> None:
    report = _report(6)
    del report.table.songs["song-0"][USDR]["mdx"]["drums"]
    report.table.songs["song-1"][USDR]["average"]["drums"] = 30
    scores, gains, *_ = report.text().split("\n\n")
    assert scores.splitlines()[1:] == [
        "|---|---|---|---|---|",
        "| *songs that have the stem* | 0 | 6 | 0 | 0 |",
        "| demucs | – | 0.67 | – | – |",
        "| mdx | – | 2.00 | – | – |",
        "| average | – | 6.08 | – | – |",
        "| stemmixer | – | 2.77 | – | – |",
        "| stemmixer, residual handed back | – | 2.67 | – | – |",
        "| oracle α | – | 5.67 | – | – |",
    ]
    assert gains.splitlines() == [
        "| uSDR, mean: what is gained | vocals | drums | bass | other |",
        "|---|---|---|---|---|",
        "| stemmixer − best base model, dB [95 %] | – | +1.12 (songs: 5) | – | – |",
        "| stemmixer − average, dB [95 %] | – | −3.32 [−17.47, +3.82] | – | – |",
        "| stemmixer, residual handed back − best base model, dB [95 %] | – | +1.00 (songs: 5) | – | – |",
        "| stemmixer, residual handed back − average, dB [95 %] | – | −3.42 [−17.54, +3.65] | – | – |",
        "| average, % of the oracle's gain | – | 111 | – | – |",
        "| stemmixer, % of the oracle's gain | – | 21 | – | – |",
        "| stemmixer, residual handed back, % of the oracle's gain | – | 18 | – | – |",
    ]


def test_the_summary_is_the_mean_and_the_median_over_songs_that_have_the_stem(tmp_path: Path) -> None:
    table = _table({"mdx": {"a": 0.0, "b": 1.0, "c": 8.0}})
    table.songs["d"] = {measure: {"mdx": {}} for measure in MEASURES}
    assert table.summary(USDR, "mean") == {"mdx": {"drums": 3.0}}
    assert table.summary(USDR, "median") == {"mdx": {"drums": 1.0}}
    table.write(tmp_path / "table.json", {})
    assert json.loads((tmp_path / "table.json").read_text())["songs"]["c"][USDR]["mdx"] == {"drums": 8.0}


def test_the_oracle_mixes_three_models_better_than_any_two() -> None:
    references = _references(2)
    names = tuple((stem, model) for stem in STEMS for model in ("a", "b", "c"))
    errors = [_references(2, seed=10 + k) for k in range(3)]
    estimates = np.stack([references[i] + errors[k][i] for i in range(4) for k in range(3)])
    chunk = np.concatenate([references.sum(axis=0)[None], estimates, references])[None]
    (all_three,) = Oracle(Design("spectrograms")).blend(chunk, names)
    pairs = [name for name in names if name[1] != "c"]
    kept = [0, *(1 + i for i, name in enumerate(names) if name[1] != "c"), *range(13, 17)]
    (two,) = Oracle(Design("spectrograms")).blend(chunk[:, kept], pairs)
    for i in range(4):
        assert usdr(references[i], all_three[i]) > usdr(references[i], two[i]) + 0.5

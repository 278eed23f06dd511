"""The real engine in its child process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectacles_engine import demo, worker
from spectacles_engine.errors import NotAudioError
from spectacles_engine.manifest import WEIGHTS, Manifest
from spectacles_engine.messages import (
    STEMS,
    Cancel,
    Done,
    EngineOptions,
    Limits,
    Progress,
    QualityNote,
    Separate,
    SeparationRequest,
    SeparationResult,
)
from spectacles_engine.models import ModelStore
from spectacles_engine.process import EngineProcess
from spectacles_engine.separation import SongSeparator
from spectacles_engine.worker import nth_gpu
from tests.engine.fakes import write_mixer


async def test_lite_with_a_mixer_of_ones_own_writes_in_its_process_what_it_writes_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    mixture = sum(demo.references().values())
    song = tmp_path / "song.wav"
    soundfile.write(song, np.asarray(mixture)[:, : 3 * 44_100].T, 44_100)
    request = SeparationRequest(format="flac")
    shares: list[float] = []
    mixer = write_mixer(tmp_path / "own.safetensors", mixture=0, demucs=0.5, mdx=0.5)
    quality = WEIGHTS / "lite-quality.json"
    engine = EngineProcess(EngineOptions(tmp_path / "models", device="cpu", mixer=mixer, quality=quality))
    try:
        await engine.start()
        (tmp_path / "text.mp3").write_text("la la la")
        with pytest.raises(NotAudioError, match=r"^not an audio file$"):
            await engine.separate("0", tmp_path / "text.mp3", tmp_path / "0", request)
        result = await engine.separate("1", song, tmp_path / "1", request, shares.append)
    finally:
        await engine.close()
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert not (tmp_path / "0").exists()

    store = ModelStore(tmp_path / "models", Manifest.load().with_own("lite", mixer, quality))
    here = SongSeparator(store, "cpu", Limits()).separate(song, tmp_path / "here", request)
    assert here.note.stems["drums"].estimated_sdr_db is not None
    assert result.note == here.note
    for stem in STEMS:
        theirs, ours = (soundfile.read(found.files[stem])[0] for found in (result, here))
        assert np.abs(theirs - ours).max() < 1e-4, stem


def test_a_gpu_is_counted_among_those_that_may_be_seen() -> None:
    assert [nth_gpu(number, None) for number in (0, 1)] == ["0", "1"]
    assert [nth_gpu(number, "5,GPU-abc") for number in (0, 1)] == ["5", "GPU-abc"]


def test_a_cancel_of_another_song_ends_nothing(tmp_path: Path) -> None:
    made = SeparationResult("b.wav", 1.0, 44_100, "lite", "time", "cpu", 1.0, 0, {}, QualityNote({}, None))

    def separate(
        song: Path, out: Path, request: SeparationRequest, on_progress: Callable[[float], None]
    ) -> SeparationResult:
        on_progress(0.5)
        return made

    parent, child = multiprocessing.Pipe()
    with parent, child:
        parent.send(Cancel("a"))
        assert worker._work(child, separate, Separate("b", tmp_path / "b.wav", tmp_path / "b", SeparationRequest()))
        answers = []
        while parent.poll():
            answers.append(parent.recv())
    assert answers == [Progress(0.0), Progress(0.5), Done(made)]

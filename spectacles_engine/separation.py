"""One song from file to files: decode, separate, judge, encode; everything is streamed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from spectacles_engine.audio import Song, StemWriter, open_song, written_rate
from spectacles_engine.chunking import Array
from spectacles_engine.conditioning import LOOK_AHEAD_S
from spectacles_engine.devices import pick_device
from spectacles_engine.ensemble import Ensemble
from spectacles_engine.errors import OutputError
from spectacles_engine.heap import give_holes_back, give_large_blocks_back
from spectacles_engine.input_check import InputCheck
from spectacles_engine.messages import (
    MIXES,
    SAMPLE_RATE_HZ,
    STEMS,
    Limits,
    QualityNote,
    SeparationRequest,
    SeparationResult,
    Tags,
)
from spectacles_engine.models import ModelStore
from spectacles_engine.presets import Loaded, load_calibration, load_ensemble
from spectacles_engine.quality import Calibration, Meter, note
from spectacles_engine.soft_clip import soft_clip

TIDY_EVERY_S = 30.0
"""Of audio, between two returns of unused memory to the system."""


class SongSeparator:
    """Loads each ensemble once and separates song after song with it. Not for two threads at once."""

    def __init__(self, store: ModelStore, device: str, limits: Limits) -> None:
        give_large_blocks_back()
        self._store, self._limits = store, limits
        self._device = pick_device(device)
        self._separators: Loaded = {}
        self._ensembles: dict[tuple[str, str], tuple[Ensemble, Calibration | None]] = {}

    def load(self, preset: str, blend: str) -> tuple[Ensemble, Calibration | None]:
        """The ensemble of a preset with one of ``messages.BLENDS``; raises ModelError if it can't be had here."""
        if (preset, blend) not in self._ensembles:
            spec = self._store.preset(preset)
            ensemble = load_ensemble(spec, self._store, blend=blend, device=self._device, loaded=self._separators)
            calibration = load_calibration(spec, self._store) if blend == "stemmixer" else None
            self._ensembles[preset, blend] = ensemble, calibration
        return self._ensembles[preset, blend]

    def warm_up(self, preset: str, blend: str) -> None:
        """Separates a second of noise: every model is loaded, and has taken what memory and time its first run takes.

        No file is written: there may be no folder for it, as in a container whose file system is read-only.
        """
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, SAMPLE_RATE_HZ)).astype(np.float32)
        for _ in self.load(preset, blend)[0].separate([noise]):
            pass

    def separate(
        self,
        song: Path,
        out: Path,
        request: SeparationRequest,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> SeparationResult:
        """Writes ``out/<stem>.<format>`` for every stem asked for, and ``out/<mix>.<format>``.

        ``on_progress`` gets the share that is done, 0–1, between chunks; what it raises ends the separation, and no
        file is left. Raises SpecTaclesError, see ``errors``.
        """
        started = time.monotonic()
        with open_song(
            song,
            longest_s=self._limits.longest_s,
            deadline_s=self._limits.decode_deadline_s,
            between_blocks=lambda: on_progress(0.0),
        ) as opened:
            ensemble, calibration = self.load(request.preset, request.blend)
            placements = ensemble.placements
            for placement in placements:
                placement.renew()
            separates_all = calibration is not None or self._store.preset(request.preset).answers_together
            separation = _Separation(opened, ensemble, calibration, request, on_progress, separates_all=separates_all)
            paths = _paths(song, out, request)
            separation.run(out, paths)
            return SeparationResult(
                song=str(song),
                seconds=opened.samples / opened.sample_rate,
                sample_rate=opened.sample_rate,
                preset=request.preset,
                blend=request.blend,
                device=" and ".join(sorted({placement.device for placement in placements})),
                elapsed_s=time.monotonic() - started,
                peak_rss_mb=_peak_rss_mb(),
                files={name: str(path) for name, path in paths.items()},
                note=separation.note(),
                warnings=tuple(separation.warnings()),
                shortages=tuple(dict.fromkeys(warning for placement in placements for warning in placement.warnings)),
            )


class _Separation:
    """What belongs to the separation of one song."""

    def __init__(
        self,
        song: Song,
        ensemble: Ensemble,
        calibration: Calibration | None,
        request: SeparationRequest,
        on_progress: Callable[[float], None],
        *,
        separates_all: bool,
    ) -> None:
        self._song, self._ensemble, self._calibration, self._request = song, ensemble, calibration, request
        self._on_progress = on_progress
        self._left_out = MIXES.get(request.mix or "")
        # A note with figures needs all four. So they are where they come together anyway, with every blend: a stem that
        # is asked for alone gets its part of what none took, as one of four does.
        asked = STEMS if separates_all else (*request.stems, self._left_out)
        self._separated = [stem for stem in STEMS if stem in asked]
        self._meter = Meter(ensemble.names(self._separated), self._separated)
        self._input = InputCheck()
        self._read_s = self._done_s = 0.0

    def run(self, out: Path, paths: dict[str, Path]) -> None:
        """Separates and writes ``paths``: name of a stem or mix → its file in the folder ``out``."""
        with ExitStack() as stack:
            stack.enter_context(_folder(out))
            writers = [
                stack.enter_context(
                    StemWriter(
                        path,
                        self._request.format,
                        sample_rate=self._song.sample_rate,
                        channels=self._song.channels,
                        tags=Tags(title=name),
                    )
                )
                for name, path in paths.items()
            ]
            for block in soft_clip(self._outputs()):
                for writer, samples in zip(writers, block, strict=True):
                    writer.write(samples)
            # either all files or none: what is published goes again if a later one cannot be
            for writer, path in zip(writers, paths.values(), strict=True):
                writer.finish(self._song.samples)
                stack.push(lambda kind, *_, path=path: path.unlink() if kind else None)

    def note(self) -> QualityNote:
        """The quality note, once all is separated."""
        return note(self._meter, self._calibration)

    def warnings(self) -> list[str]:
        """All that a person should know about this song's separation."""
        return [*self._input.warnings(), *self._song.warnings, *self._stored_rate()]

    def _stored_rate(self) -> list[str]:
        stored_hz = written_rate(self._request.format, self._song.sample_rate)
        if stored_hz == self._song.sample_rate:
            return []
        return [f"{self._request.format} cannot store {self._song.sample_rate} Hz: the files have {stored_hz} Hz"]

    def _outputs(self) -> Iterator[Array]:
        """Blocks (file, 2, n) of what is written."""
        kept = [self._separated.index(stem) for stem in STEMS if stem in self._request.stems]
        for block in self._ensemble.separate(self._checked(), self._separated, self._report):
            self._meter.add(block)
            before_s = self._done_s
            self._done_s += block.mixture.shape[1] / SAMPLE_RATE_HZ
            self._report()
            if self._done_s // TIDY_EVERY_S > before_s // TIDY_EVERY_S:
                give_holes_back()
            written = [*block.stems[kept]]
            if self._left_out:
                written.append(block.mixture - block.stems[self._separated.index(self._left_out)])
            yield np.stack(written)

    def _checked(self) -> Iterator[Array]:
        for block in self._song.blocks():
            self._input.add(block)
            self._read_s += block.shape[1] / SAMPLE_RATE_HZ
            yield block

    def _report(self) -> None:
        # The models have heard what was read, the look-ahead apart; what is done comes some twenty seconds behind that.
        # What lies between the two counts half.
        heard_s = max(self._read_s - LOOK_AHEAD_S, self._done_s)
        duration_s = self._song.duration_s
        self._on_progress(min(1.0, (heard_s + self._done_s) / 2 / duration_s) if duration_s else 0.0)


def _paths(song: Path, out: Path, request: SeparationRequest) -> dict[str, Path]:
    """The files that are asked for, by name; raises OutputError where one of them is the song."""
    names = [*(stem for stem in STEMS if stem in request.stems), *([request.mix] if request.mix else [])]
    paths = {name: out / f"{name}.{request.format}" for name in names}
    with _told(out):
        if any(path.exists() and path.samefile(song) for path in paths.values()):
            raise OutputError("its own stems would overwrite it; choose another folder for them")
    return paths


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Raises OutputError for a folder that cannot be made, or looked into."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"the folder {out} could not be made ({error.strerror})") from error


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Makes a folder, and takes it away again if nothing came of it. Raises OutputError."""
    with _told(out):
        is_new = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                out.rmdir()
        raise


def _peak_rss_mb() -> int:
    """Peak resident memory of this process so far, in MiB; 0 where the system doesn't tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))

"""Made-up songs, rendered stem by stem with General MIDI soundfonts by TinySoundFont: drums, bass and other.

Real songs with stems that may be used are few; the notes come from ``made_up_notes.py``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
from numpy.random import Generator
from scipy import signal
from tqdm import tqdm

from spectacles_engine.chunking import Array
from spectacles_engine.errors import InputError, OutputError
from spectacles_engine.messages import SAMPLE_RATE_HZ
from spectacles_engine.training.effects import decaying_noise, driven, in_a_room
from spectacles_engine.training.made_up_notes import SLIDE_S, Arrangement, Part, arrange
from spectacles_engine.training.recorded_notes import find_instruments

LEVEL_DB = {"drums": -19.0, "bass": -20.0, "other": -19.0}
"""Middle of the drawn loudness (RMS), within ±4 dB of which each stem lies."""
HIGHEST_PEAK = 0.8
"""Of the sum of the stems: Vorbis may go a little beyond what it was given."""
COMPRESSION = 1.0
"""The most that Ogg Vorbis does: 0.2–0.5 MB a minute and stem; many songs are worth more than their treble."""
TILT_DB = {"drums": 0.0, "bass": -1.3, "other": 0.0}
"""Middle of the drawn tilt, per octave: the basses of soundfonts have weak fundamentals."""
BEND_SEMITONES, BEND_CENTRE = 12.0, 8192
SYNTH_BASSES = (38, 39)
DRIVEN_GUITARS = (29, 30)
RECORDED_SHARE = 0.7
"""How often a part is played by recorded notes, where the band has them."""


class Band:
    """A soundfont that plays parts, one at a time, and recorded instruments in place of some of its own.

    Raises InputError for what cannot be read, and if there is no player.
    """

    def __init__(self, soundfont: Path, instruments: Path | None = None) -> None:
        try:
            # it asks for PyAudio, which not every machine can build: the rest of training works without
            import tinysoundfont
        except ModuleNotFoundError:
            raise InputError("this needs: pip install --no-deps tinysoundfont==0.3.7") from None
        self._synth: Any = tinysoundfont.Synth(samplerate=SAMPLE_RATE_HZ)
        try:
            self._font = self._synth.sfload(str(soundfont))
        except RuntimeError as error:
            raise InputError(f"{soundfont} cannot be read as a soundfont") from error
        self.recorded = find_instruments(instruments) if instruments else {}

    def play(self, part: Part, seconds: float, tuning: float, *, drums: bool = False) -> Array:
        """A part as (2, samples), ``tuning`` semitones too high; a drum kit that isn't there is played on the first."""
        synth, samples = self._synth, round(seconds * SAMPLE_RATE_HZ)
        synth.program_select(0, self._font, 0, part.program, drums)
        synth.pitchbend_range(0, BEND_SEMITONES)
        synth.set_tuning(0, tuning)
        sound, done = [], 0
        for at_s, order, pitch, value in sorted(_events(part)):
            until = min(round(at_s * SAMPLE_RATE_HZ), samples)
            if until > done:
                sound.append(self._generate(until - done))
                done = until
            if order == _OFF:
                synth.noteoff(0, pitch)
            elif order == _BEND:
                synth.pitchbend(0, value)
            else:
                synth.noteon(0, pitch, value)
        sound.append(self._generate(samples - done))
        synth.pitchbend(0, BEND_CENTRE)
        synth.sounds_off(0)
        self._generate(SAMPLE_RATE_HZ // 10)  # what was cut off fades out
        return np.concatenate(sound, axis=1)

    def _generate(self, samples: int) -> Array:
        return np.frombuffer(self._synth.generate_simple(samples), np.float32).reshape(-1, 2).T


_OFF, _BEND, _ON = range(3)
"""Which of several events at once comes first: a note that is struck anew has ended before."""


def _events(part: Part) -> list[tuple[float, int, int, int]]:
    """(second, kind, pitch, velocity or bend) of a part."""
    events = []
    for note in part.notes:
        events.append((note.start_s, _ON, note.pitch, note.velocity))
        events.append((note.start_s + note.length_s, _OFF, note.pitch, 0))
        if note.slide:
            for share in np.linspace(0, 1, 10):
                bend = round(BEND_CENTRE * (1 + note.slide * (1 - share) / BEND_SEMITONES))
                events.append((note.start_s + SLIDE_S * share, _BEND, note.pitch, min(bend, 2 * BEND_CENTRE - 1)))
    return events


def render(band: Band, arrangement: Arrangement, random: Generator) -> dict[str, Array]:
    """Stem → (channels, samples) at mix level, as a mixing engineer may have them; bass is mono."""
    # kits are tuned apart from the instruments, and differ the more for it
    drums = band.play(arrangement.drums, arrangement.seconds, random.normal(0, 0.8), drums=True)
    bass = _played(band, arrangement.bass, arrangement, random).mean(axis=0, keepdims=True)
    other = np.sum([_layer(band, part, arrangement, random) for part in arrangement.others], axis=0)
    stems = {"drums": _drum_bus(drums, random), "bass": _bass_bus(bass, arrangement, random), "other": other}
    edge = np.minimum(1, np.arange(drums.shape[1])[::-1] / (0.03 * SAMPLE_RATE_HZ))
    stems = {
        stem: _at_level(
            _tilted(sound, random.normal(TILT_DB[stem], 0.9)) * edge, LEVEL_DB[stem] + random.uniform(-4, 4)
        )
        for stem, sound in stems.items()
    }
    peak = np.abs(np.sum([np.broadcast_to(sound, drums.shape) for sound in stems.values()], axis=0)).max()
    return {stem: (sound * min(1, HIGHEST_PEAK / peak)).astype(np.float32) for stem, sound in stems.items()}


def _played(band: Band, part: Part, arrangement: Arrangement, random: Generator) -> Array:
    if part.program in band.recorded and random.random() < RECORDED_SHARE:
        sound = band.recorded[part.program].play(part, arrangement.seconds, arrangement.detune)
        return _amplified(sound, random) if part.program in DRIVEN_GUITARS else sound
    return band.play(part, arrangement.seconds, arrangement.detune)


def _layer(band: Band, part: Part, arrangement: Arrangement, random: Generator) -> Array:
    sound = _played(band, part, arrangement, random)
    if part.amp:
        sound = _amplified(sound, random)
    if random.random() < 0.5:
        sound = _in_a_dark_room(sound, random)
    angle = (part.pan + 1) * np.pi / 4
    sound = sound * np.sqrt(2) * np.array([[np.cos(angle)], [np.sin(angle)]])
    return _at_level(sound, part.level_db)


def _amplified(sound: Array, random: Generator) -> Array:
    """Driven, and through a loudspeaker that gives nothing below 80 Hz or above 4–6 kHz; both channels the same."""
    mono = driven(sound.mean(axis=0, keepdims=True), random.uniform(5, 40))
    cabinet = signal.butter(3, (80, random.uniform(4_000, 6_000)), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.repeat(signal.sosfilt(cabinet, mono), 2, axis=0)


def _drum_bus(sound: Array, random: Generator) -> Array:
    if random.random() < 0.4:
        sound = _in_a_dark_room(sound, random)
    if random.random() < 0.75:
        sound = driven(sound, random.uniform(1, 5))
    return sound


def _bass_bus(sound: Array, arrangement: Arrangement, random: Generator) -> Array:
    synthetic = arrangement.bass.program in SYNTH_BASSES
    if random.random() < 0.35:
        sound = driven(sound, random.uniform(1.5, 6))
    if random.random() < (0.6 if synthetic else 0.35):
        edge_hz = random.uniform(120, 500) if synthetic else random.uniform(400, 2_000)
        sound = signal.sosfilt(signal.butter(2, edge_hz, fs=SAMPLE_RATE_HZ, output="sos"), sound)
    if random.random() < (0.4 if synthetic else 0.1):
        sound = sound * _ducking(arrangement.kicks_s, sound.shape[1], random)
    return sound


def _ducking(kicks_s: Sequence[float], samples: int, random: Generator) -> Array:
    """The gain, per sample, of a compressor that the kick drum works: down at each stroke, and up again."""
    deep, back_s = random.uniform(0.4, 0.95), random.uniform(0.1, 0.3)
    since_s = np.full(samples, np.inf)
    for kick_s in kicks_s:
        start = round(kick_s * SAMPLE_RATE_HZ)
        since_s[start:] = np.arange(samples - start) / SAMPLE_RATE_HZ
    return (1 - deep * np.exp(-since_s / back_s) * np.minimum(1, since_s / 0.005)).astype(np.float32)


def _in_a_dark_room(sound: Array, random: Generator) -> Array:
    """3–20 % of the energy come back, darker than the sound."""
    room = decaying_noise(random.uniform(0.15, 1.5), random)
    dark = signal.butter(1, (200, random.uniform(3_000, 9_000)), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return in_a_room(sound, signal.sosfilt(dark, room), random.uniform(0.03, 0.2))


def _tilted(sound: Array, db_per_octave: float) -> Array:
    spectrum = np.fft.rfft(sound)
    octaves = np.log2(np.fft.rfftfreq(sound.shape[1], 1 / SAMPLE_RATE_HZ).clip(50, 12_000) / 800)
    return np.asarray(np.fft.irfft(spectrum * 10 ** (db_per_octave * octaves / 20), sound.shape[1]), np.float32)


def _at_level(sound: Array, level_db: float) -> Array:
    return np.asarray(sound * 10 ** (level_db / 20) / (np.sqrt(np.mean(sound**2)) + 1e-9))


@dataclass(frozen=True)
class _Task:
    seed: int
    number: int
    seconds: float
    soundfont: Path
    instruments: Path | None
    out: Path

    @property
    def folder(self) -> Path:
        font = "".join(filter(str.isalnum, self.soundfont.stem.split("_")[0])).lower()
        return self.out / "songs" / f"made_up_{self.seed}_{self.number:03d}_{font}"


def write_songs(
    soundfonts: Sequence[Path], songs: int, seconds: float, seed: int, out: Path, instruments: Path | None = None
) -> list[Path]:
    """Writes ``songs/<name>/{drums,bass,other}.ogg`` below ``out``, each font in turn; what is there is left as it is.

    ``instruments``: a folder of recorded notes (see ``recorded_notes.py``). A song depends on its seed, number and
    sounds alone. Raises InputError for what cannot be read, OutputError where a process was killed or the disk is full.
    """
    tasks = [_Task(seed, i, seconds, soundfonts[i % len(soundfonts)], instruments, out) for i in range(songs)]
    missing = [task for task in tasks if not task.folder.exists()]
    if missing:
        # a fork would take over the locks of torch's threads, without the threads
        spawn, most = multiprocessing.get_context("spawn"), min(os.cpu_count() or 1, len(missing))
        pool = ProcessPoolExecutor(most, spawn)
        try:
            written = [pool.submit(_write_song, task) for task in missing]
            for one in tqdm(as_completed(written), total=len(missing), unit="song"):
                one.result()
        except BrokenProcessPool as error:
            raise OutputError("a process that plays songs was killed; for want of memory?") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return [task.folder for task in tasks]


def _write_song(task: _Task) -> None:
    arrangement = arrange(task.seed, task.number, task.seconds)
    stems = render(
        _band(task.soundfont, task.instruments), arrangement, np.random.default_rng([task.seed, task.number, 1])
    )
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    # only whole songs are seen, however a run ends, and whoever else writes there: what is hidden is no data
    with TemporaryDirectory(prefix=".made-up-", dir=task.out) as folder:
        partial = Path(folder) / "song"
        partial.mkdir()
        for stem, sound in stems.items():
            _write_ogg(partial / f"{stem}.ogg", sound)
        try:
            partial.replace(task.folder)
        except OSError:
            if not task.folder.exists():
                raise


_band = cache(Band)
"""A soundfont takes a second to load, and one process renders many songs."""


def _write_ogg(path: Path, sound: Array) -> None:
    try:
        with soundfile.SoundFile(
            path, "w", SAMPLE_RATE_HZ, len(sound), "VORBIS", format="OGG", compression_level=COMPRESSION
        ) as file:
            # libsndfile runs out of stack when it encodes a long sound at once
            for start in range(0, sound.shape[1], SAMPLE_RATE_HZ):
                file.write(sound[:, start : start + SAMPLE_RATE_HZ].T)
    except soundfile.LibsndfileError as error:
        raise OutputError(f"{path} could not be written; is the disk full?") from error

"""Random mixtures: stems drawn from songs and loose recordings, and changed within musical bounds.

Random mixing across songs is Uhlich et al., "Improving music source separation based on deep neural networks through
data augmentation and network blending", ICASSP 2017; some mixtures stay coherent (one song, one instant).
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from spectacles_engine.chunking import Array
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.training import effects, synthesised
from spectacles_engine.training.data import Recording

TENTH_SAMPLES = SAMPLE_RATE_HZ // 10
Song = Mapping[str, Recording]
Sources = Mapping[str, Sequence[str]]
"""Stem → the songs and loose recordings that can be heard in it."""

COHERENT_SHARE = 0.4
"""Share of mixtures whose stems play together in one song."""
ABSENT_SHARE = {"vocals": 0.3, "drums": 0.12, "bass": 0.15, "other": 0.08}
"""How often a stem is silent in a random mixture: a model must also learn to answer nothing."""
SYNTHESISED_SHARE = {"bass": 0.2, "drums": 0.12}
"""How often the bass, or a kick among loose drums, is a machine's, made up on the spot: recorded ones are few."""
ELECTRONIC_SHARE = 0.1
"""How often both are in a random mixture: a kick that rings is easily taken for a bass, and a held note for a kick."""
DUCKING_SHARE = 0.15
"""How often bass and other make room for the drums: a compressor that listens to these alone (side-chain)."""
DUCKED = [STEMS.index("bass"), STEMS.index("other")]
PUMPING_SHARE = 0.2
"""How often a mixture is compressed as on a master bus: one gain for all stems, so that they still sum to it."""
MONO_SHARE = 0.05
"""How often a whole mixture is mono."""
CODEC_SHARE = 0.12
"""How often a mixture sounds as behind a lossy codec of a low rate."""
STRETCH_SHARE = {"vocals": 0.25, "drums": 0.0, "bass": 0.15, "other": 0.2}
"""How often the pitch of a loose stem is moved apart from its tempo; it would smear the strokes of drums."""
DRIVE_SHARE = {"vocals": 0.0, "drums": 0.0, "bass": 0.35, "other": 0.2}
"""How often an amplifier is turned up: a driven bass has as much above 200 Hz as below, where guitars play too."""
EQUALISED_DB = {"vocals": 6.0, "drums": 6.0, "bass": 10.0, "other": 6.0}
"""How far the tone of a stem is bent up or down."""
LEVEL_DB = {"vocals": -19.0, "drums": -19.0, "bass": -20.0, "other": -20.0}
"""Middle of the drawn loudness (RMS of what sounds), where stems of real songs lie."""


@dataclass(frozen=True)
class Material:
    """Songs and loose recordings of one kind: what lies in one folder of data."""

    songs: Sequence[Song]
    loose: Mapping[str, Sequence[Recording]] = field(default_factory=dict)

    def recordings(self, stem: str) -> list[Recording]:
        """All in which the stem can be heard."""
        return [song[stem] for song in self.songs if stem in song] + list(self.loose.get(stem, ()))


@dataclass(frozen=True)
class RandomMixture:
    """References (stem, 2, samples), the peak of their sum at most 1, and what they were made of."""

    references: Array
    sources: Sources


class MixtureSource:
    """An endless, seeded supply of training examples."""

    def __init__(self, materials: Sequence[Material], samples: int, seed: int | list[int]) -> None:
        songs = [[song for song in material.songs if song] for material in materials]
        self._songs = [song for found in songs for song in found]
        self._song_odds = _odds([[_seconds(song.values()) for song in found] for found in songs], power=0)
        pools = {stem: [material.recordings(stem) for material in materials] for stem in STEMS}
        self._pools = {stem: [recording for found in pools[stem] for recording in found] for stem in STEMS}
        # long recordings hold more than short ones, but not in proportion: variety counts too
        self._odds = {stem: _odds([[_seconds([r]) for r in found] for found in pools[stem]], 0.5) for stem in STEMS}
        self._samples = samples
        self._seed = seed
        self._random = np.random.default_rng(seed)

    def reseed(self, number: int) -> None:
        """Makes this one of several supplies of the same material that draw apart."""
        self._random = np.random.default_rng(np.append(self._seed, number))

    def draw(self) -> RandomMixture:
        """One mixture."""
        random, used = self._random, {stem: set[str]() for stem in STEMS}
        coherent = bool(self._songs) and random.random() < COHERENT_SHARE
        stems = self._from_one_song(used) if coherent else self._across_songs(used)
        stems *= random.choice(np.array([-1, 1], np.float32), (len(STEMS), 1, 1))  # upside down it sounds the same
        if random.random() < DUCKING_SHARE:
            stems[DUCKED] *= effects.pumping(stems[STEMS.index("drums")], random)
        if random.random() < PUMPING_SHARE:
            stems = stems * effects.pumping(stems.sum(axis=0), random)
        if random.random() < MONO_SHARE:
            stems = np.repeat(stems.mean(axis=1, keepdims=True), 2, axis=1)
        if random.random() < CODEC_SHARE:
            stems = effects.coded(stems, random.uniform(8_000, 16_000), random.uniform(25, 45))
        references = (stems / max(1.0, np.abs(stems.sum(axis=0)).max())).astype(np.float32)
        return RandomMixture(references, {stem: sorted(names) for stem, names in used.items()})

    def _from_one_song(self, used: dict[str, set[str]]) -> Array:
        song = self._songs[self._random.choice(len(self._songs), p=self._song_odds)]
        lead = song[list(song)[self._random.integers(len(song))]]
        start, speed = self._instant(lead), self._speed()
        stems = np.zeros((len(STEMS), 2, self._samples), np.float32)
        swap = self._random.random() < 0.5
        for i, stem in enumerate(STEMS):
            if stem in song:
                part = self._toned(_at_speed(song[stem], start, self._samples, speed), stem)
                part = part * _gain(self._random.normal(0, 2))
                used[stem].add(song[stem].source)
                stems[i] = part[::-1] if swap else part
            elif self._random.random() > ABSENT_SHARE[stem] + 0.2:
                stems[i] = self._loose_stem(stem, used[stem])
        return stems

    def _across_songs(self, used: dict[str, set[str]]) -> Array:
        stems = np.zeros((len(STEMS), 2, self._samples), np.float32)
        electronic = self._random.random() < ELECTRONIC_SHARE
        for i, stem in enumerate(STEMS):
            if electronic and stem in SYNTHESISED_SHARE:
                stems[i] = self._loose_stem(stem, used[stem], made_up=True)
            elif self._random.random() > ABSENT_SHARE[stem]:
                stems[i] = self._loose_stem(stem, used[stem])
                if stem in ("vocals", "other") and self._random.random() < 0.25:
                    stems[i] += self._loose_stem(stem, used[stem])
        return stems

    def _loose_stem(self, stem: str, used: set[str], *, made_up: bool = False) -> Array:
        """A part of a recording, whose source is noted in ``used``; or something made up, which has none."""
        if not self._pools[stem]:
            return np.zeros((2, self._samples), np.float32)
        made_up = made_up or self._random.random() < SYNTHESISED_SHARE.get(stem, 0)
        if stem == "bass" and made_up:
            return self._levelled(self._colour(synthesised.bass(self._samples, self._random), stem), stem)
        recording = self._pools[stem][self._random.choice(len(self._pools[stem]), p=self._odds[stem])]
        used.add(recording.source)
        start, speed = self._instant(recording), self._speed()
        if self._random.random() < STRETCH_SHARE[stem]:
            longer = self._random.uniform(0.85, 1.15)
            part = effects.stretched(_at_speed(recording, start, int(self._samples / longer) + 1, speed), self._samples)
        else:
            part = _at_speed(recording, start, self._samples, speed)
        if stem == "drums" and made_up:
            part = self._levelled(part, stem) + self._levelled(synthesised.kicks(self._samples, self._random), stem)
        return self._levelled(self._colour(part, stem), stem)

    def _instant(self, recording: Recording) -> int:
        """Start of an excerpt in which something sounds, not on a grid."""
        if not len(recording.active_s):
            return 0
        second = recording.active_s[self._random.integers(len(recording.active_s))]
        start = second * SAMPLE_RATE_HZ - self._random.integers(self._samples)
        return int(np.clip(start, 0, max(0, recording.samples.shape[1] - int(self._samples * 1.15))))

    def _speed(self) -> float:
        """Pitch and tempo together, within two semitones."""
        return 1.0 if self._random.random() < 0.4 else float(2 ** self._random.uniform(-2 / 12, 2 / 12))

    def _colour(self, part: Array, stem: str) -> Array:
        draw = self._random.random
        part = self._toned(part, stem)
        if stem != "bass" and draw() < 0.15:
            room = effects.decaying_noise(self._random.uniform(0.15, 1.2), self._random)
            part = effects.in_a_room(part, room, self._random.uniform(0.05, 0.25))
        if draw() < 0.5:
            part = part[::-1]
        if draw() < 0.1:
            part = np.repeat(part.mean(axis=0, keepdims=True), 2, axis=0)
        if draw() < (0.15 if stem == "bass" else 0.4):
            angle = self._random.uniform(0.15, 0.85) * np.pi / 2
            part = part * np.array([[np.cos(angle)], [np.sin(angle)]], np.float32) * np.float32(np.sqrt(2))
        return part

    def _toned(self, part: Array, stem: str) -> Array:
        """By an amplifier and an equaliser, as loud as before."""
        energy = np.square(part).sum()
        if self._random.random() < DRIVE_SHARE[stem]:
            part = effects.driven(part, self._random.uniform(3, 20))
        if self._random.random() < 0.5:
            part = effects.equalised(part, EQUALISED_DB[stem], self._random)
        return part * np.float32(np.sqrt(energy / (np.square(part).sum() + 1e-9)))

    def _levelled(self, part: Array, stem: str) -> Array:
        """As loud as such a stem may be in a mixture, see ``LEVEL_DB``."""
        tenths = part[:, : part.shape[1] // TENTH_SAMPLES * TENTH_SAMPLES].reshape(2, -1, TENTH_SAMPLES)
        energies = (tenths**2).mean(axis=(0, 2))
        sounding = energies[energies > max(energies.max() * 1e-3, 1e-10)]
        if not len(sounding):
            return part
        wanted_db = LEVEL_DB[stem] + self._random.normal(0, 4.5)
        return part * _gain(wanted_db - 10 * np.log10(sounding.mean()))


def batches(source: MixtureSource, size: int, workers: int = 0) -> Iterator[Tensor]:
    """References (size, stem, 2, samples) without end, drawn by so many processes; the same for the same ``workers``.

    Where processes cannot be forked, which alone shares what is decoded, they are drawn in this one.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        workers = 0
    loader = DataLoader(
        _Draws(source),
        size,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def end(drawn: Iterator[Tensor]) -> None:
    """Ends the processes that draw ``batches``.

    Else they end with the last reference to them, and an exception that is handled may hold one until the program
    exits: it would then wait for them forever, as they ignore SIGTERM.
    """
    if isinstance(drawn, _MultiProcessingDataLoaderIter):
        drawn._shutdown_workers()


class _Draws(IterableDataset[Tensor]):
    def __init__(self, source: MixtureSource) -> None:
        self._source = source

    def __iter__(self) -> Iterator[Tensor]:
        if (worker := get_worker_info()) is not None:
            self._source.reseed(worker.id)
            # who ends a whole group of processes ends the training, which ends them once it has saved what it has
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            yield torch.from_numpy(self._source.draw().references)


def _at_speed(recording: Recording, start: int, length: int, speed: float) -> Array:
    if speed == 1.0:
        return recording.excerpt(start, length)
    source = recording.excerpt(start, int(length * speed) + 2)
    at = np.arange(length) * speed
    index = at.astype(np.int64)
    share = (at - index).astype(np.float32)
    between: Array = source[:, index] * (1 - share) + source[:, index + 1] * share
    return between


def _gain(level_db: float) -> np.float32:
    return np.float32(10 ** (level_db / 20))


def _seconds(recordings: Iterable[Recording]) -> int:
    return max(1, *(len(recording.active_s) for recording in recordings))


def _odds(materials: Sequence[Sequence[int]], power: float) -> NDArray[np.float64]:
    """Odds of all items, one after the other. ``materials``: for each, the seconds of its items.

    Within a material an item counts by its seconds to the ``power``: 0, all alike; 0.5, by the root.
    A material counts by the root of its seconds: hours of made-up songs must not drown a few real ones.
    """
    odds: NDArray[np.float64] = np.empty(0)
    for seconds in materials:
        weights = np.array(seconds, float) ** power
        odds = np.append(odds, weights / weights.sum() * sum(seconds) ** 0.5)
    odds /= odds.sum()
    return odds

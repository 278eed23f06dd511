"""The ladder: what is sent fits, and is what it says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from bot import delivery
from bot.delivery import LADDER, Rung, could_fit, rungs
from bot.jobs import Job, Order, Place, State, StoredResult, Unavailable, Wish
from spectacles_engine.messages import STEMS, QualityNote

DISCORD_BYTES = 10 << 20
TELEGRAM_BYTES = 50_000_000
RATE_HZ = 44_100
made = partial(delivery.made, make_room=lambda needed_bytes: None)


def _job(wish: Wish, title: str = "AC/DC") -> Job:
    order = Order(Place("web", "1", "1"), wish, {}, title, performer="Somebody")
    return Job("id", order, State.DELIVERING, 0.0)


def _result(folder: Path, seconds: float) -> StoredResult:
    return StoredResult("a" * 64, folder, seconds, RATE_HZ, 2, QualityNote({}, None), (), 0.0)


@pytest.fixture
def result(tmp_path: Path) -> StoredResult:
    random = np.random.default_rng(0)
    for stem in STEMS:
        soundfile.write(tmp_path / f"{stem}.flac", random.uniform(-0.1, 0.1, (2 * RATE_HZ, 2)), RATE_HZ, "PCM_24")
    return _result(tmp_path, 2.0)


def _fitting(seconds: float, format: str, most_bytes: int) -> list[Rung]:
    result = _result(Path(), seconds)
    return [rung for rung in rungs(format) if rung.format != "flac" and could_fit(result, rung, "bass", most_bytes)]


@pytest.mark.parametrize(
    ("format", "ladder"),
    [
        ("wav", "wav, flac, mp3 320, mp3 192, mp3 128, opus 96"),
        ("flac", "flac, mp3 320, mp3 192, mp3 128, opus 96"),
        ("mp3", "mp3 320, mp3 192, mp3 128, opus 96"),
        ("m4a", "m4a, mp3 192, mp3 128, opus 96"),
        ("ogg", "ogg, mp3 192, mp3 128, opus 96"),
        ("opus", "opus, opus 96"),
    ],
)
def test_what_is_tried_after_a_format(format: str, ladder: str) -> None:
    assert ", ".join(f"{rung.format} {rung.bitrate_kbps or ''}".strip() for rung in rungs(format)) == ladder


def test_a_nine_minute_song_goes_down_the_ladder_on_discord() -> None:
    assert _fitting(200, "mp3", DISCORD_BYTES)[0] == Rung("mp3", 320)
    assert _fitting(540, "mp3", DISCORD_BYTES)[0] == Rung("mp3", 128)
    assert _fitting(700, "mp3", DISCORD_BYTES)[0] == Rung("opus", 96)


def test_an_hour_fits_into_telegram() -> None:
    assert _fitting(3600, "mp3", TELEGRAM_BYTES)[0] == Rung("opus", 96)
    assert _fitting(1240, "mp3", TELEGRAM_BYTES)[0] == Rung("mp3", 320)


@pytest.mark.parametrize(
    ("format", "most_bytes", "most_seconds"),
    [
        ("mp3", DISCORD_BYTES, 4 * 60 + 22),
        ("mp3", TELEGRAM_BYTES, 20 * 60 + 50),
        ("wav", DISCORD_BYTES, 39),  # of 24 bit
        ("wav", TELEGRAM_BYTES, 3 * 60 + 8),
    ],
)
def test_how_long_a_song_may_be_for_the_best_of_a_format(format: str, most_bytes: int, most_seconds: float) -> None:
    assert could_fit(_result(Path(), most_seconds), rungs(format)[0], "vocals", most_bytes)
    assert not could_fit(_result(Path(), most_seconds + 1), rungs(format)[0], "vocals", most_bytes)


def test_wav_is_not_made_where_it_cannot_fit() -> None:
    assert Rung("wav") not in _fitting(60, "wav", DISCORD_BYTES)
    assert _fitting(30, "wav", DISCORD_BYTES)[0] == Rung("wav")


def test_a_stem_as_flac_is_not_made_where_the_stored_one_does_not_fit(result: StoredResult) -> None:
    size_bytes = result.stem("vocals").stat().st_size
    assert could_fit(result, Rung("flac"), "vocals", size_bytes)
    assert not could_fit(result, Rung("flac"), "vocals", size_bytes - 1)


@pytest.mark.parametrize(
    ("rung", "rate_hz", "channels"),
    [
        (Rung("wav"), RATE_HZ, 2),
        (Rung("flac"), RATE_HZ, 2),
        (Rung("mp3", 320), RATE_HZ, 2),
        (Rung("mp3", 128), RATE_HZ, 1),
        (Rung("mp3", 320), 24_000, 1),
        (Rung("mp3", 320), 22_050, 1),
        (Rung("mp3", 320), 12_000, 2),
        (Rung("mp3", 192), 8_000, 1),
    ],
    ids=str,
)
async def test_what_is_foretold_is_what_a_file_has(tmp_path: Path, rung: Rung, rate_hz: int, channels: int) -> None:
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, (20 * rate_hz, channels))
    soundfile.write(tmp_path / "bass.flac", sound, rate_hz, "PCM_24")
    result = replace(_result(tmp_path, 20.0), sample_rate=rate_hz, channels=channels)
    async with made(_job(Wish(("bass",))), result, rung, DISCORD_BYTES) as parcels:
        assert parcels is not None
        size_bytes = parcels[0].size_bytes
    assert could_fit(result, rung, "bass", size_bytes)
    assert not could_fit(result, rung, "bass", round(0.98 * size_bytes))


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_every_ladder_begins_with_the_wish_and_ends_with_the_smallest(format: str) -> None:
    ladder = rungs(format)
    assert ladder[0].format == format
    assert ladder[-1] == LADDER[-1]
    assert len(set(ladder)) == len(ladder)


async def test_parcels_hold_what_was_asked_for_and_are_gone_afterwards(result: StoredResult) -> None:
    async with made(_job(Wish(("vocals", "bass"), "no-bass")), result, Rung("mp3", 192), DISCORD_BYTES) as parcels:
        assert parcels is not None
        assert [parcel.path.name for parcel in parcels] == [
            "AC_DC – vocals.mp3",
            "AC_DC – bass.mp3",
            "AC_DC – no-bass.mp3",
        ]
        assert parcels[0].title == "AC/DC – vocals"
        for parcel in parcels:
            info = soundfile.info(parcel.path)
            assert (info.format, info.samplerate, info.channels) == ("MP3", RATE_HZ, 2)
            assert parcel.size_bytes == pytest.approx(2 * 192 * 125, rel=0.1)
    assert not list(result.folder.glob(".send-*"))


async def test_room_is_made_for_what_is_sent_and_for_no_more_than_a_chat_takes(result: StoredResult) -> None:
    asked: list[float] = []

    def make_room(needed_bytes: float) -> None:
        asked.append(needed_bytes)
        raise Unavailable("There is no room, but for what is small.")

    wish = Wish(("vocals", "bass"))
    for format, most_bytes in (("wav", DISCORD_BYTES), ("opus", 100_000)):
        async with delivery.made(_job(wish), result, Rung(format), most_bytes, make_room) as parcels:
            assert parcels
    of_a_wav = 2 * RATE_HZ * 2 * 3
    assert asked == [of_a_wav, of_a_wav, 100_000, 100_000]


async def test_a_mix_is_the_sum_of_its_stems(result: StoredResult) -> None:
    async with made(_job(Wish((), "karaoke")), result, Rung("flac"), DISCORD_BYTES) as parcels:
        assert parcels is not None
        mixed, _ = soundfile.read(parcels[0].path)
    parts = [soundfile.read(result.stem(stem))[0] for stem in ("drums", "bass", "other")]
    np.testing.assert_allclose(mixed, sum(parts), atol=1e-5)


@pytest.mark.parametrize("wish", [Wish(), Wish((), "karaoke")])
async def test_what_turns_out_too_large_is_not_offered(result: StoredResult, wish: Wish) -> None:
    async with made(_job(wish), result, Rung("flac"), 100_000) as parcels:
        assert parcels is None
    assert not list(result.folder.glob(".send-*"))


async def test_one_file_that_is_too_large_keeps_back_all(result: StoredResult) -> None:
    soundfile.write(result.stem("vocals"), np.zeros((2 * RATE_HZ, 2)), RATE_HZ, "PCM_24")
    async with made(_job(Wish(("vocals", "bass"))), result, Rung("opus", 96), 10_000) as parcels:
        assert parcels is None
    async with made(_job(Wish(("vocals",))), result, Rung("opus", 96), 10_000) as parcels:
        assert parcels is not None


async def test_a_player_shows_what_a_file_is(result: StoredResult) -> None:
    async with made(_job(Wish(("vocals", "bass"))), result, Rung("mp3", 192), DISCORD_BYTES) as parcels:
        assert parcels is not None
        with av.open(str(parcels[1].path)) as file:
            shown = {name: file.metadata.get(name) for name in ("title", "artist", "album", "track")}
    assert shown == {"title": "AC/DC – bass", "artist": "Somebody", "album": "AC/DC", "track": "2"}


def test_uploads_of_another_title_are_another_upload() -> None:
    assert Rung("mp3", 320).upload_key(_job(Wish())) != Rung("mp3", 192).upload_key(_job(Wish()))
    assert Rung("mp3", 320).upload_key(_job(Wish())) == Rung("mp3", 320).upload_key(_job(Wish(("bass",))))
    assert Rung("mp3", 320).upload_key(_job(Wish())) != Rung("mp3", 320).upload_key(_job(Wish(), "My secret"))

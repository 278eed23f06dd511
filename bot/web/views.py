"""What the web chat says of a job, as JSON. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bot.jobs import Standing, State, StoredResult
from bot.quality_note import quality_note
from bot.refusals import as_sentence
from bot.translation import translated
from spectacles_engine.messages import SAMPLE_RATE_HZ, STEMS
from spectacles_engine.playback import SEGMENT_SAMPLES

_STATES = {State.PREPARING: "queued", State.DELIVERING: "running"}
"""The page and other programs know five states; these two are shown as their neighbours."""


def job_view(standing: Standing, done: StoredResult | None, language: str) -> dict[str, Any]:
    """A job as the page and other programs get it. ``done``: its stems, if there are any to have."""
    job, wish = standing.job, standing.job.order.wish
    url = f"/api/jobs/{job.id}"
    return {
        "id": job.id,
        "state": _STATES.get(job.state, str(job.state)),
        "position": standing.position,
        "progress": round(standing.share, 3),
        "note": quality_note(done.note.of(wish.names), language) if done else None,
        "stems": {name: f"{url}/stems/{name}" for name in wish.names} if done else {},
        "error": job.error and translated(as_sentence(job.error), language),
        "eta_s": None if standing.eta_s is None else round(standing.eta_s),
        "title": job.order.title,
        "performer": job.order.performer,
        "seconds": done.seconds if done else job.seconds,
        "accepted_at": job.accepted_at,
        "warnings": [as_sentence(translated(warning, language)) for warning in done.warnings] if done else [],
        "quality": _quality(done) if done else None,
        "playback": playback_view(done) if done else None,
    }


def playback_view(result: StoredResult) -> dict[str, int]:
    """Length of a song in the player, and of its segments, at 44.1 kHz."""
    samples = max(1, round(result.seconds * SAMPLE_RATE_HZ))
    return {"samples": samples, "segment_samples": SEGMENT_SAMPLES}


def _quality(result: StoredResult) -> dict[str, Any]:
    about = result.note.of(STEMS)
    return {
        "stems": {name: asdict(quality) for name, quality in about.stems.items()},
        "weak_spots": [asdict(spot) for spot in about.weak_spots],
    }

"""The web chat's jobs: accepted, listed, followed, ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import PurePath
from typing import Any

from aiohttp import web

from bot.jobs import Job, Order, Standing, State, Wish
from bot.names import one_line
from bot.service import SeparationService
from bot.web.access import browser, language, may_see, new_browser, place, remember
from bot.web.errors import WebError
from bot.web.uploads import Uploads
from bot.web.views import job_view
from spectacles_engine.messages import FORMATS, MIXES, STEMS, stems_meant

ID = r"{id:[A-Za-z0-9_-]{8,64}}"
"""How a job shows in a path."""

_ALIVE_S = 15.0


class JobRoutes:
    """Handlers of ``/api/jobs`` and ``/api/events``; every one of them asks whose a job is."""

    def __init__(self, service: SeparationService, uploads: Uploads) -> None:
        self._service = service
        self._uploads = uploads

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/jobs", self.accept),
            web.get("/api/jobs", self.history),
            web.delete("/api/jobs", self.forget),
            web.get("/api/events", self.all_events, allow_head=False),
            web.get(f"/api/jobs/{ID}", self.show),
            web.delete(f"/api/jobs/{ID}", self.end),
            web.get(f"/api/jobs/{ID}/events", self.events, allow_head=False),
        ]

    async def accept(self, request: web.Request) -> web.Response:
        """Takes a song and what is wanted of it."""
        owner = browser(request) or new_browser(request, is_page=False)
        upload = await self._uploads.receive(request, owner)
        try:
            order = Order(
                place=place(owner),
                wish=_wish(upload.fields),
                source={"upload": upload.path.name},
                title=one_line(PurePath(upload.name).stem) or "song",  # no size: it is here, and takes no more room
            )
            job = await self._service.accept(order)
        except BaseException:
            upload.path.unlink(missing_ok=True)
            raise
        view = self._shown(request, job)
        response = web.json_response(view, status=202, headers={"Location": f"/api/jobs/{job.id}"})
        remember(request, response, owner)
        return response

    async def history(self, request: web.Request) -> web.Response:
        """All jobs of this browser, newest first, and whether it is ``known``: one that keeps no cookie never is."""
        jobs = [self._view(request, standing) for standing in self._of(request)]
        return web.json_response({"jobs": jobs, "known": browser(request) is not None})

    async def show(self, request: web.Request) -> web.Response:
        """Where a job stands."""
        job = self.job(request)
        return web.json_response(self._shown(request, job))

    async def end(self, request: web.Request) -> web.Response:
        """Cancels what is unfinished, forgets what is final."""
        job = self.job(request)
        if not job.state.is_final and (cancelled := await self._service.cancel(job.id, job.place)):
            return web.json_response(self._shown(request, cancelled))
        await self._service.forget_job(job.id, job.place)
        self._uploads.drop(job)
        return web.json_response({"forgotten": job.id})

    async def forget(self, request: web.Request) -> web.Response:
        """Deletes all of this browser's songs."""
        owner = browser(request)
        if owner is None:
            raise WebError(404, "web.no_job")
        jobs = [standing.job for standing in self._of(request)]
        forgotten = await self._service.forget(place(owner))
        for job in jobs:
            self._uploads.drop(job)
        return web.json_response({"songs": forgotten.songs, "megabytes": round(forgotten.megabytes, 1)})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events of one job, until it is final."""
        job = self.job(request)
        if job.state.is_final and request.headers.get("Last-Event-ID") == _event_id(self._shown(request, job)):
            # This is how an EventSource that knows all is told to stay away.
            return web.Response(status=204)
        return await self._stream(request, [job])

    async def all_events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events of this browser's jobs, until all are final.

        A final one is told of only if ``?unfinished=`` names it: the page has not heard yet that it ended.
        """
        unheard = request.query.get("unfinished", "").split(",")
        jobs = [standing.job for standing in self._of(request)]
        return await self._stream(request, [job for job in jobs if not job.state.is_final or job.id in unheard])

    def job(self, request: web.Request) -> Job:
        """The job that a path names; 404 also where it is another's."""
        job = self._service.job(request.match_info["id"])
        if job is None or not may_see(request, job):
            raise WebError(404, "web.no_job")
        return job

    def _of(self, request: web.Request) -> list[Standing]:
        owner = browser(request)
        return self._service.history(place(owner)) if owner else []

    def _shown(self, request: web.Request, job: Job) -> dict[str, Any]:
        return self._view(request, self._service.standing(job.id) or Standing(job))

    def _view(self, request: web.Request, standing: Standing) -> dict[str, Any]:
        is_done = standing.job.state is State.DONE
        done = self._service.result(standing.job) if is_done else None
        return job_view(standing, done, language(request.headers))

    async def _stream(self, request: web.Request, jobs: Sequence[Job]) -> web.StreamResponse:
        """A ``job`` event for every change, and ``end``. Each has all there is to say: none needs the one before.

        Whoever comes back with the id of the last event is not told that again.
        """
        known = request.headers.get("Last-Event-ID")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        async with aclosing(_latest([self._service.watch(job.id) for job in jobs])) as standings:
            async for standing in standings:
                event = ": alive\n\n"  # else a proxy ends a stream on which nothing changes
                if standing is not None:
                    view = self._view(request, standing)
                    event_id = _event_id(view)
                    if event_id != known:
                        known = event_id
                        event = f"id: {event_id}\nevent: job\ndata: {json.dumps(view)}\n\n"
                await response.write(event.encode())
        await response.write(b"event: end\ndata: {}\n\n")
        await response.write_eof()
        return response


def _event_id(view: Mapping[str, Any]) -> str:
    """The same for the same standing, also after a restart."""
    return hashlib.sha256(json.dumps(view, sort_keys=True).encode()).hexdigest()[:16]


async def _latest(watched: Sequence[AsyncIterator[Standing]]) -> AsyncGenerator[Standing | None]:
    """Standings of several jobs as they change, None when all is quiet; ends when all are final.

    A reader that is slow misses what was overtaken meanwhile, and nobody waits for it.
    """
    news: dict[str, Standing] = {}
    bell = asyncio.Event()

    async def follow(standings: AsyncIterator[Standing]) -> None:
        async for standing in standings:
            news[standing.job.id] = standing
            bell.set()

    tasks = [asyncio.create_task(follow(standings)) for standings in watched]
    for task in tasks:
        task.add_done_callback(lambda _: bell.set())
    try:
        while not all(task.done() for task in tasks):
            try:
                async with asyncio.timeout(_ALIVE_S):
                    await bell.wait()
            except TimeoutError:
                yield None
            bell.clear()
            while news:
                yield news.pop(next(iter(news)))
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _wish(fields: Mapping[str, str]) -> Wish:
    """What the form's fields ask for: ``stems`` (names with commas), ``mix``, ``format``."""
    for name in fields.keys() - {"stems", "mix", "format"}:
        raise WebError(400, "web.unknown_field", name=one_line(name)[:40])
    wanted = {name for name in fields.get("stems", "").replace(" ", "").split(",") if name}
    mix, format = fields.get("mix") or None, fields.get("format") or None
    if not wanted <= set(STEMS):
        raise WebError(400, "web.stems_are", stems=", ".join(STEMS))
    if mix not in (None, *MIXES):
        raise WebError(400, "web.mixes_are", mixes=", ".join(MIXES))
    if format not in (None, *FORMATS):
        raise WebError(400, "web.formats_are", formats=", ".join(FORMATS))
    return Wish(stems_meant(wanted, mix), mix, format)

"""Files that a player seeks in and a download goes on with: sent whole or in part."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from os import stat_result
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import ETAG_ANY
from multidict import CIMultiDict

from bot.web.errors import WebError

_PART = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


async def sent(request: web.Request, file: Path, headers: Mapping[str, str]) -> web.FileResponse:
    """The file, or the part of it that is asked for; raises WebError.

    aiohttp does the work, but alone it refuses several parts at once or in unknown units, which are to be ignored; it
    looks at no tag in If-Range, and says no sentence where it refuses.
    """
    try:
        found = await asyncio.to_thread(file.stat)
    except FileNotFoundError:
        raise WebError(404, "web.gone") from None
    tag = f"{found.st_mtime_ns:x}-{found.st_size:x}"  # as aiohttp makes it
    if not _is_meant(request, tag, found):
        raise WebError(412, "web.other_file")
    part = _PART.fullmatch(request.headers.get(hdrs.RANGE, ""))
    first, last = (int(figure) if figure else None for figure in part.groups()) if part else (None, None)
    is_backwards = first is not None and last is not None and first > last
    # Only a date in If-Range is something that aiohttp knows.
    is_of_another = request.headers.get(hdrs.IF_RANGE, f'"{tag}"') != f'"{tag}"' and request.if_range is None
    if first is last is None or is_backwards or is_of_another:
        return _Whole(file, headers=headers)
    if first is not None and first >= found.st_size:
        raise WebError(416, "web.no_part", {hdrs.CONTENT_RANGE: f"bytes */{found.st_size}"})
    return web.FileResponse(file, headers=headers)


def _is_meant(request: web.Request, tag: str, found: stat_result) -> bool:
    """Whether the file is the one that the asker knows."""
    if request.if_match is not None:
        return any(known.value in (tag, ETAG_ANY) and not known.is_weak for known in request.if_match)
    return request.if_unmodified_since is None or found.st_mtime <= request.if_unmodified_since.timestamp()


class _Whole(web.FileResponse):
    """All of a file, whatever part is asked for."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        headers = CIMultiDict(request.headers)
        headers.popall(hdrs.RANGE, None)
        return await super().prepare(request.clone(headers=headers))

"""WebCourier: hands over songs that were uploaded. Nothing is sent: the page follows its jobs by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from bot.jobs import Job, Refused, Standing, StoredResult
from bot.refusals import upload_gone
from bot.web.uploads import Uploads


class WebCourier:
    """The service's way to the web chat."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def fetch(self, job: Job, to: Path) -> None:
        """Gives the upload a second name; the first one stays, should this have to be done again after a crash."""
        song = self._uploads.path(job)
        try:
            await asyncio.to_thread(_link, song, to)
        except FileNotFoundError:
            raise Refused(upload_gone()) from None

    async def tell(self, standing: Standing) -> None:
        """Lets go of the upload in the end."""
        if standing.job.state.is_final:
            self._uploads.drop(standing.job)

    async def deliver(self, job: Job, result: StoredResult) -> None:
        """Nothing is sent: whoever looks finds the stems."""


def _link(song: Path, to: Path) -> None:
    try:
        os.link(song, to)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(song, to)

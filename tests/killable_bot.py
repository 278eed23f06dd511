"""A bot for tests that kill it: the real service and a real engine process, and a chat that is a folder.

::

    python -m tests.killable_bot FOLDER

``FOLDER/inbox.json`` holds the orders, which this chat hands over again until they are acknowledged, as Telegram does.
What a person would see is a line in ``FOLDER/seen``. It ends when all is done.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from bot.config import Settings, StorageSettings
from bot.jobs import Job, Order, Place, Standing, StoredResult, Wish
from bot.patience import Patience
from bot.service import SeparationService
from bot.store import JobStore
from spectacles_engine.audio_files import Inspected
from spectacles_engine.process import EngineProcess
from tests import fake_engine
from tests.fake_engine import FakeOptions


class FolderChat:
    """Songs lie in ``songs/``; what is shown is appended to ``seen``, in one write a line."""

    def __init__(self, folder: Path) -> None:
        self._songs = folder / "songs"
        self._seen = os.open(folder / "seen", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def fetch(self, job: Job, to: Path) -> None:
        await asyncio.sleep(0.05)
        shutil.copyfile(self._songs / job.order.source["song"], to)

    async def tell(self, standing: Standing) -> None:
        await asyncio.sleep(0.01)
        self.see(f"told {standing.job.order.title} {standing.job.state}")

    async def deliver(self, job: Job, result: StoredResult) -> None:
        await asyncio.sleep(0.05)
        is_whole = all(result.stem(stem).stat().st_size > 1000 for stem in job.order.wish.stems)
        self.see(f"sent {job.order.title} {job.place.chat} {'whole' if is_whole else 'broken'}")

    def see(self, line: str) -> None:
        os.write(self._seen, f"{line}\n".encode())


async def inspect(path: Path, *, longest_s: float, deadline_s: float) -> Inspected:
    """Looks at the bytes alone."""
    del longest_s, deadline_s
    await asyncio.sleep(0.05)
    return Inspected(hashlib.sha256(path.read_bytes()).hexdigest(), 1.0, 44_100, 2, None, None, ())


async def main(folder: Path) -> None:
    chat = FolderChat(folder)
    store = JobStore(folder / "data")
    engine = EngineProcess(FakeOptions(folder / "models"), target=fake_engine.main)
    settings = Settings(data_dir=folder / "data", storage=StorageSettings(keep_free_mb=0))
    service = SeparationService(settings, store, inspect=inspect, patience=Patience(pace_s=0.02))
    service.attach("folder", chat)
    await service.start()
    service.add_engine(engine)
    chat.see("up")
    acknowledged = folder / "acknowledged"
    inbox = json.loads((folder / "inbox.json").read_text(encoding="utf-8"))
    done = int(acknowledged.read_text(encoding="utf-8")) if acknowledged.exists() else 0
    for number, message in enumerate(inbox[done:], done + 1):
        place = Place("folder", message["chat"], message["chat"])
        await service.accept(Order(place, Wish(), {"song": message["song"]}, message["title"]))
        (folder / ".next").write_text(str(number), encoding="utf-8")
        os.replace(folder / ".next", acknowledged)
        if engine.pid:
            (folder / "child").write_text(str(engine.pid), encoding="utf-8")
        await asyncio.sleep(0.1)
    while store.unfinished() or store.untold():
        await asyncio.sleep(0.02)
    await service.stop()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment wins over what a test sets, and the user's own data folder is none of its business."""
    with pytest.MonkeyPatch.context() as environment:
        for name in os.environ:
            if name.startswith("SPECTACLES_") or name in ("TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN"):
                environment.delenv(name)
        environment.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        yield

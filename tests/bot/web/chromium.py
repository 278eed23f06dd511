"""Debian's Chromium, for Playwright."""

from __future__ import annotations

import shutil

from playwright.async_api import ViewportSize

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
PHONE, DESKTOP = ViewportSize(width=360, height=740), ViewportSize(width=1440, height=900)

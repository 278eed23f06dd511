"""A port for a server that is yet to start."""

from __future__ import annotations

import random
import socket

_PORTS = range(20_000, 30_000)
"""Below those that the system itself gives out: one of these could be gone by the time it is listened on."""


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

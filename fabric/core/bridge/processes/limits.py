"""One server's settings, as its bridge goes by them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fabric.core.bridge.processes.health import Checks

START_TIMEOUT = 120.0
"""Seconds a process has from its start to its first answer, unless told otherwise."""
UNREAD_BYTES = 16 * 1024 * 1024
"""What may wait for one process, unless told otherwise."""


class ServerLimits(msgspec.Struct, frozen=True):
    """The settings of one server."""

    digest: str
    """Of the server's definition: bridges that serve one name have to agree on it."""
    transport: str = "stdio"
    """How it is reached, as in LinkInfo."""
    slots: int = 64
    """How many requests from its queue may be held at once."""
    warm: int = 1
    """How many idle processes are kept for new sessions."""
    most: int = 64
    """How many processes it may have."""
    unread_bytes: int = UNREAD_BYTES
    """What may wait for one process to read it; a single frame may be longer."""
    checks: Checks = Checks()
    era: str = ""
    """The era that it speaks, where that is configured; else empty."""
    start_timeout: float = START_TIMEOUT
    """Seconds that a process has until its first answer."""
    last_words: Callable[[], str] = str
    """What its processes wrote last besides messages, to be added to a reason where one is silent.

    Empty, or it begins with a semicolon.
    """

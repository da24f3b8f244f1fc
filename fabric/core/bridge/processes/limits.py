"""The settings of one server, as its bridge applies them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fabric.core.bridge.processes.health import Checks

START_TIMEOUT = 120.0
"""Seconds that a process has from its start to its first answer, unless the configuration says otherwise."""
UNREAD_BYTES = 16 * 1024 * 1024
"""How many bytes may wait for one process."""


class ServerLimits(msgspec.Struct, frozen=True):
    """The settings of one server."""

    digest: str
    """The digest of the server's definition, on which bridges that serve one name have to agree."""
    transport: str = "stdio"
    """The transport to the server, as in LinkInfo."""
    slots: int = 64
    """How many requests from its queue may be held at once."""
    warm: int = 1
    """How many idle processes are kept for new sessions."""
    max_processes: int = 64
    """How many processes it may have."""
    unread_bytes: int = UNREAD_BYTES
    """How many bytes may wait for one process to read them; a single frame may be longer."""
    checks: Checks = Checks()
    """The settings of its checks."""
    era: str = ""
    """The era that it speaks, if that is configured; else empty."""
    start_timeout: float = START_TIMEOUT
    """Seconds that a process has until its first answer."""
    last_words: Callable[[], str] = str
    """Returns the last lines that its processes wrote besides messages, to be added to the reason why one is given up.

    The text is empty, or begins with a semicolon.
    """

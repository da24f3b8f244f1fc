"""How a link to a server is opened, and which bounds a link keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from fabric.security.tls import Trust

T = TypeVar("T")

DEFAULT_FRAME_BYTES = 16 * 1024 * 1024
"""Longest frame accepted, unless told otherwise."""
DEFAULT_STALL_TIMEOUT = 60.0
"""Seconds for which a peer may take nothing of what waits for it, unless told otherwise."""


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of a long link."""

    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds for which the peer may take nothing of what waits for it; then the link is broken."""


class Redial(Protocol):
    """Calls `connect` until it opens something; fabric/runtime/retry.py is one."""

    async def __call__(self, connect: Callable[[], Awaitable[T]], /) -> T:
        """What `connect` returned. Raises its last error when it is given up."""
        ...


class ConnectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to open a link to an MCP server; one record for every transport."""

    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the request that opens the link, where there is one."""
    timeout: float = 10.0
    """Seconds to reach the server, TLS included."""
    answer_timeout: float = 10.0
    """Seconds that a server which was reached has to open the link: to answer a WebSocket's handshake, or to say where messages
    are posted to."""
    trust: Trust = Trust()
    """How to judge the server's certificate, where there is one."""
    max_frame_bytes: int = DEFAULT_FRAME_BYTES
    """The longest frame accepted."""
    stall_timeout: float = DEFAULT_STALL_TIMEOUT
    """Seconds for which the server may take nothing of what waits for it."""
    compression: bool = False
    """Ask for compression, where the transport knows it."""
    redial: Redial | None = None
    """Tries a failed connection again, where a link connects as it goes."""
    connections: int = 192
    """Most connections to one server at once, where a link is many requests."""
    idle: float = 4.0
    """Seconds after which an unused one of those is closed. Many servers close theirs after 5 s; a request that is under way by
    then may have arrived or not."""
    shown: str = ""
    """The server's URL as people may read it; empty for what LinkUrl.where shows of it."""

    def __repr__(self) -> str:
        return f"ConnectSettings({len(self.headers)} headers, timeout={self.timeout:g})"  # their values may be secrets

"""`fabric.join`: a Python program as a member of a fabric, with one connection to the broker for many clients.

Above it: programs of users, and fabric/client/connect.py. Below it: an edge, as a worker has one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fabric.client.connection import Connection
from fabric.client.settings import joining
from fabric.config.secret import keyring
from fabric.links.base import Link
from fabric.runtime.edge import Edge
from fabric.runtime.from_settings import make_edge
from fabric.runtime.identity import make_identity
from fabric.runtime.inside_link import inside_link
from fabric.runtime.node import JOIN_TIMEOUT
from fabric.runtime.retry import Dialer


class Member:
    """A program's edge in a fabric. `join` makes it."""

    def __init__(self, edge: Edge, max_frame_bytes: int) -> None:
        self._edge = edge
        self._max_frame_bytes = max_frame_bytes

    def __repr__(self) -> str:
        return f"<Member {self._edge!r}>"

    @property
    def servers(self) -> list[str]:
        """The servers that bridges serve now, by name."""
        return self._edge.announced_servers()

    def connect(self, server: str) -> Connection:
        """A connection to that server, for one client. It shares the broker connection, and nothing else, with all others."""
        return Connection(lambda: self.open_link(server))

    def open_link(self, server: str) -> AbstractAsyncContextManager[Link]:
        """A link to that server, which is closed on leaving."""
        return inside_link(self._edge, server, self._max_frame_bytes)


@asynccontextmanager
async def join(url: str, *, fabric: str | None = None) -> AsyncIterator[Member]:
    """Join a fabric as one member, by one connection to the broker at `url`, for any number of clients.

    The fabric has answered by then. fabric: its name; None: as FABRIC_NAME says. Other settings, the secret among them, are
    those of the commands, in the FABRIC_ variables. Raises ConfigError and BrokerError.
    """
    settings = joining(url, fabric)
    keys = await asyncio.to_thread(keyring, settings)  # it may wait for a command
    identity = make_identity(keys, settings.fabric.lease)
    dialer = Dialer(settings.fabric.retry)
    edge = make_edge(settings, url, keys, identity, completed=lambda _: None, dialer=dialer)
    edge.listens_at("python")
    edge.node.start()
    try:
        await edge.node.until(lambda: edge.node.ready, JOIN_TIMEOUT + settings.fabric.lease)
        yield Member(edge, settings.links.max_frame_bytes)
    finally:
        await edge.node.aclose()

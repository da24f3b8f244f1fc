"""`fabric.serving` and `fabric.serve`: a server object of the MCP SDK as a server of a fabric, in the program's own process.

Above it: programs of users. Below it: a bridge, whose server processes are sessions of the object, each over a link in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fabric.client.sessions import Sessions, lowlevel_server
from fabric.client.settings import joining
from fabric.config.secret import keyring
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.links.base import Link
from fabric.runtime.bridge import Bridge
from fabric.runtime.identity import make_identity
from fabric.runtime.node import JOIN_TIMEOUT
from fabric.runtime.retry import Dialer


class Serving:
    """A server object that a bridge of this process serves. `serving` makes it."""

    def __init__(self, name: str, bridge: Bridge) -> None:
        self.name = name
        """The name of the server in the fabric."""
        self._bridge = bridge

    def __repr__(self) -> str:
        return f"<Serving {self.name} {self._bridge!r}>"

    async def forever(self) -> None:
        """Wait; raises the error for which this process must not go on, such as another secret at the broker."""
        await asyncio.shield(self._bridge.node.failed)


@asynccontextmanager
async def serving(server: Any, url: str, *, name: str = "", fabric: str | None = None) -> AsyncIterator[Serving]:
    """Serve an SDK's server object in the fabric at the broker `url`, for as long as the context lasts.

    server: low-level or high-level, of mcp 1.x or 2.x; each session is a run of it, as if in a process of its own. name: in
    the fabric; empty for the object's own name. fabric: as for `join`, whose settings apply. The fabric has answered
    when this yields. On leaving, calls that run have `drainTimeout` to end. Raises ConfigError and BrokerError.
    """
    lowlevel = lowlevel_server(server)
    name = name or lowlevel.name
    settings = joining(url, fabric)
    keys = await asyncio.to_thread(keyring, settings)  # it may wait for a command
    sessions = Sessions(lowlevel)

    async def connect(_: str, id: str) -> Link:
        return sessions.begin(id)

    bridge = Bridge(
        url,
        settings.fabric.name,
        make_identity(keys, settings.fabric.lease),
        servers={name: ServerLimits(_digest(name), "memory")},
        connect=connect,
        check=_unchecked,
        completed=lambda _: None,
        dialer=Dialer(settings.fabric.retry),
    )
    bridge.node.start()
    try:
        await bridge.node.until(lambda: bridge.node.ready, JOIN_TIMEOUT + settings.fabric.lease)
        yield Serving(name, bridge)
    finally:
        await bridge.drain(settings.times.drain_timeout)
        await bridge.aclose()
        await sessions.aclose()


async def serve(server: Any, url: str, *, name: str = "", fabric: str | None = None) -> None:
    """Serve an SDK's server object until SIGINT or SIGTERM comes, or the task is cancelled. See `serving`.

    It is the main coroutine of a program: `asyncio.run(fabric.serve(server, "nats://broker.example"))`.
    """
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with serving(server, url, name=name, fabric=fabric) as served:
            waiting = [asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(served.forever())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()
            if waiting[1].done():
                waiting[1].result()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _unchecked(_: str) -> str:
    """No command checks such a server: requests do."""
    return ""


def _digest(name: str) -> str:
    """The digest of the definition: programs that serve one name are taken for equal, and differ from a configured server."""
    return hashlib.blake2b(f"python {name}".encode(), digest_size=16).hexdigest()

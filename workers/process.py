"""What every worker process shares: who it is, which broker it uses, when it says ready, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fabric.brokers import embedded, registry
from fabric.core.announcement import Health, Role
from fabric.core.member import Identity
from fabric.links.processes import Processes
from fabric.runtime.keys import keyring
from fabric.runtime.node import Node
from fabric.runtime.settings import Settings
from fabric.runtime.state import prepare
from fabric.security.access import AccessRules
from fabric.security.secret import Keyring
from workers.terminal import Line, complain, moving, say

if TYPE_CHECKING:
    from workers.admin import Servers  # HTTP and all; only those who serve it wait for it

log = logging.getLogger("mcp-fabric")

READY_WAIT = 3.0
"""Seconds after which a process that is not ready says what it waits for."""


FLUSH_TIMEOUT = 3.0
"""Seconds that spans have to be exported when the process stops."""


class Place:
    """Where a process stands: its broker, its keys, its identity, its child processes.

    closing: is called, each with a timeout, when it is left; the processes end before that.
    """

    def __init__(self, settings: Settings, url: str, keys: Keyring) -> None:
        self.settings = settings
        self.url = url
        self.keys = keys
        self.processes = Processes()
        self.closing: list[Callable[[float], None]] = []

    def identity(self) -> Identity:
        """A new incarnation; never before a fork."""
        return Identity(
            incarnation=secrets.token_hex(8),
            salt=secrets.token_bytes(32),
            key=",".join(self.keys.ids),
            host=f"{socket.gethostname()}:{os.getpid()}",
            lease=self.settings.lease,
            wall=time.time() - time.monotonic(),
        )


@asynccontextmanager
async def placed(settings: Settings) -> AsyncIterator[Place]:
    """The broker that was given, or the embedded one for as long as this lasts; and the secret that goes with it."""
    keys = keyring(settings)
    if settings.broker is not None:
        async with _closing(Place(settings, settings.broker, keys)) as place:
            yield place
        return
    broker = await embedded.ensure(prepare(settings.state))
    try:
        async with _closing(Place(settings, broker.url, keys)) as place:
            yield place
    finally:
        await broker.aclose()


@asynccontextmanager
async def _closing(place: Place) -> AsyncIterator[Place]:
    try:
        yield place
    finally:
        await place.processes.aclose()
        for close in place.closing:
            await asyncio.to_thread(close, FLUSH_TIMEOUT)


def access_rules(settings: Settings) -> AccessRules:
    """Who may come in over HTTP."""
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    own = (f"[{public}]" if ":" in public else public,) if public else ()
    return AccessRules(
        allowed_hosts=(*settings.allowed_hosts, *own),
        allowed_origins=settings.allowed_origins,
        user=settings.auth_user,
        password=settings.auth_password,
    )


async def ready_line(where: str) -> AsyncIterator[Sequence[Line]]:
    """All that a worker says which does one thing only."""
    yield [[("ready", "bold green"), (f" {where}", "")]]


def joined(nodes: Sequence[Node], name: str) -> Sequence[Line]:
    """Which fabric the nodes of this process have joined, and what it serves already; nothing where they are alone."""
    own = {node.me for node in nodes}
    heard = {who: said for node in nodes for who, said in node.heard() if who not in own and said.role is not Role.OBSERVER}
    parts = []
    for said in sorted(heard.values(), key=lambda said: (said.role, said.host)):
        doing = f"serves {', '.join(sorted(said.serves))}" if said.serves else f"lets clients in at {said.address}"
        parts.append(f"{said.role} {said.host} {doing}")
    return [[(f"joined fabric {name!r}: {'; '.join(parts)}", "")]] if parts else []


def stopped_by(number: int) -> int:
    """The exit code of a process that a signal kept from its work, by the shells' rule."""
    return 128 + number


class Life:
    """A worker's life: stop signals, readiness, and the lines that say how it serves. `signal`: the one that stopped it."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.signal = 0
        self._served = False
        self._said = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        self.signal = self.signal or number
        self.stopping.set()

    async def serve(self, nodes: Sequence[Node], place: Place, lines: AsyncIterator[Sequence[Line]]) -> int:
        """Wait until every node is ready, say `lines` as they come, and stop when a signal comes. Returns the exit code.

        lines: the first says `ready`. The code is 0, but for Ctrl-C before that. Raises what a node failed of.
        """
        stop: asyncio.Future[Any] = asyncio.ensure_future(self.stopping.wait())
        speaking: asyncio.Future[Any] = asyncio.ensure_future(self._speak(nodes, place, lines))
        failures = [node.failed for node in nodes]
        try:
            await asyncio.wait([stop, speaking, *failures], return_when=asyncio.FIRST_COMPLETED)
            if speaking.done() and not stop.done():
                speaking.result()
                await asyncio.wait([stop, *failures], return_when=asyncio.FIRST_COMPLETED)
        finally:
            speaking.cancel()
            stop.cancel()
            await asyncio.wait([speaking])
        for failure in failures:
            if failure.done():
                failure.result()
        if self.signal == signal.SIGINT and not self._said:
            complain("interrupted before it was ready")
            return stopped_by(self.signal)
        return 0

    async def _speak(self, nodes: Sequence[Node], place: Place, lines: AsyncIterator[Sequence[Line]]) -> None:
        with moving() as show:
            await self._ready(nodes, place, show)
        self._served = True
        if others := joined(nodes, place.settings.name):
            say(*others)
        async for said in lines:
            say(*said)
            self._said = True

    async def _ready(self, nodes: Sequence[Node], place: Place, show: Callable[[str], None]) -> None:
        where = "the embedded broker" if place.settings.broker is None else f"broker {registry.redacted(place.url)}"
        waited = 0.0
        while not all(node.ready for node in nodes):
            doing = "looking who is there, through" if all(node.connected for node in nodes) else "connecting to"
            show(f"{doing} {where}")
            await asyncio.sleep(0.05)  # readiness is a state of the lease clock, not an event
            waited += 0.05
            if waited >= READY_WAIT:
                waited = float("-inf")
                if not all(node.connected for node in nodes):
                    log.warning("still waiting for %s; serving begins when it is there", where)

    def readiness(self, nodes: Sequence[Node], servers: Servers = dict) -> tuple[bool, Mapping[str, Any]]:
        """What /readyz says. A lost broker is degraded, not unready: it comes back, and restarting us would not help."""
        if self.stopping.is_set():
            return False, {"status": "draining"}
        if all(node.ready for node in nodes):
            ill = any(served.health in (Health.DEGRADED, Health.UNHEALTHY) for served in servers().values())
            return True, {"status": "degraded", "reason": "a server is not healthy"} if ill else {"status": "ready"}
        if self._served:
            return True, {"status": "degraded", "reason": "the broker is away, or has just come back"}
        return False, {"status": "starting"}


@asynccontextmanager
async def administered(settings: Settings, life: Life, nodes: Sequence[Node], servers: Servers = dict) -> AsyncIterator[str]:
    """The health endpoints, if they were asked for; yields what to add to the ready line."""
    if settings.admin is None:
        yield ""
        return
    from workers.admin import serve_admin

    access = access_rules(settings)
    listener = await serve_admin(settings.admin, lambda: life.readiness(nodes, servers), servers, access=access)
    try:
        yield f" admin {listener.address}"
    finally:
        await listener.aclose()

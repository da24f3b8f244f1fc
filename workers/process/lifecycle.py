"""The life of a worker: it prints that it is ready, answers health probes, and stops on a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fabric.brokers import registry
from fabric.config.settings.process import Settings
from fabric.core.peers.announcement import Health, Role
from fabric.runtime.node import Node
from workers.process.access import access_rules
from workers.process.context import WorkerContext
from workers.screen.terminal import Line, complain, moving, say

if TYPE_CHECKING:
    from workers.process.health_pages import Servers  # it imports HTTP, which only a process with --admin waits for

log = logging.getLogger("mcp-fabric")

READY_WAIT = 3.0
"""Seconds after which a process that is not ready logs what it waits for."""


async def ready_line(where: str) -> AsyncIterator[Sequence[Line]]:
    """The lines of a worker that prints only that it is ready."""
    yield [[("ready", "bold green"), (f" {where}", "")]]


def joined_line(nodes: Sequence[Node], name: str) -> Sequence[Line]:
    """A line with the fabric that the nodes of this process have joined, and its other workers; no line if there are none."""
    own = {node.me for node in nodes}
    others = {
        incarnation: announcement
        for node in nodes
        for incarnation, announcement in node.announcements()
        if incarnation not in own and announcement.role is not Role.OBSERVER
    }
    parts = []
    for other in sorted(others.values(), key=lambda other: (other.role, other.host)):
        doing = f"serves {', '.join(sorted(other.serves))}" if other.serves else f"lets clients in at {other.address}"
        parts.append(f"{other.role} {other.host} {doing}")
    return [[(f"joined fabric {name!r}: {'; '.join(parts)}", "")]] if parts else []


def stopped_by(number: int) -> int:
    """The exit code of a process that a signal stopped before its work was done: 128 plus the signal's number, as in shells."""
    return 128 + number


class WorkerLifecycle:
    """The stop signals and the readiness of a worker, and the lines that it prints."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        """Set by SIGINT and SIGTERM."""
        self.signal = 0
        """The first stop signal; 0 for none."""
        self._served = False
        self._printed = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        self.signal = self.signal or number
        self.stopping.set()

    async def serve(self, nodes: Sequence[Node], context: WorkerContext, lines: AsyncIterator[Sequence[Line]]) -> int:
        """Wait until every node is ready, print `lines` as they come, and return when a signal comes. Returns the exit code.

        lines: the first says `ready`. The exit code is 0, except for Ctrl-C before that line. Raises the error of a node that
        has failed.
        """
        stop: asyncio.Future[Any] = asyncio.ensure_future(self.stopping.wait())
        printing: asyncio.Future[Any] = asyncio.ensure_future(self._print(nodes, context, lines))
        failures = [node.failed for node in nodes]
        try:
            await asyncio.wait([stop, printing, *failures], return_when=asyncio.FIRST_COMPLETED)
            if printing.done() and not stop.done():
                printing.result()
                await asyncio.wait([stop, *failures], return_when=asyncio.FIRST_COMPLETED)
        finally:
            printing.cancel()
            stop.cancel()
            await asyncio.wait([printing])
        for failure in failures:
            if failure.done():
                failure.result()
        if self.signal == signal.SIGINT and not self._printed:
            complain("interrupted before it was ready")
            return stopped_by(self.signal)
        return 0

    async def _print(self, nodes: Sequence[Node], context: WorkerContext, lines: AsyncIterator[Sequence[Line]]) -> None:
        with moving() as show:
            await self._ready(nodes, context, show)
        self._served = True
        if others := joined_line(nodes, context.settings.fabric.name):
            say(*others)
        async for block in lines:
            say(*block)
            self._printed = True

    async def _ready(self, nodes: Sequence[Node], context: WorkerContext, show: Callable[[str], None]) -> None:
        where = "the embedded broker" if context.settings.fabric.broker is None else f"broker {registry.redacted(context.url)}"

        def log_late() -> None:
            if not all(node.connected for node in nodes):
                log.warning("still waiting for %s; serving begins when it is there", where)

        late = asyncio.get_running_loop().call_later(READY_WAIT, log_late)
        try:
            while waiting := [node for node in nodes if not node.ready]:
                doing = "looking who is there, through" if all(node.connected for node in nodes) else "connecting to"
                show(f"{doing} {where}")
                await waiting[0].change()
        finally:
            late.cancel()

    def readiness(self, nodes: Sequence[Node], servers: Servers = dict) -> tuple[bool, Mapping[str, Any]]:
        """The state for /readyz. A process without its broker is degraded, not unready: restarting it would not help."""
        if self.stopping.is_set():
            return False, {"status": "draining"}
        if all(node.ready for node in nodes):
            ill = any(server.health in (Health.DEGRADED, Health.UNHEALTHY) for server in servers().values())
            return True, {"status": "degraded", "reason": "a server is not healthy"} if ill else {"status": "ready"}
        if self._served:
            return True, {"status": "degraded", "reason": "the broker is away, or has just come back"}
        return False, {"status": "starting"}


@asynccontextmanager
async def health_endpoints(
    settings: Settings, lifecycle: WorkerLifecycle, nodes: Sequence[Node], servers: Servers = dict
) -> AsyncIterator[str]:
    """The health endpoints, if the settings ask for them; yields the text to add to the ready line."""
    if settings.listen.admin is None:
        yield ""
        return
    from workers.process.health_pages import serve_admin

    access = access_rules(settings)
    listener = await serve_admin(settings.listen.admin, lambda: lifecycle.readiness(nodes, servers), servers, access=access)
    try:
        yield f" admin {listener.address}"
    finally:
        await listener.aclose()

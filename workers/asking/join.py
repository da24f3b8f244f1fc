"""Joins a running fabric: finds it, lists its workers, and names the commands that start one."""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from fabric.brokers import registry
from fabric.brokers.embedded import nats_server
from fabric.config.settings.process import DEFAULTS, Settings
from fabric.config.state_folder import refuse_foreign
from fabric.core.peers.announcement import Announcement, Role
from fabric.errors import BrokerRefused
from fabric.runtime.node import JOIN_TIMEOUT, Node
from fabric.runtime.observer import Observer
from fabric.runtime.retry import Dialer
from workers.process.context import WorkerContext, worker_context
from workers.process.lifecycle import WorkerLifecycle, stopped_by
from workers.screen.terminal import complain
from workers.tools.shape import among

if TYPE_CHECKING:
    from fabric.runtime.edge import Edge  # an observer needs none

NOT_RUNNING = "no fabric is running here; start one: mcp-fabric up CONFIG"


async def runs_here(settings: Settings) -> bool:
    """Whether the embedded broker runs. Raises ConfigError if its folder belongs to another user."""
    refuse_foreign(settings.fabric.state)
    return await nats_server.find(settings.fabric.state) is not None


def start_commands(settings: Settings, *roles: str) -> str:
    """The commands that start a fabric here: `up`, or one for each of `roles` where the broker was given."""
    name = "" if settings.fabric.name == DEFAULTS.fabric.name else f" --fabric {shlex.quote(settings.fabric.name)}"
    if settings.fabric.broker is None:
        return f"mcp-fabric up CONFIG{name}"
    broker = shlex.quote(registry.masked(settings.fabric.broker))
    return " and ".join(f"mcp-fabric {role} CONFIG --broker {broker}{name}" for role in roles)


@asynccontextmanager
async def join(settings: Settings) -> AsyncIterator[WorkerContext]:
    """The context of a process at the broker that was given, or at the embedded broker if it runs.

    It starts no broker: raises BrokerRefused if none runs. As a person waits, it makes one attempt to reach the broker.
    """
    if settings.fabric.broker is None and not await runs_here(settings):
        raise BrokerRefused(NOT_RUNNING)
    retry = msgspec.structs.replace(settings.fabric.retry, first_attempts=1)
    impatient = msgspec.structs.replace(settings.fabric, retry=retry)
    async with worker_context(msgspec.structs.replace(settings, fabric=impatient)) as context:
        yield context


async def wait_until(node: Node, context: WorkerContext, condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds. Raises as Node.until."""
    await node.until(condition, JOIN_TIMEOUT + context.settings.fabric.lease)


async def announced_workers(settings: Settings) -> list[tuple[str, Announcement]]:
    """The announcements of all edges and bridges, by incarnation. Raises as `join` and `wait_until`."""
    async with join(settings) as context:
        observer = Observer(context.url, settings.fabric.name, context.identity(), Dialer(context.settings.fabric.retry))
        observer.node.start()
        try:
            await wait_until(observer.node, context, lambda: observer.node.ready)
            return [(id, worker) for id, worker in observer.node.announcements() if worker.role is not Role.OBSERVER]
        finally:
            await observer.node.aclose()


async def why_unserved(edge: Edge, context: WorkerContext, name: str) -> str:
    """Why no bridge serves `name`, for people, once that is certain; empty as soon as one does. Raises as `wait_until`.

    With the embedded broker, it is certain once the workers have answered. With a given broker, workers may have lost it and
    may come back, so it takes a full lease.
    """
    own = context.settings.fabric.broker is None
    await wait_until(edge.node, context, lambda: name in edge.announced_servers() or edge.sure or (own and edge.node.ready))
    served = edge.announced_servers()
    if name in served:
        return ""
    if served:
        return f"no server is named {name!r} here{among(name, served)}"
    return f"nobody serves {name!r}; start it: {start_commands(context.settings, 'bridge')}"


async def unless_stopped(work: Coroutine[Any, Any, int], *, orderly: bool = False) -> int:
    """Await `work` for an exit code. Ctrl-C or SIGTERM cancel it, so that it cleans up, and make the code 130 or 143.

    orderly: SIGTERM is the normal way to stop it, with exit code 0.
    """
    lifecycle = WorkerLifecycle()
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(lifecycle.stopping.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        stop.cancel()
        task.cancel()
        await asyncio.wait([task])
    if orderly and lifecycle.signal == signal.SIGTERM:
        return 0
    complain("interrupted" if lifecycle.signal == signal.SIGINT else "terminated")
    return stopped_by(lifecycle.signal)

"""Joining a fabric that runs already: where it is, who is there, and what to say if nobody is."""

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
from fabric.config.settings import DEFAULTS, Settings
from fabric.config.state_folder import refuse_foreign
from fabric.core.peers.announcement import Announcement, Role
from fabric.errors import BrokerRefused, BrokerTimeout
from fabric.runtime.node import Node
from fabric.runtime.observer import Observer
from fabric.runtime.retry import Dialer
from workers.process import Life, Place, placed, stopped_by
from workers.shape import among
from workers.terminal import complain

if TYPE_CHECKING:
    from fabric.runtime.edge import Edge  # an observer needs none

NOT_RUNNING = "no fabric is running here; start one: mcp-fabric up CONFIG"

JOIN_TIMEOUT = 5.0
"""Seconds that the broker and whoever is there have to answer."""


async def runs_here(settings: Settings) -> bool:
    """Whether the embedded broker runs. Raises ConfigError where its folder belongs to somebody else."""
    refuse_foreign(settings.fabric.state)
    return await nats_server.find(settings.fabric.state) is not None


def starting(settings: Settings, *roles: str) -> str:
    """The commands that start what is missing; `roles` of them where the broker is a given one."""
    name = "" if settings.fabric.name == DEFAULTS.fabric.name else f" --fabric {shlex.quote(settings.fabric.name)}"
    if settings.fabric.broker is None:
        return f"mcp-fabric up CONFIG{name}"
    broker = shlex.quote(registry.masked(settings.fabric.broker))
    return " and ".join(f"mcp-fabric {role} CONFIG --broker {broker}{name}" for role in roles)


@asynccontextmanager
async def joined(settings: Settings) -> AsyncIterator[Place]:
    """A place at the broker that was given, or at the embedded one that runs. Starts none: BrokerRefused if none runs.

    A person waits for what is done there, so a broker that cannot be reached is said at the first attempt.
    """
    if settings.fabric.broker is None and not await runs_here(settings):
        raise BrokerRefused(NOT_RUNNING)
    retry = msgspec.structs.replace(settings.fabric.retry, first_attempts=1)
    hasty = msgspec.structs.replace(settings.fabric, retry=retry)
    async with placed(msgspec.structs.replace(settings, fabric=hasty)) as place:
        yield place


async def settle(worker: Node, place: Place, until: Callable[[], bool]) -> None:
    """Wait until `until` holds. Raises BrokerTimeout, and what the worker has failed of: ConfigError if it must not join."""
    try:
        async with asyncio.timeout(JOIN_TIMEOUT + place.settings.fabric.lease):
            while not until():
                if worker.failed.done():
                    worker.failed.result()
                await asyncio.sleep(0.01)  # readiness is a state of the lease clock, not an event
    except TimeoutError:
        raise BrokerTimeout(f"broker {registry.redacted(place.url)} does not answer; mcp-fabric doctor says why") from None


async def everyone(settings: Settings) -> list[tuple[str, Announcement]]:
    """Every edge and bridge that is there, by incarnation. Raises as `joined` and `settle`."""
    async with joined(settings) as place:
        observer = Observer(place.url, settings.fabric.name, place.identity(), Dialer(place.settings.fabric.retry))
        observer.node.start()
        try:
            await settle(observer.node, place, lambda: observer.node.ready)
            return [(who, said) for who, said in observer.node.heard() if said.role is not Role.OBSERVER]
        finally:
            await observer.node.aclose()


async def absence(edge: Edge, place: Place, name: str) -> str:
    """Why nobody here serves `name`, for people, once that is certain; empty as soon as somebody does. Raises as `settle`.

    On the embedded broker the silence of those who are asked is enough; on a given one, workers may have lost it and be on
    their way back.
    """
    own = place.settings.fabric.broker is None
    await settle(edge.node, place, lambda: name in edge.served() or edge.sure or (own and edge.node.ready))
    served = edge.served()
    if name in served:
        return ""
    if served:
        return f"no server is named {name!r} here{among(name, served)}"
    return f"nobody serves {name!r}; start it: {starting(place.settings, 'bridge')}"


async def unless_stopped(work: Coroutine[Any, Any, int], *, orderly: bool = False) -> int:
    """Await `work` for an exit code. Ctrl-C or SIGTERM cancel it, so that it cleans up, and make the code 130 or 143.

    orderly: SIGTERM is how it is to be stopped, and its code is then 0.
    """
    life = Life()
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(life.stopping.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        stop.cancel()
        task.cancel()
        await asyncio.wait([task])
    if orderly and life.signal == signal.SIGTERM:
        return 0
    complain("interrupted" if life.signal == signal.SIGINT else "terminated")
    return stopped_by(life.signal)

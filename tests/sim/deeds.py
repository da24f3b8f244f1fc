"""Deeds: what clients, people and servers do in varied seeds beside plain calls. Each kind is counted when it has happened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from fabric.mcp.batches import REVISION
from fabric.mcp.initialize import LATEST_LEGACY
from tests.sim.clients import Client, LongLink
from tests.sim.http_clients import Http

if TYPE_CHECKING:
    from tests.sim.world import World

Deed = Callable[["World", Random], None]

KINDS = (
    "cancel of a shared id", "failing tool list", "input asked for", "input given", "too large", "eviction",
    "restart asked for", "hung server", "poisoned call", "batch", "answer after the end of input",
)  # fmt: skip
"""The names under which deeds are counted."""


def client(world: World, random: Random, number: int) -> Client:
    """One of the clients that a seed begins with."""
    legacy = random.random() < 0.6
    server = "both" if random.random() < 0.3 else "old" if legacy else "tools"
    if random.random() < 0.5:
        version = random.choice((REVISION, LATEST_LEGACY))
        return LongLink(world, f"long{number}", server, legacy=legacy, version=version)
    return Http(world, f"http{number}", server, legacy=legacy, roams=random.random() < 0.5)


def call(client: Client, random: Random) -> None:
    """A plain call."""
    client.call(random.choice(("read", "write")), delay=random.choice((0.0, 0.3, 1.5)), progress=random.choice((0, 3)))


def _any(world: World, random: Random, kind: type[Client] = Client, *, legacy: bool | None = None) -> Client | None:
    """A client of this kind that has not left, if there is one."""
    present = [
        client
        for client in world.clients.values()
        if isinstance(client, kind) and not client.over and legacy in (None, client.legacy)
    ]
    return random.choice(present) if present else None


def cancel_shared_id(world: World, random: Random) -> None:
    """A client uses an id twice, and cancels the second request."""
    client = _any(world, random, LongLink)
    if client is not None:
        id = b"%d" % (1000 + len(client.requests) + client.unmade)
        for cancel_after in (None, 0.3):
            client.call(random.choice(("read", "write")), id=id, delay=random.choice((0.5, 1.5)), cancel_after=cancel_after)


def fail_lists(world: World, random: Random) -> None:
    """Servers fail tools/list for a while, and a new edge asks for it."""
    seconds = random.choice((0.5, 2.0))
    world.fault("failing tool lists", lasts=seconds)
    world.tool_lists = random.choice(("half", "error"))
    world.after(seconds, setattr, world, "tool_lists", "whole")
    client = Http(world, f"newcomer{len(world.clients)}", "tools", legacy=False, edge=world.edge())
    for tool in ("read", "write"):
        client.call(tool, delay=0.3)


def ask_for_input(world: World, random: Random) -> None:
    """A server asks the client of a call for input before it runs the call."""
    client = _any(world, random, legacy=False)
    if client is not None:
        client.call(random.choice(("read", "write")), input=True, delay=random.choice((0.0, 1.5)))


def send_much(world: World, random: Random) -> None:
    """Calls and answers about as large as the broker's longest message."""
    client, size = _any(world, random), random.choice((3_000, 7_900, 8_192, 20_000))
    if client is not None:
        client.call(random.choice(("read", "write")), text="x" * size)
        client.call(random.choice(("read", "write")), big=size)


def go_away(world: World, random: Random) -> None:
    """A client abandons its session without a message, and two others open sessions of the same server."""
    client = _any(world, random, Http, legacy=True)
    if isinstance(client, Http):
        session, owner = client.session_id, client.session.owner if client.session else ""
        client.abandon()
        for bridge in world.bridges:
            if bridge.name == owner and session in bridge.core.sessions.open:
                server = bridge.children.get(bridge.core.sessions.open[session].child)
                if server is not None and server.alive:
                    server.when_stopped = partial(_evicted, world, world.now)
        world.fault("full server", lasts=12.0)
        for number in range(2):
            newcomer = Http(world, f"{client.name}+{number}", client.server, legacy=True)
            newcomer.call("write")


def _evicted(world: World, left_at: float) -> None:
    if world.now - left_at < world.settings.session_idle:
        world.did("eviction")


def restart_server(world: World, random: Random) -> None:
    """A person asks for new processes of a server."""
    observer = world.observer()
    for bridge in world.bridges:
        bridge.touched.append("restart")  # a bridge without room for another process ends the old one first
    world.fault("restart asked for", lasts=12.0)  # how long repeatable calls may take to end in the old process
    world.did("restart asked for")
    world.after(0.5, observer.restart, random.choice(sorted(world.settings.servers)), f"token{len(world.processes)}")


def hang(world: World, random: Random) -> None:
    """A shared server process hangs, until health checks replace it."""
    pools = [(bridge, pool.shared()) for bridge in world.bridges if not bridge.frozen for pool in bridge.core.pools.values()]
    running = [(bridge, bridge.children[child.id]) for bridge, child in pools if child and child.id in bridge.children]
    if running:
        bridge, child = random.choice(running)
        bridge.touched.append("hung server")
        world.fault("hung server", lasts=8.0)
        world.did("hung server")
        child.hang()


def poison(world: World, random: Random) -> None:
    """A call that kills each server process that begins it."""
    client = _any(world, random)
    if client is not None:
        client.call(random.choice(("read", "write")), poison=True, delay=0.1)


def batch(world: World, random: Random) -> None:
    """A client sends several calls in one frame."""
    client = _any(world, random, LongLink, legacy=True)
    if isinstance(client, LongLink) and client.version == REVISION:
        client.batch(*({"delay": random.choice((0.0, 0.3, 1.0))} for _ in range(3)))


def end_input(world: World, random: Random) -> None:
    """A client ends its input, and its edge stops waiting for answers."""
    client = _any(world, random, LongLink)
    if isinstance(client, LongLink):
        client.call(random.choice(("read", "write")), delay=1.5)
        world.after(random.choice((0.0, 0.1, 0.5)), client.end_input)


DEEDS: tuple[Deed, ...] = (
    cancel_shared_id, fail_lists, ask_for_input, send_much, go_away, restart_server, hang, poison, batch, end_input,
)  # fmt: skip

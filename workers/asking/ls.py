"""`mcp-fabric ls`: lists servers and workers, with their health."""

from __future__ import annotations

import msgspec

from fabric.config.settings.process import Settings
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from workers.asking.join import announced_workers, start_commands, unless_stopped
from workers.process.logs import configure_logging
from workers.screen import table
from workers.screen.terminal import complain

BEST_FIRST = (Health.HEALTHY, Health.DEGRADED, Health.CHECKING, Health.UNKNOWN, Health.UNHEALTHY)


class ServerRow(msgspec.Struct, frozen=True):
    """One server, at all its bridges together."""

    name: str
    eras: list[str]
    """The eras that it speaks, as far as they are known."""
    health: Health
    """The best of its health at all bridges."""
    reason: str
    """Why it is not healthy at one of them; empty if it is healthy at each."""
    bridges: int
    """How many bridges serve it."""
    sessions: int
    """Legacy sessions, at all bridges."""
    free: int
    """Slots for further requests, at all bridges."""


class WorkerRow(msgspec.Struct, frozen=True):
    """One process."""

    role: Role
    host: str
    """Machine and process id."""
    health: Health
    address: str
    """Where clients reach an edge; empty for a bridge."""
    incarnation: str
    sessions: int
    """At an edge its long links, at a bridge its legacy sessions."""
    servers: list[str]
    """The servers that a bridge serves."""


async def run(settings: Settings, *, json: bool) -> int:
    """Ask, and print. Returns the exit code."""
    configure_logging(settings, "warning")
    return await unless_stopped(_run(settings, json=json))


async def _run(settings: Settings, *, json: bool) -> int:
    announced = await announced_workers(settings)
    servers, workers = _servers(announced), _workers(announced)
    if json:
        print(msgspec.json.format(msgspec.json.encode({"servers": servers, "workers": workers})).decode())
    elif announced:
        _print(servers, workers)
    if not announced:
        complain(f"nobody answers in fabric {settings.fabric.name!r}; start it: {start_commands(settings, 'bridge', 'edge')}")
        return 3
    return 0


def _servers(announced: list[tuple[str, Announcement]]) -> list[ServerRow]:
    bridges: dict[str, list[Served]] = {}
    for _, worker in announced:
        for name, served in worker.serves.items():
            bridges.setdefault(name, []).append(served)
    return [_server(name, served) for name, served in sorted(bridges.items())]


def _server(name: str, bridges: list[Served]) -> ServerRow:
    """The best health of all bridges, and a reason if the server is not healthy at one of them."""
    healths = {served.health for served in bridges}
    best = next(health for health in BEST_FIRST if health in healths)
    reasons = [served.reason for served in bridges if served.reason]
    reason = reasons[0] if reasons else ""
    if reason and len(reasons) < len(bridges):
        reason = f"{len(reasons)} of {len(bridges)}: {reason}"
    return ServerRow(
        name=name,
        eras=sorted({era for served in bridges for era in served.eras}),
        health=best,
        reason=reason,
        bridges=len(bridges),
        sessions=sum(served.sessions for served in bridges),
        free=sum(served.free for served in bridges),
    )


def _workers(announced: list[tuple[str, Announcement]]) -> list[WorkerRow]:
    rows = [
        WorkerRow(worker.role, worker.host, _health(worker), worker.address, id, worker.sessions, sorted(worker.serves))
        for id, worker in announced
    ]
    return sorted(rows, key=lambda row: (row.role, row.host))


def _health(worker: Announcement) -> Health:
    """A worker that announces itself is healthy, unless one of its servers is not."""
    healths = {served.health for served in worker.serves.values()}
    if len(healths) < 2:
        return next(iter(healths), Health.HEALTHY)
    return Health.DEGRADED if healths & {Health.DEGRADED, Health.UNHEALTHY} else Health.CHECKING


def _print(servers: list[ServerRow], workers: list[WorkerRow]) -> None:
    table.show("server", "eras", "health", "bridges", "sessions", "free slots", "reason", rows=[
        (row.name, " ".join(row.eras), row.health, row.bridges, row.sessions, row.free, row.reason) for row in servers
    ])  # fmt: skip
    table.show("worker", "process", "health", "address", "serves", rows=[
        (row.role, row.host or row.incarnation, row.health, row.address, " ".join(row.servers)) for row in workers
    ])  # fmt: skip

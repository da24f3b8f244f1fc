"""What must hold at the end of every run, whatever befell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from fabric.core.bridge.processes.restarts import RESTART_MOST
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.edge.correlation import RUNS_MOST
from fabric.core.peers.lease import LEASE

if TYPE_CHECKING:
    from tests.sim.clients import Client
    from tests.sim.requests import Request
    from tests.sim.world import World

LEFTOVERS_GONE = 8.0
"""Seconds after the idle time of a session within which nothing is held of clients that have left: a lease, and a sweep."""
FULL = 4
"""Processes of a server at a bridge, by which there may be too few for all sessions."""
SLACK = 5.0
"""Seconds beyond a lease within which everything is answered once the last fault is over."""


def all_requests(clients: Iterable[Client]) -> list[Request]:
    """Every request made."""
    return [request for client in clients for request in client.requests]


def most_starts(world: World) -> int:
    """How many servers one call may kill: an edge that hears of a start late may have sent the call again by then."""
    return 2 * RUNS_MOST if world.delays else RUNS_MOST


def check_answers(world: World, clients: list[Client]) -> None:
    """Each accepted request got its one answer, in time, and no answer claims what is not so."""
    unheard = {client.name for client in clients if getattr(client, "missed", False)}
    for request in all_requests(clients):
        starts = world.started.get(request.key, [])
        asked_for_input = request.arguments.get("input", False)
        if (request.tool == "write" or asked_for_input) and len(starts) > 1:
            world.violated(f"{request!r} may not be repeated and was started by {starts}")
        if request.arguments.get("poison") and len(starts) > most_starts(world):
            world.violated(f"{request!r} killed {len(starts)} servers: {starts}")
        if request.open:
            world.violated(f"{request!r} was never answered")
        for answer in request.answers:
            if request.client in unheard and request.asks:
                continue  # its server's question went out on a connection that broke before it could be resumed
            if not (request.cancelled or request.lapsed):
                _check_answer(world, request, starts, answer.reason, answer.message)
            if answer.retryable and request.tool and starts:
                world.violated(f"{request!r} was started and called retryable: {answer.message}")
            settled = max(request.posted, world.quiet_since)
            full = world.settings.most <= FULL  # an initialize, and all behind it, may wait for a session to give way
            waited_for_room = full and (request.session or not request.tool)
            slack = SLACK + (RESTART_MOST if "poisoned call" in world.faults else 0.0)
            if answer.at > settled + request.delay + LEASE + slack and not waited_for_room:
                world.violated(f"{request!r} hung: answered {answer.at - settled:.1f} s after the last fault: {answer.message}")


def _check_answer(world: World, request: Request, starts: list[str], reason: str, message: str) -> None:
    if reason == "deadline":
        world.violated(f"{request!r} ran to its deadline: {message}")
    elif reason == "too_large":
        world.did("too large")
        size = max(len(str(request.arguments)), request.arguments.get("big", 0))
        if size < world.settings.largest_message_bytes / 4:
            world.violated(f"{request!r} is not too large: {message}")
    elif reason == "invalid":
        if not any(behaviour.unreadable for behaviour in world.settings.behaviours.values()):
            world.violated(f"{request!r}: {message}")
    elif reason and not world.faults and not (reason == "overloaded" and world.settings.most <= FULL):
        world.violated(f"{request!r} failed in a healthy fabric: {message}")
    elif reason == "outcome_unknown" and not request.edge.touched:
        untouched = [process for process in world.processes if process.name in starts and not process.touched]
        if untouched or not any(process.touched for process in world.processes):
            world.violated(f"{request!r}: {message}; but {request.edge.name} and {starts} lived untouched")


LASTING = frozenset(
    {"incarnation", "connected", "settled", "sure", "peers", "given_up", "lanes", "unsent_lanes", "unsent", "stale_deadlines"}
    | {"finished", "processes", "openings", "health", "reason", "eras", "starting", "warm", "slots", "initialized"}
    | {"questions"}
)
"""The fields of snapshots that may be more than zero in a process that nobody uses."""


def leftovers(world: World) -> list[str]:
    """What is still held though nobody is there any more."""
    found: list[str] = []
    for process in world.processes:
        if process.alive:
            found += [f"{process.name} holds {what}" for what in held(process.core.snapshot(process.clock))]
    found += [f"the queue of {server} holds {len(queue)}" for server, queue in world.broker.queues.items() if queue]
    return found


def held(snapshot: msgspec.Struct) -> list[str]:
    """The amounts in a snapshot that are zero in a process which nobody uses."""
    found: list[str] = []
    for name, value in msgspec.structs.asdict(snapshot).items():
        if name in LASTING:
            continue
        if isinstance(value, dict):
            found += [f"{server}: {what}" for server, part in value.items() for what in held(part)]
        elif value:
            found.append(f"{name}={value}")
    return found


def finish(world: World, clients: list[Client]) -> None:
    """Let everything be answered, have the clients leave, wait until nothing is left, and judge."""
    world.run(max(0.0, world.quiet_since - world.now))
    world.run_until(lambda: not any(client.unmade or client.waits for client in clients), 70.0)
    world.run(0.5)
    for client in clients:
        client.leave()
    world.run(0.3)
    left = world.settings.session_idle + LEFTOVERS_GONE
    unreachable = any(request.asks and request.excused for request in all_requests(clients))
    if world.settings.most <= FULL or unreachable:  # an initialize may still wait for room, or a server for its client's reply
        left += world.settings.limits.idle
    if any("retired=" in what for what in leftovers(world)):  # a call parked in one may go on
        left += INPUT_IN
    while (held := leftovers(world)) and left > 0:
        world.run(0.5)
        left -= 0.5
    for what in [*held, *world.conflicts]:
        world.violated(str(what))
    check_answers(world, clients)

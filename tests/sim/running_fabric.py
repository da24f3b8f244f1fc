"""A running fabric for a test of a world, and the small steps that the stories of these tests are made of.

Used by the test_*_worlds.py files. It uses the world, its processes and clients, and the rules of invariants.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from fabric.envelope import Envelope, Kind, Pack
from tests.sim.clients import Client
from tests.sim.invariants import finish
from tests.sim.process import BridgeProcess, Process
from tests.sim.requests import Request
from tests.sim.world import Plant, Settings, World

both_brokers = pytest.mark.parametrize("keeps", [False, True], ids=["forgets", "keeps"])
"""Run a test twice: with a broker that forgets what it has delivered, and with one that keeps work until it is acknowledged."""


def running_fabric(
    *, keeps: bool = False, edges: int = 1, bridges: int = 1, plant: Plant | None = None, **settings: Any
) -> World:
    """A world of edges and bridges that know each other, with their servers started. plant: a bug to put into each core."""
    world = World(1, Settings(keeps=keeps, **settings), plant=plant)
    for _ in range(edges):
        world.edge()
    for _ in range(bridges):
        world.bridge()
    world.run(1.5)
    return world


def until_started(world: World, request: Request, timeout: float = 5.0) -> BridgeProcess:
    """Let time pass until a server has begun this call; returns its bridge."""
    assert world.run_until(lambda: request.key in world.started, timeout), f"{request!r} was not started"
    name = world.started[request.key][-1]
    return next(process for process in world.processes if process.name == name and isinstance(process, BridgeProcess))


def until_answered(world: World, request: Request, timeout: float) -> str:
    """Let time pass until the answer; returns the fabric's reason for it, empty for an answer of the server's own."""
    assert world.run_until(lambda: bool(request.answers), timeout), f"{request!r} was not answered within {timeout} s"
    return request.answers[0].reason


def last_request(client: Client) -> Request:
    """The newest request of a client."""
    return client.requests[-1]


def envelopes_of(pack: Pack, kind: Kind) -> list[Envelope]:
    """The envelopes of one kind in a pack."""
    return [envelope for envelope in pack.envelopes if envelope.kind is kind]


def delay_packs(world: World, kind: Kind, source: str, seconds: float | None, *, to: str = "") -> None:
    """Have the broker delay by `seconds` each pack of the process `source` with an envelope of this kind; with None, drop it.

    to: only packs for the process of this name.
    """

    def intercept(process: Process, pack: Pack) -> float | None:
        matches = pack.source == source and envelopes_of(pack, kind) and to in ("", process.name)
        return seconds if matches else 0.0

    world.broker.intercept = intercept


def assert_all_rules_held(world: World, *clients: Client) -> None:
    """End the story: wait for all answers, have the clients leave, and check every rule of invariants.py."""
    finish(world, list(clients))
    assert not world.violations, world.violations


def no_process_was_given_up(world: World) -> bool:
    """Whether no process has judged another to be dead."""
    return not any(process.core.snapshot(process.clock).given_up for process in world.processes)

"""A run of one seed: edges, bridges and clients make calls for some seconds under faults, then all is quiet and is judged.

There are four kinds of seeds: plain ones; slow ones, in which servers and clients read slowly; varied ones, in which
clients, people and servers do what they never do in the others (deeds.py); and crossed ones, in which modern clients use a
legacy server. In each of them the server of legacy clients may speak only the modern revision.
"""

from __future__ import annotations

from functools import partial
from random import Random

from fabric.core.bridge.processes.health import Checks
from tests.sim import deeds
from tests.sim.clients import Client, LongLink
from tests.sim.faults import FAULTS, KEPT_ONLY, SLOW
from tests.sim.http_clients import Http
from tests.sim.invariants import finish
from tests.sim.servers import Era
from tests.sim.world import SERVERS, Plant, Settings, World

QUICK = Checks(interval=1.0, timeout=0.4, down=2, up=1, patience=2.0)
"""Health checks that replace a hung server within a run."""
CALLS_END = 4.0
"""Seconds during which calls are made and faults begin."""


def run(
    seed: int,
    *,
    slow: bool = False,
    varied: bool = False,
    crossed: bool = False,
    modern_only: bool = False,
    plant: Plant | None = None,
    verbose: bool = False,
) -> World:
    """Run one seed to its end; the broken rules are in the world's `violations`.

    slow: servers and clients read slowly at times, and calls are longer. crossed: the clients are modern and their server is
    legacy. modern_only: the server of legacy clients speaks only the modern revision. plant: a bug to put into each core.
    verbose: print the run's story.
    """
    servers = SERVERS | ({"old": Era.MODERN_ONLY} if modern_only else {})
    if varied:
        return _varied(seed, servers, plant, verbose=verbose)
    random = Random(f"crossed {seed}" if crossed else seed)
    make, ask = (_crossed_client, _crossed_call) if crossed else (_client, _call)
    keeps = random.random() < 0.5
    settings = Settings(keeps=keeps, servers=servers, slots=random.choice((2, 8)))
    world = World(seed, settings, plant=plant, verbose=verbose)
    for _ in range(random.choice((1, 2))):
        world.edge()
    for _ in range(random.choice((1, 2, 2, 3))):
        world.bridge()
    clients = [make(world, random, number) for number in range(random.choice((2, 3, 4, 5)))]
    for client in clients:
        for _ in range(random.randint(2, 5)):
            world.after(random.uniform(0.0, CALLS_END), ask, client, random)
    faults = random.sample([fault for fault in FAULTS if fault not in KEPT_ONLY], random.choice((0, 2, 5, 7, 9, 10)))
    faults += [fault for fault in KEPT_ONLY if faults and keeps and random.random() < 0.5]
    for fault in faults:
        world.after(random.uniform(0.2, CALLS_END), fault, world, random)
    if slow:
        _slow(world, clients, Random(f"slow {seed}"))  # a chance of its own, so that the rest is as in the plain seed
    world.run(CALLS_END + 0.5)
    finish(world, clients)
    return world


def _varied(seed: int, servers: dict[str, Era], plant: Plant | None, *, verbose: bool) -> World:
    random = Random(f"varied {seed}")
    keeps = random.random() < 0.5
    checked = random.random() < 0.3
    settings = Settings(
        keeps=keeps,
        servers=servers,
        slots=random.choice((2, 8)),
        most=random.choice((2, 4, 16)),
        largest_message_bytes=random.choice((8_192, 1_000_000)),
        session_idle=30.0,
        checks=QUICK if checked else Checks(),
    )
    world = World(seed, settings, plant=plant, verbose=verbose)
    for _ in range(random.choice((1, 2))):
        world.edge()
    for _ in range(random.choice((1, 2, 2))):
        world.bridge()
    clients = [deeds.client(world, random, number) for number in range(random.choice((4, 6)))]
    for client in clients:
        for _ in range(random.randint(1, 3)):
            world.after(random.uniform(0.0, CALLS_END), deeds.call, client, random)
    for deed in random.sample(deeds.DEEDS, 4):
        if deed is not (deeds.restart_server if checked else deeds.hang):  # checks ignore retired processes
            for _ in range(3):
                world.after(random.uniform(0.3, CALLS_END), deed, world, random)
    for fault in random.sample([fault for fault in FAULTS if fault not in KEPT_ONLY], random.choice((0, 0, 1, 3))):
        world.after(random.uniform(0.2, CALLS_END), fault, world, random)
    world.run(CALLS_END + 0.5)
    finish(world, list(world.clients.values()))
    return world


def _slow(world: World, clients: list[Client], random: Random) -> None:
    for fault in random.choices(SLOW, k=random.choice((2, 4, 8))):
        world.after(random.uniform(0.2, CALLS_END), fault, world, random)
    for client in clients:
        for _ in range(random.randint(1, 3)):
            text, flood = "x" * random.choice((0, 2_000, 6_000)), random.choice((0, 0, 40))
            call = partial(client.call, random.choice(("read", "write")), text=text, flood=flood)
            when = random.uniform(0.0, CALLS_END)
            world.after(when, call)
            if flood:
                world.after(when + 0.02, SLOW[1], world, random)  # often the client that is being written to


def _client(world: World, random: Random, number: int) -> Client:
    legacy = random.random() < 0.5
    server = "both" if random.random() < 0.3 else "old" if legacy else "tools"
    if random.random() < 0.5:
        return LongLink(world, f"long{number}", server, legacy=legacy)
    roams = random.random() < 0.5
    return Http(world, f"http{number}", server, legacy=legacy, roams=roams, answer_only=number % 3 == 2)


def _call(client: Client, random: Random) -> None:
    id = random.choice((None, None, None, b"70", b'"70"'))
    client.call(
        random.choice(("read", "write")),
        id=id,
        cancel_after=random.choice((0.0, 0.02, 0.5)) if id is None and random.random() < 0.15 else None,
        delay=random.choice((0.0, 0.0, 0.02, 0.3, 1.5)),
        progress=random.choice((0, 0, 3)),
        ask=client.legacy and random.random() < 0.2,
    )


def _crossed_client(world: World, random: Random, number: int) -> Client:
    if random.random() < 0.5:
        return LongLink(world, f"long{number}", "old", legacy=False)
    return Http(world, f"http{number}", "old", legacy=False, answer_only=number % 3 == 2)


def _crossed_call(client: Client, random: Random) -> None:
    questions = random.choice((0, 0, 1, 2))
    client.call(
        "write" if questions else random.choice(("read", "write")),
        cancel_after=random.choice((0.0, 0.02, 0.5)) if random.random() < 0.15 else None,
        delay=random.choice((0.0, 0.0, 0.02, 0.3, 1.5)),
        progress=random.choice((0, 0, 3)),
        ask=questions,
    )

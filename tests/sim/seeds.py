"""A seed's run: some edges, bridges and clients, a few seconds of calls with faults among them, then quiet and the judgement."""

from __future__ import annotations

from random import Random

from tests.sim.clients import Client, Http, LongLink
from tests.sim.faults import FAULTS, KEPT_ONLY
from tests.sim.invariants import all_requests, check_answers, leftovers
from tests.sim.world import Plant, Settings, World

CALLS_END = 4.0
"""Seconds in which calls are made and faults begin."""


def run(seed: int, *, plant: Plant | None = None, verbose: bool = False) -> World:
    """Run one seed to its end; what went wrong is in the world's `violations`."""
    random = Random(seed)
    keeps = random.random() < 0.5
    settings = Settings(keeps=keeps, slots=random.choice((2, 8)))
    world = World(seed, settings, plant=plant, verbose=verbose)
    for _ in range(random.choice((1, 2))):
        world.edge()
    for _ in range(random.choice((1, 2, 2, 3))):
        world.bridge()
    clients = [_client(world, random, number) for number in range(random.choice((2, 3, 4, 5)))]
    for client in clients:
        for _ in range(random.randint(2, 5)):
            world.after(random.uniform(0.0, CALLS_END), _call, client, random)
    possible = FAULTS if keeps else tuple(fault for fault in FAULTS if fault not in KEPT_ONLY)
    for fault in random.sample(possible, random.choice((0, 1, 3, 4, 5, 6))):
        world.after(random.uniform(0.2, CALLS_END), fault, world, random)
    finish(world, clients)
    return world


def _client(world: World, random: Random, number: int) -> Client:
    legacy = random.random() < 0.5
    server = "old" if legacy else "tools"
    if random.random() < 0.5:
        return LongLink(world, f"long{number}", server, legacy=legacy)
    return Http(world, f"http{number}", server, legacy=legacy, roams=random.random() < 0.5)


def _call(client: Client, random: Random) -> None:
    legacy = getattr(client, "legacy", False)
    id = random.choice((None, None, None, b"7", b'"7"'))
    client.call(
        random.choice(("read", "write")),
        id=id,
        cancel_after=random.choice((0.0, 0.02, 0.5)) if id is None and random.random() < 0.15 else None,
        delay=random.choice((0.0, 0.0, 0.02, 0.3, 1.5)),
        progress=random.choice((0, 0, 3)),
        ask=legacy and random.random() < 0.2,
    )


def _unfinished(clients: list[Client]) -> bool:
    return any(client.unmade for client in clients) or any(request.open for request in all_requests(clients))


def finish(world: World, clients: list[Client]) -> None:
    """Let everything be answered, have the clients leave, wait until nothing is left, and judge."""
    world.run(CALLS_END + 0.5)
    world.run(max(0.0, world.quiet_since - world.now))
    world.run_until(lambda: not _unfinished(clients), 70.0)
    world.run(0.5)
    for client in clients:
        client.leave()
    world.run(0.3)
    left = 40
    while (held := leftovers(world)) and left:
        world.run(0.5)
        left -= 1
    for what in held:
        world.violated(what)
    check_answers(world, clients)

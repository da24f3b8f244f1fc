"""A core's snapshot counts every table that the core has: one that was forgotten could grow, and no run would notice."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from random import Random
from types import FunctionType, MethodType
from typing import Any

import msgspec
import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.snapshot import BridgeSnapshot
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from fabric.core.edge.snapshot import EdgeSnapshot
from fabric.core.peers.core import MemberCore
from tests.sim import deeds
from tests.sim.clients import LongLink
from tests.sim.faults import FAULTS
from tests.sim.http_clients import Http
from tests.sim.running_fabric import running_fabric
from tests.sim.seeds import run
from tests.sim.world import World

MEMBER = {
    "Leases.peers": "peers",
    "Pairs._raised": "given_up",
    "Pairs._pairs": "lanes",
    "Pairs.dirty": "unsent_lanes",
    "Pair.pending": "unsent",
    "Outgoing.kept": "unacknowledged",
    "Incoming.held": "early",
}
EDGE = MEMBER | {
    "CorrelationRouter.exchanges": "exchanges",
    "ReturnedWork.servers": "returned",
    "Deadlines._due": "deadlines",
    "HttpResponses.open": "http_requests",
    "HttpRequests.batches": "batches",
    "HttpBatch.open": "batch_members",
    "HttpRequests.awaiting_owner": "requests_awaiting_owner",
    "ToolLists.listing": "tool_lists",
    "ToolList.waiting": "calls_awaiting_tools",
    "LongLinks.open": "long_links",
    "LongLinks.bound": "sessions",
    "LongLink._open": "on_long_links",
    "LongLink._by_client_id": "on_long_links",
    "LongLink._held": "behind_initialize",
    "LongLinks.crowding": "crowded_links",
    "SlowLinks.behind": "slow_links",
    "_SlowLink.held": "slow_holds",
    "_SlowLink.notices": "kept_notices",
}
BRIDGE = MEMBER | {
    "ProcessRegistry.by_id": "processes",
    "Pool.children": "processes",
    "Pool._warm": "warm",
    "Renewal._retired": "retired",
    "Slots.waiting": "awaiting_process",
    "Turns.waiting": "awaiting_turn",
    "Child.jobs": "running",
    "Child.backlog": "unwritten",
    "Legacy._requests": "unanswered_by_clients",
    "InitializedProcesses._open": "initialized",
    "InitializedProcesses._used": "initialized",
    "ModernOnLegacy._own": "own_requests",
    "Listeners._open": "listeners",
    "InputCall.open": "questions",
    "Jobs.open": "jobs",
    "Delay._due": "untold",
    "PendingDeliveries._waiting": "deliveries",
    "PendingDeliveries.answered": "unacknowledged_answers",
    "EarlyCancels.waiting": "early_cancels",
    "Deadlines._due": "timers",
    "Sessions.open": "sessions",
    "Session.streams": "streams",
    "Stream._kept": "kept_messages",
    "Session.jobs": "session_requests",
    "Session.holds": "session_holds",
    "Holds.crowding": "crowded_sessions",
    "Eviction._waiting": "openings",
}
"""The field of a snapshot that counts each table of a core; a field of its servers, summed over them."""

UNCOUNTED = {
    "EdgeCore._out": "given out by each call",
    "BridgeCore._out": "given out by each call",
    "ObserverCore._out": "given out by each call",
    "Deadlines._heap": "bounded by the deadlines",
    "Leases._sent": "the newest 64 announcements",
    "Crowd._members": "one for each worker under lease",
    "Crowd._seen_by_others": "compared, and forgotten within a lease",
    "Detours._needed": "made anew at each look",
    "Detours._rooms": "made anew at each look",
    "Detours._takers": "made anew at each look",
    "Detours._gone": "forgotten after some minutes",
    "_Room.free": "one for each server of a bridge under lease",
    "ServerDirectory._now": "made anew at each look",
    "ServerDirectory._able": "made anew at each look",
    "ServerDirectory._modern": "made anew at each look",
    "ServerDirectory._ill": "made anew at each look",
    "ServerDirectory._last": "one for each server that was ever served",
    "CorrelationRouter.finished": "one for each server and outcome",
    "CorrelationRouter._tails": "made 16 at a time",
    "ToolLists._catalogs": "one for each server that was ever listed",
    "Catalog.tools": "bounded by OVERHEARD_TOOLS",
    "Exchange.sendings": "part of an exchange, which is counted",
    "Answers._frames": "part of a batch, which is counted",
    "LongLink.holds": "at most one for each of four reasons",
    "Jobs.finished": "one for each server and outcome",
    "BridgeCore.pools": "given once",
    "ProcessRegistry._counts": "one for each server",
    "Renewal._seen": "the newest 16",
    "Probe._asked": "at most two questions",
    "Probe._open": "at most two questions",
    "Eviction._looked": "one for each server",
    "InitializedProcesses._awaited": "jobs of Slots.waiting, which are counted",
    "AskingCalls._ended": "at most REPLAYED calls",
    "InputCall.answers": "at most ANSWERS",
    "InputCall.repeats": "jobs, which are counted",
    "ObserverCore._restart": "one for each server",
}
"""Why a table is in no snapshot."""


class Table(msgspec.Struct):
    """A table of a core: its size, and its names by class and attribute, for several parts may have it."""

    size: int
    names: set[str] = msgspec.field(default_factory=set)


def tables(core: MemberCore) -> list[Table]:
    """All tables of a core, and of all that it is made of."""
    found = dict[int, Table]()
    seen, waiting = {id(core)}, deque[object]([core])
    while waiting:
        owner = waiting.popleft()
        for name, value in _attributes(owner):
            if isinstance(value, dict | list | set | deque):
                found.setdefault(id(value), Table(_size(value))).names.add(f"{type(owner).__name__}.{name}")
            for part in _parts(value):
                if id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)
    return list(found.values())


def sizes(core: MemberCore) -> Counter[str]:
    """The sizes of all tables of each name together."""
    together = Counter[str]()
    for table in tables(core):
        together.update(dict.fromkeys(table.names, table.size))
    return together


def _attributes(owner: object) -> Iterator[tuple[str, Any]]:
    names = [name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in dict.fromkeys([*names, *getattr(owner, "__dict__", {}), *getattr(owner, "__struct_fields__", ())]):
        if not name.startswith("__") and hasattr(owner, name):
            yield name, getattr(owner, name)


def _parts(value: Any) -> Iterator[object]:
    """What may have tables of its own in a value; frozen records are values, and have none that change."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _parts(each)
    elif isinstance(value, list | set | deque | tuple):
        for each in value:
            yield from _parts(each)
    elif type(value).__module__.startswith(("fabric.", "tests.")) and not isinstance(value, type | FunctionType | MethodType):
        is_value = isinstance(value, msgspec.Struct) and value.__struct_config__.frozen
        yield from () if is_value else (value,)


def _size(value: Any) -> int:
    """How many entries it has, in all tables inside it."""
    inner = list(value.values()) if isinstance(value, dict) else []
    if inner and all(isinstance(each, dict | list | set | deque) for each in inner):
        return sum(map(_size, inner))
    return len(value)


def counted(core: MemberCore) -> dict[str, str]:
    """The field of its snapshot for each table."""
    return EDGE if isinstance(core, EdgeCore) else BRIDGE if isinstance(core, BridgeCore) else MEMBER


def uncounted(core: MemberCore) -> set[str]:
    """The tables of a core that are not in its snapshot, though nothing says why."""
    known = counted(core).keys() | UNCOUNTED.keys()
    return {min(table.names) for table in tables(core) if known.isdisjoint(table.names)}


def amount(snapshot: msgspec.Struct, field: str) -> int:
    """What a snapshot says, or its servers together."""
    if hasattr(snapshot, field):
        return int(getattr(snapshot, field))
    assert isinstance(snapshot, BridgeSnapshot)
    return sum(getattr(server, field) for server in snapshot.servers.values())


def wrong(core: MemberCore, now: float) -> list[str]:
    """The tables of which the snapshot says another size than they have."""
    found, snapshot = sizes(core), core.snapshot(now)
    compared = {table: (found[table], amount(snapshot, field)) for table, field in counted(core).items()}
    return [f"{table} has {size}, the snapshot says {said}" for table, (size, said) in compared.items() if size != said]


# ---------------------------------------------------------------- tests
SELDOM = frozenset(
    {"EarlyCancels.waiting", "Child.backlog", "Eviction._waiting", "Holds.crowding", "HttpBatch.open", "ReturnedWork.servers"}
    | {"HttpRequests.batches", "Legacy._requests", "LongLinks.crowding", "Pairs._raised", "Renewal._retired", "Session.holds"}
    | {"HttpRequests.awaiting_owner", "Slots.waiting", "SlowLinks.behind", "ToolList.waiting", "Turns.waiting"}
    | {"Pair.pending", "Pairs.dirty", "_SlowLink.held", "_SlowLink.notices"}
    | {"InitializedProcesses._open", "InitializedProcesses._used", "ModernOnLegacy._own", "Listeners._open", "InputCall.open"}
)
"""Tables that the busy world may leave empty; they are looked for, and compared, all the same."""


def busy(seed: int, *, keeps: bool) -> Iterator[World]:
    """A world in which much happens, at many moments."""
    random = Random(seed)
    world = running_fabric(
        keeps=keeps, edges=2, bridges=2, slots=2, most=4, session_idle=30.0, limits=Limits(20.0, 60.0), lane_bytes=100_000
    )
    world.observer()
    clients = [deeds.client(world, random, number) for number in range(12)]
    for step in range(150):
        deeds.call(random.choice(clients), random)
        if step % 10 == 5:
            random.choice(deeds.DEEDS)(world, random)
        if step % 40 == 20:
            random.choice(FAULTS)(world, random)
        world.run(random.choice((0.0005, 0.02, 0.2)))
        if step % 2:
            yield world


@pytest.mark.parametrize("keeps", [False, True], ids=["unkept", "kept"])
def test_every_table_of_a_core_is_counted_in_its_snapshot_at_any_moment(keeps: bool) -> None:
    filled = set[str]()
    for world in busy(7, keeps=keeps):
        for process in world.processes:
            if process.alive:
                assert not uncounted(process.core), process.name
                assert wrong(process.core, process.clock) == []
                filled |= {table for table, size in sizes(process.core).items() if size}
    assert (EDGE | BRIDGE).keys() - filled <= SELDOM


def test_every_exchange_is_counted_once_when_it_has_ended() -> None:
    counted = 0
    for seed in range(8):
        world = run(seed, varied=True)
        for process in world.processes:
            if process.alive and isinstance(process.core, EdgeCore):
                ended = sum(process.core.snapshot(process.clock).finished.values())
                assert ended == process.core.router._count, (seed, process.name)
                counted += ended
    assert counted > 100


def test_a_table_that_the_snapshot_forgets_is_noticed() -> None:
    world = running_fabric()
    for process in (world.edges[0], world.bridges[0]):
        assert not uncounted(process.core)
    world.edges[0].core.long_links.forgotten = {}  # type: ignore[attr-defined]
    world.bridges[0].core.sessions.holds.forgotten = deque()  # type: ignore[attr-defined]
    assert uncounted(world.edges[0].core) == {"LongLinks.forgotten"}
    assert uncounted(world.bridges[0].core) == {"Holds.forgotten"}


def test_a_core_shows_in_one_line_what_it_holds_for_whom() -> None:
    world = running_fabric()
    Http(world, "a", "tools", legacy=False).call("read", delay=5.0)
    LongLink(world, "b", "old", legacy=True).call("read", delay=5.0)
    world.run(1.0)
    edge, bridge = repr(world.edges[0].core), repr(world.bridges[0].core)
    assert edge.startswith("<EdgeCore edge1 connected settled ")
    assert "exchanges=2" in edge
    assert "long_links=1 sessions=1" in edge
    assert "batches" not in edge
    assert "jobs=2" in bridge
    assert isinstance(world.edges[0].core.snapshot(0.0), EdgeSnapshot)
    observer = world.observer()
    world.run(1.0)
    assert repr(observer.core).startswith("<ObserverCore observer3 connected settled peers=2")

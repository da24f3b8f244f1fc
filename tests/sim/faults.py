"""Faults: functions that each do one kind of harm to a world, count it there, and say how long it lasts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tests.sim.http_clients import Post, Stream
from tests.sim.process import ObserverProcess, Process

if TYPE_CHECKING:
    from tests.sim.world import World

Fault = Callable[["World", Random], None]


def counted(world: World) -> dict[str, int]:
    """How often each kind of fault has happened in this world."""
    return world.faults | {"clock skew": len(world.processes)}


def _process(world: World, random: Random) -> Process | None:
    workers = [process for process in world.processes if not isinstance(process, ObserverProcess)]
    living = [process for process in workers if process.alive and not process.frozen and not process.leaving]
    return random.choice(living) if living else None


def _window(world: World, random: Random, kind: str, low: float, high: float) -> None:
    """Raise one of the broker's probabilities for a while; the broker counts each message that it harms."""
    seconds = random.uniform(0.5, 3.0)
    setattr(world.broker, kind, random.uniform(low, high))
    world.after(seconds, setattr, world.broker, kind, 0.0)
    world.quiet_since = max(world.quiet_since, world.now + seconds)


def losses(world: World, random: Random) -> None:
    """The broker drops messages to inboxes, topics and work it does not keep."""
    _window(world, random, "loss", 0.01, 0.3)
    if world.broker.loss > 0.02:  # enough to silence a process for a lease
        for process in world.processes:
            process.touched.append("loss")


def doubles(world: World, random: Random) -> None:
    """The broker delivers messages twice, the second time up to a second later."""
    _window(world, random, "doubling", 0.05, 0.5)


def reorders(world: World, random: Random) -> None:
    """Messages overtake each other."""
    _window(world, random, "reordering", 0.05, 0.5)


def lost_acks(world: World, random: Random) -> None:
    """Acknowledgements of kept work are lost, so the broker delivers it again."""
    _window(world, random, "ack_loss", 0.2, 1.0)


def refusals(world: World, random: Random) -> None:
    """The broker refuses publishes and reports it."""
    _window(world, random, "refusal", 0.02, 0.3)
    for process in world.processes:
        process.touched.append("refusals")


def lost_confirms(world: World, random: Random) -> None:
    """Publishes arrive and are not confirmed."""
    _window(world, random, "confirm_loss", 0.05, 0.5)


def redelivery(world: World, random: Random) -> None:
    """The broker delivers again what living bridges hold."""
    for again in range(20):
        world.after(again * 0.02, _redeliver, world)


def _redeliver(world: World) -> None:
    for bridge in world.bridges:
        world.broker.redeliver(bridge)


def stall(world: World, random: Random) -> None:
    """The broker stands still, then goes on."""
    seconds = random.choice((0.3, 1.0, 2.0, 5.0))
    world.fault("stall", lasts=seconds)
    world.broker.stalled_until = world.now + seconds


def restart(world: World, random: Random) -> None:
    """The broker dies and comes back empty."""
    down = random.choice((0.05, 0.5, 2.0))
    world.fault("restart", lasts=down + 0.4)
    world.broker.restart(down)


def _cut(world: World, random: Random, kind: str, *, deaf: bool, mute: bool) -> None:
    process = _process(world, random)
    if process is not None:
        seconds = random.choice((0.3, 1.0, 2.0, 5.0))
        world.fault(kind, lasts=seconds)
        process.touched.append(kind)
        world.broker.cut_off(process, seconds, deaf=deaf, mute=mute)


def deafness(world: World, random: Random) -> None:
    """A process receives nothing for a while."""
    _cut(world, random, "deafness", deaf=True, mute=False)


def muteness(world: World, random: Random) -> None:
    """No message of a process is delivered for a while."""
    _cut(world, random, "muteness", deaf=False, mute=True)


def partition(world: World, random: Random) -> None:
    """A process and the broker exchange nothing for a while."""
    _cut(world, random, "partition", deaf=True, mute=True)


def disconnect(world: World, random: Random) -> None:
    """A connection breaks, and is made again."""
    process = _process(world, random)
    if process is not None:
        back = random.choice((0.05, 0.5, 4.0))
        world.fault("disconnect", lasts=back)
        process.touched.append("disconnect")
        world.broker.disconnect(process, back_after=back, late=random.random() < 0.5)


def freeze(world: World, random: Random) -> None:
    """A process is stopped for a while, as by SIGSTOP."""
    process = _process(world, random)
    if process is not None:
        seconds = random.choice((0.2, 1.0, 4.0, 10.0))
        world.fault("freeze", lasts=seconds)
        process.touched.append("freeze")
        process.freeze()
        world.after(seconds, process.thaw)


def kill_bridge(world: World, random: Random) -> None:
    """A bridge is killed; another starts."""
    if world.bridges:
        world.fault("kill bridge", lasts=0.5)
        random.choice(world.bridges).kill()
        world.after(random.uniform(0.05, 0.5), world.bridge)


def late_flush(world: World, random: Random) -> None:
    """A bridge is killed while its last packs are on their way; they arrive late."""
    if world.bridges:
        bridge = random.choice(world.bridges)
        seconds = random.choice((0.0, 0.5, 4.0))
        world.fault("late flush", lasts=max(0.5, seconds))
        world.broker.cut_off(bridge, seconds, deaf=False, mute=True)
        world.after(min(seconds, 0.02), bridge.kill, True)
        world.after(random.uniform(0.05, 0.5), world.bridge)


def kill_edge(world: World, random: Random) -> None:
    """An edge is killed; another starts."""
    edges = world.edges
    if edges:
        world.fault("kill edge", lasts=0.5)
        random.choice(edges).kill(late=random.random() < 0.5)
        world.after(random.uniform(0.05, 0.5), world.edge)


def retire(world: World, random: Random) -> None:
    """A new process joins, and an old one of its kind drains and leaves."""
    process = _process(world, random)
    if process is not None:
        world.fault("retire", lasts=1.0)
        process.touched.append("retire")
        if process in world.edges:
            world.edge()
        else:
            world.bridge()
        world.after(0.5, process.retire)  # type: ignore[attr-defined]  # every process of a world has it


def crash(world: World, random: Random) -> None:
    """An MCP server dies by itself."""
    children = [child for bridge in world.bridges if not bridge.frozen for child in bridge.children.values()]
    if children:
        child = random.choice(children)
        world.fault("server crash", lasts=0.3)
        world.processes[[process.name for process in world.processes].index(child.bridge_name)].touched.append("server crash")
        child.crash()


def drop(world: World, random: Random) -> None:
    """Connections of legacy HTTP clients break while all processes live."""
    for edge in world.edges:
        for link, end in list(edge.links.items()):
            legacy = isinstance(end, (Post, Stream)) and end.client.legacy and not getattr(end, "over", False)
            if legacy and not edge.frozen and random.random() < 0.8:
                world.fault("drop")
                edge.drop(link)


def slow_server(world: World, random: Random) -> None:
    """A server process reads nothing for a while, as a busy one would."""
    children = [child for bridge in world.bridges for child in bridge.children.values() if not child.stdin.stopped]
    if children:
        seconds = random.choice((0.3, 1.0, 4.0))
        world.fault("slow server", lasts=seconds)
        stdin = random.choice(children).stdin
        stdin.stop()
        world.after(seconds, stdin.go)


def slow_client(world: World, random: Random) -> None:
    """A client reads nothing for a while on one of its links."""
    links = [(edge, link) for edge in world.edges for link in edge.links if link not in edge.wires]
    if links:
        seconds = random.choice((0.3, 1.0, 4.0))
        world.fault("slow client", lasts=seconds)
        edge, link = random.choice(links[-8:])  # older links of HTTP are over
        world.after(seconds, edge.stop_taking(link).go)


SLOW: tuple[Fault, ...] = (slow_server, slow_client)
"""Faults of slow seeds: they may delay answers and change nothing else."""
FAULTS: tuple[Fault, ...] = (
    losses, doubles, reorders, lost_acks, refusals, lost_confirms, redelivery, stall, restart, deafness, muteness, partition,
    disconnect, freeze, kill_bridge, late_flush, kill_edge, retire, crash, drop,
)  # fmt: skip
KEPT_ONLY: tuple[Fault, ...] = (lost_acks, redelivery, lost_confirms)
"""Faults that only a broker that keeps work can have."""

KINDS = (
    "loss", "double", "reorder", "lost ack", "refused publish", "lost confirm", "redelivery", "stall", "restart", "deafness",
    "muteness", "partition", "disconnect", "freeze", "late flush", "kill bridge", "kill edge", "retire", "server crash",
    "drop", "clock skew",
)  # fmt: skip
"""The names under which faults are counted."""

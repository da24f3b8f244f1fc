"""A world: one seeded clock and one queue of what is to happen, with real cores in it and everything else simulated.

Nothing in it runs beside the queue, so a seed is a run: the same faults at the same moments, the same bytes, the same end.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.processes.health import Checks
from fabric.core.bridge.processes.limits import START_TIMEOUT, ServerLimits
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from fabric.core.events import FrameArrived, PackArrived, RequestPosted, ServerFrame, WorkArrived
from fabric.core.peers.member import Identity
from fabric.core.peers.observer import ObserverCore
from fabric.envelope import Envelope, Kind, Pack
from tests.sim.broker import SimBroker
from tests.sim.process import BridgeProcess, EdgeProcess, ObserverProcess, Process
from tests.sim.servers import Era, Manner

if TYPE_CHECKING:
    from tests.sim.clients import Client

SERVERS = {"tools": Era.MODERN, "old": Era.LEGACY, "both": Era.DUAL}
"""The servers of every world, unless it says otherwise."""

Plant = Callable[[EdgeCore | BridgeCore], None]
"""Puts a bug into a new core, by giving one of its parts a faulty subclass."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is made of. keeps: the broker keeps work. Servers, and how they behave, are by name; slots and most are of
    each bridge's pool. starting: seconds that a server takes to start, beside some milliseconds. start_timeout: seconds
    that it may take."""

    keeps: bool = False
    servers: dict[str, Era] = msgspec.field(default_factory=lambda: dict(SERVERS))
    manners: dict[str, Manner] = {}
    slots: int = 8
    most: int = 16
    starting: float = 0.0
    start_timeout: float = START_TIMEOUT
    limits: Limits = Limits(idle=40.0, absolute=60.0)
    session_idle: float = 12.0
    unread_bytes: int = 8_000
    lane_bytes: int = 32 * 1024 * 1024
    checks: Checks = Checks()
    largest_message_bytes: int = 1_000_000


class World:
    """Time, what is to happen, who is there, and what went wrong."""

    def __init__(
        self, seed: int = 0, settings: Settings | None = None, *, plant: Plant | None = None, verbose: bool = False
    ) -> None:
        self.settings = settings or Settings()
        self.random = Random(seed)
        self.now = 0.0
        self.quiet_since = 0.0  # when the last fault was over
        self.faults: dict[str, int] = {}
        self.deeds: dict[str, int] = {}  # what came to pass that is no fault, by its kind
        self.violations: list[str] = []
        self.conflicts: list[tuple[str, str]] = []  # who was told of one, and what
        self.clients: dict[str, Client] = {}
        self.started: dict[str, list[str]] = {}  # key of a call to the incarnations that began it, in order
        self.lists = "whole"  # how servers answer tools/list: whole, half, an error, or never
        self.listed = 0  # how often they were asked
        self.fingerprint = 0
        self.processes: list[Process] = []
        self.broker = SimBroker(self, keeps=self.settings.keeps)
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self._names = 0
        self._plant = plant
        self._verbose = verbose

    # ------------------------------------------------------------ time
    def after(self, delay: float, action: Callable[..., object], *arguments: Any) -> None:
        """`action(*arguments)` happens in `delay` seconds; what is due at one moment happens in the order it was asked for."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, action, arguments))

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        self._run(self.now + seconds, lambda: False)

    def run_until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Let time pass until `done`; False when it was not within `timeout` seconds."""
        return self._run(self.now + timeout, done)

    def _run(self, end: float, done: Callable[[], bool]) -> bool:
        queue = self._queue
        while not (finished := done()) and queue and queue[0][0] <= end:
            self.now, _, action, arguments = heapq.heappop(queue)
            action(*arguments)
        if not finished:
            self.now = end
        return finished

    # ------------------------------------------------------------ who is there
    def edge(self) -> EdgeProcess:
        """A new edge."""
        core = EdgeCore(self._identity("edge"), self.settings.limits, frozenset(self.settings.servers))
        process = EdgeProcess(self, core)
        self._begin(process, core)
        return process

    def bridge(self, *, definition: str = "") -> BridgeProcess:
        """A new bridge that serves every server, by the one definition or by another."""
        slots, most = self.settings.slots, self.settings.most
        unread, start, checks = self.settings.unread_bytes, self.settings.start_timeout, self.settings.checks
        limits = {
            name: ServerLimits(
                name + definition, slots=slots, most=most, unread_bytes=unread, checks=checks, start_timeout=start
            )
            for name in self.settings.servers
        }
        core = BridgeCore(self._identity("bridge"), limits, self.settings.session_idle)
        process = BridgeProcess(self, core)
        self._begin(process, core)
        return process

    def observer(self) -> ObserverProcess:
        """Somebody who looks at the fabric, and may ask its bridges for something."""
        core = ObserverCore(self._identity("observer"))
        process = ObserverProcess(self, core)
        self._begin(process, core)
        return process

    def _identity(self, role: str) -> Identity:
        self._names += 1
        return Identity(incarnation=f"{role}{self._names}", key="k", lane_bytes=self.settings.lane_bytes)

    def _begin(self, process: Process, core: EdgeCore | BridgeCore | ObserverCore) -> None:
        if self._plant is not None and not isinstance(core, ObserverCore):
            self._plant(core)
        self.processes.append(process)
        process.begin()

    @property
    def edges(self) -> list[EdgeProcess]:
        """The edges that live."""
        return [process for process in self.processes if isinstance(process, EdgeProcess) and process.alive]

    @property
    def bridges(self) -> list[BridgeProcess]:
        """The bridges that live."""
        return [process for process in self.processes if isinstance(process, BridgeProcess) and process.alive]

    # ------------------------------------------------------------ what is seen
    def fault(self, kind: str, *, lasts: float = 0.0) -> None:
        """A fault of this kind happens now."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.quiet_since = max(self.quiet_since, self.now + lasts)

    def did(self, kind: str) -> None:
        """Something of this kind came to pass, which seeds are to reach often."""
        self.deeds[kind] = self.deeds.get(kind, 0) + 1

    def violated(self, text: str) -> None:
        """A rule of the fabric was broken."""
        self.note("VIOLATION", text)
        self.violations.append(f"{self.now:.3f} {text}")

    def note(self, who: str, what: object) -> None:
        """One line of the run's story; runs of one seed tell the same."""
        self.fingerprint = zlib.crc32(f"{self.now:.6f} {who} {type(what).__name__}".encode(), self.fingerprint)
        if self._verbose and (line := told(what)):
            print(f"{self.now:9.4f} {who:9} {line}")


def told(what: object) -> str:
    """An event, as a story tells it; empty for what it leaves out."""
    match what:
        case PackArrived(Pack(_, source, generation, _, _, envelopes)):
            said = [told(envelope) for envelope in envelopes if envelope.kind not in (Kind.ANNOUNCE, Kind.HELLO)]
            return f"< {source} g{generation}: {', '.join(said)}" if said else ""
        case Envelope():
            return f"{what.kind} {what.exchange or what.session} a{what.attempt} n{what.number} {what.body.decode()[:80]}"
        case WorkArrived(source, envelope, delivery):
            return f"work {delivery} < {source}: {told(envelope)}"
        case ServerFrame(child, message):
            return f"server {child}: {message.frame.decode()[:120]}"
        case RequestPosted(link=link, message=message) | FrameArrived(link=link, message=message):
            return f"{type(what).__name__} {link}: {message.frame.decode()[:160]}"
        case _:
            return str(what)[:200]

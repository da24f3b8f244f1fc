"""A world: a simulated clock and one queue of future events, with real cores in it and everything else simulated.

Nothing runs outside the queue and all chance comes from one seed, so a seed is a run: the same faults at the same moments, the
same bytes, the same end.
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
from tests.sim.servers import Behaviour, Era

if TYPE_CHECKING:
    from tests.sim.clients import Client

SERVERS = {"tools": Era.MODERN, "old": Era.LEGACY, "both": Era.DUAL}
"""The servers of every world, unless it says otherwise."""

PROMPT = frozenset(("failing tool lists", "full server", "hung server", "poisoned call", "restart asked for"))
"""Faults by which no message comes late."""

Plant = Callable[[EdgeCore | BridgeCore], None]
"""Puts a bug into a new core, by giving one of its parts a faulty subclass."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is made of."""

    keeps: bool = False
    """Whether the broker keeps work until it is acknowledged."""
    servers: dict[str, Era] = msgspec.field(default_factory=lambda: dict(SERVERS))
    """The servers that every bridge serves, by name."""
    behaviours: dict[str, Behaviour] = {}
    """How servers behave that are not well behaved, by name."""
    slots: int = 8
    """Calls that a bridge runs at once for each server."""
    most: int = 16
    """Processes of each server that a bridge may have."""
    starting: float = 0.0
    """Seconds that a server process takes to start, beside some milliseconds."""
    start_timeout: float = START_TIMEOUT
    """Seconds that it may take."""
    limits: Limits = Limits(idle=40.0, absolute=60.0)
    """The deadlines that edges give to requests."""
    session_idle: float = 12.0
    """Seconds after which a bridge ends a session without a client."""
    unread_bytes: int = 8_000
    """Bytes that a bridge writes to a process that does not read them."""
    lane_bytes: int = 32 * 1024 * 1024
    """Bytes that may wait in a lane for their acknowledgement."""
    checks: Checks = Checks()
    """The health checks of every server."""
    largest_message_bytes: int = 1_000_000
    """The longest message that the broker takes."""


class World:
    """The clock, the queue, the broker, the processes and clients, and a record of what went wrong."""

    def __init__(
        self, seed: int = 0, settings: Settings | None = None, *, plant: Plant | None = None, verbose: bool = False
    ) -> None:
        self.settings = settings or Settings()
        self.random = Random(seed)
        self.now = 0.0
        self.quiet_since = 0.0  # when the last fault was over
        self.faults: dict[str, int] = {}
        self.deeds: dict[str, int] = {}  # how often each kind of deed has happened
        self.violations: list[str] = []
        self.conflicts: list[tuple[str, str]] = []  # the process that reported one, and its reason
        self.clients: dict[str, Client] = {}
        self.started: dict[str, list[str]] = {}  # the key of a call, and the bridges that began it, in order
        self.tool_lists = "whole"  # how servers answer tools/list: "whole", "half", "error" or "never"
        self.questions = 0  # how often modern-only servers asked a legacy client for input
        self.tool_list_requests = 0  # how often servers got one
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
        """Call `action(*arguments)` in `delay` seconds; actions that are due at one moment run in the order of these calls."""
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

    # ------------------------------------------------------------ processes
    def edge(self) -> EdgeProcess:
        """A new edge."""
        core = EdgeCore(self._identity("edge"), self.settings.limits, frozenset(self.settings.servers))
        process = EdgeProcess(self, core)
        self._begin(process, core)
        return process

    def bridge(self, *, definition: str = "") -> BridgeProcess:
        """A new bridge that serves every server. definition: when it differs, so do the definitions of all its servers."""
        slots, most = self.settings.slots, self.settings.most
        unread, start, checks = self.settings.unread_bytes, self.settings.start_timeout, self.settings.checks
        limits = {
            name: ServerLimits(
                name + definition, slots=slots, max_processes=most, unread_bytes=unread, checks=checks, start_timeout=start
            )
            for name in self.settings.servers
        }
        core = BridgeCore(self._identity("bridge"), limits, self.settings.session_idle)
        process = BridgeProcess(self, core)
        self._begin(process, core)
        return process

    def observer(self) -> ObserverProcess:
        """A new observer: a person's command that reads announcements and may ask bridges for a restart."""
        core = ObserverCore(self._identity("observer"))
        process = ObserverProcess(self, core)
        self._begin(process, core)
        return process

    def _identity(self, role: str) -> Identity:
        self._names += 1
        salt = f"secret {self._names}".encode() if role == "bridge" else b""
        return Identity(incarnation=f"{role}{self._names}", key="k", lane_bytes=self.settings.lane_bytes, salt=salt)

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

    # ------------------------------------------------------------ the record
    def fault(self, kind: str, *, lasts: float = 0.0) -> None:
        """A fault of this kind happens now."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.quiet_since = max(self.quiet_since, self.now + lasts)

    @property
    def delays(self) -> bool:
        """Messages may have come late, or not at all."""
        return not self.faults.keys() <= PROMPT

    def did(self, kind: str) -> None:
        """A deed of this kind has happened; test_seeds.py checks that each happens often."""
        self.deeds[kind] = self.deeds.get(kind, 0) + 1

    def violated(self, text: str) -> None:
        """A rule of the fabric was broken."""
        self.note("VIOLATION", text)
        self.violations.append(f"{self.now:.3f} {text}")

    def note(self, source: str, event: object) -> None:
        """Add one line to the run's story and to its fingerprint; runs of one seed have the same."""
        self.fingerprint = zlib.crc32(f"{self.now:.6f} {source} {type(event).__name__}".encode(), self.fingerprint)
        if self._verbose and (line := described(event)):
            print(f"{self.now:9.4f} {source:9} {line}")


def described(event: object) -> str:
    """An event as the printed story has it; empty for an event that the story leaves out."""
    match event:
        case PackArrived(Pack(_, source, generation, _, _, envelopes)):
            lines = [described(envelope) for envelope in envelopes if envelope.kind not in (Kind.ANNOUNCE, Kind.HELLO)]
            return f"< {source} g{generation}: {', '.join(lines)}" if lines else ""
        case Envelope():
            return f"{event.kind} {event.exchange or event.session} a{event.attempt} n{event.number} {event.body.decode()[:80]}"
        case WorkArrived(source, envelope, delivery):
            return f"work {delivery} < {source}: {described(envelope)}"
        case ServerFrame(child, message):
            return f"server {child}: {message.frame.decode()[:120]}"
        case RequestPosted(link=link, message=message) | FrameArrived(link=link, message=message):
            return f"{type(event).__name__} {link}: {message.frame.decode()[:160]}"
        case _:
            return str(event)[:200]

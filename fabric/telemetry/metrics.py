"""The metrics of one process, by OpenTelemetry's API: each is declared here once. The worker chooses the exporter.

All but the attempts to connect are read from snapshots of the core when they are exported, so no request waits for them. A new
metric of something that a snapshot shows is its name in names.py and its line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, auto
from typing import Any, Generic, TypeVar

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from fabric.core.bridge.snapshot import BridgeSnapshot
from fabric.core.edge.snapshot import EdgeSnapshot
from fabric.core.peers.announcement import Role
from fabric.core.peers.snapshot import MemberSnapshot
from fabric.core.telemetry_record import ConnectAttempt
from fabric.telemetry import names

S = TypeVar("S", bound=MemberSnapshot)


class Kind(Enum):
    """How the values of a metric may change."""

    COUNTER = auto()
    """They only grow, from zero when the process begins."""
    AMOUNT = auto()
    """They rise and fall; those of several processes and attributes may be added up. Many systems call it a gauge."""


class Metric(msgspec.Struct, Generic[S], frozen=True):
    """A metric that is read from a snapshot."""

    name: str
    """Its name, from names.py."""
    kind: Kind
    unit: str
    """What is counted, in braces (UCUM)."""
    description: str
    read: Callable[[S], Iterable[Observation]]
    """Its values in a snapshot: one for each set of attributes."""


EDGE: tuple[Metric[EdgeSnapshot], ...] = (
    Metric(
        names.EXCHANGES_OPEN,
        Kind.AMOUNT,
        "{exchange}",
        "Open exchanges, by server and by whether a bridge has them",
        lambda edge: _by_state(
            {name: {"queued": work.queued, "in_flight": work.in_flight} for name, work in edge.servers.items()}
        ),
    ),
    Metric(
        names.EXCHANGES_FINISHED,
        Kind.COUNTER,
        "{exchange}",
        "Exchanges that have ended, by server and outcome",
        lambda edge: _by_outcome(edge.finished),
    ),
)
"""The metrics of an edge."""

BRIDGE: tuple[Metric[BridgeSnapshot], ...] = (
    Metric(
        names.JOBS_FINISHED,
        Kind.COUNTER,
        "{job}",
        "Jobs that have ended, by server and outcome",
        lambda bridge: _by_outcome(bridge.finished),
    ),
    Metric(names.SESSIONS, Kind.AMOUNT, "{session}", "Legacy sessions", lambda bridge: [Observation(bridge.sessions)]),
    Metric(
        names.PROCESSES,
        Kind.AMOUNT,
        "{process}",
        "Processes of servers, or connections to them, by server and state",
        lambda bridge: _by_state(
            {
                name: {"starting": server.starting, "running": server.processes - server.starting}
                for name, server in bridge.servers.items()
            }
        ),
    ),
)
"""The metrics of a bridge."""

OF_ROLE: dict[Role, tuple[Metric[Any], ...]] = {Role.EDGE: EDGE, Role.BRIDGE: BRIDGE}


class Metrics:
    """The instruments of one process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._connects = meter.create_counter(
            names.CONNECTS, "{attempt}", "Attempts to connect to the broker or to an MCP server"
        )

    def connect_attempt(self, attempt: ConnectAttempt) -> None:
        """Count an attempt to connect."""
        attributes: dict[str, str | bool] = {names.PEER: attempt.peer, names.RETRY: attempt.number > 1}
        attributes[names.SYSTEM if attempt.peer == "broker" else names.SERVER] = attempt.name
        if attempt.failure:
            attributes[names.ERROR_TYPE] = attempt.failure
        self._connects.add(1, attributes)

    def observe(self, metrics: Iterable[Metric[S]], snapshot: Callable[[], S | None]) -> None:
        """Read these metrics at each export. snapshot: called on the exporter's thread; None is exported as no value."""
        create: dict[Kind, Callable[..., object]] = {
            Kind.COUNTER: self._meter.create_observable_counter,
            Kind.AMOUNT: self._meter.create_observable_up_down_counter,
        }
        for metric in metrics:
            create[metric.kind](metric.name, [_callback(metric, snapshot)], metric.unit, metric.description)


def _callback(metric: Metric[S], snapshot: Callable[[], S | None]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        taken = snapshot()
        return metric.read(taken) if taken is not None else ()

    return read


def _by_state(servers: Mapping[str, Mapping[str, int]]) -> Iterator[Observation]:
    for server, states in servers.items():
        for state, amount in states.items():
            yield Observation(amount, {names.SERVER: server, names.STATE: state})


def _by_outcome(finished: Mapping[tuple[str, str], int]) -> Iterator[Observation]:
    """As spans have it: a failure has an error.type, and a success has none."""
    for (server, outcome), count in finished.items():
        attributes = {names.SERVER: server}
        if outcome != "ok":
            attributes[names.ERROR_TYPE] = outcome
        yield Observation(count, attributes)

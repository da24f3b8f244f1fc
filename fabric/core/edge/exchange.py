"""An exchange: one request of a client, who asked, and how far it has got.

Above it: routing.py makes an exchange of a client's message; correlation.py alone opens and ends it and says who owns it;
sending.py counts its sendings; the askers (http_requests.py, long_links.py, tool_lists.py) read it. Below it: the envelope and
the telemetry record.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.core.telemetry_record import Record, Side
from fabric.envelope import Kind

NEVER = float("inf")
RETURN_PAUSE, RETURN_PAUSE_MOST = 0.1, 1.0
"""Seconds before work that came back is sent again: the first time, and at most; it doubles each time."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked. Ids and tokens are raw JSON; a text is empty where there is none."""

    kind: Kind = Kind.REQUEST
    """What it is to a bridge: REQUEST, OPEN, or of a session's HTTP client FRAME, ATTACH or END."""
    server: str
    arrived: float
    """When its frame came, in seconds of the process's monotonic clock."""
    session: str = ""
    principal: str = ""
    """Who asks, as the edge's door has found; every bridge may rely on it."""
    transport: str = ""
    """How the client is connected; for telemetry."""
    caller: Caller = UNKNOWN_CALLER
    method: str = ""
    target: str = ""
    """The name of the tool or prompt, or the URI of the resource."""
    version: str = ""
    """The protocol revision that it names; looked at only where requests are traced."""
    client_id: bytes = b""
    """The client's own id of the request."""
    token: bytes = b""
    """The client's own progress token."""
    event: int = -1
    """Of a stream that is resumed: the last event its client has; -1 for none."""
    opening: bytes = b""
    """An initialize as its client wrote it."""
    exclusive: bool = False
    """What its server says without naming a request is for this one."""
    bound: bool = False
    """The session it opens lives and dies with its client's long link."""
    answer_only: bool = False
    """Its client takes nothing before the answer."""


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """Where an exchange stands in a trace, in W3C traceparents; each is empty where there is none."""

    carried: str = ""
    """What the client's transport carried (an HTTP header)."""
    parent: str = ""
    """What the exchange continues: the request's own, else what was carried."""
    span: str = ""
    """The exchange itself; empty when it is not sampled."""

    @property
    def id(self) -> str:
        """The trace's id in hex; empty when the exchange is not sampled."""
        return self.span[3:35]


UNTRACED = TraceContext()


class Asker(Protocol):
    """Who asked: a part of the edge that knows how its client is to be answered.

    After any of `answered`, `refused` and `done` nothing more comes of the exchange.
    """

    link: str
    """Where its client is; empty when nobody waits there any more, and for what the edge itself asks."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """A message comes before the answer. event: its number in the stream, -1 for none. Returns whether it was sent on."""
        ...

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> None:
        """The server has answered; the response still bears the exchange's id."""
        ...

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:
        """The fabric answers in the server's place; the error response bears the client's own id."""
        ...

    def done(self, exchange: Exchange) -> None:
        """What needs no answer was carried out."""
        ...

    def ended(self, exchange: Exchange) -> None:
        """Nothing more is to be read here: the request was cancelled, its stream is over, or it is read elsewhere."""
        ...


class Exchange(msgspec.Struct, eq=False):
    """One request under way."""

    id: str
    """Minted here: bridges and servers know the request by it."""
    request: Request
    asker: Asker
    body: bytes = b""
    """The frame to send; empty once it lies in its owner's lane, which sends it again by itself."""
    trace: TraceContext = UNTRACED
    repeatable: bool = False
    """It may be run again elsewhere: decided once, before it is opened."""

    # ------------------------------------------------------------ sendings
    attempt: int = 0
    """The count of sendings."""
    sendings: list[float] = []
    """When each was published."""
    out: int = 0
    """How many may have left this process."""
    queued: bool = False
    """It was published to its server's queue."""
    ended: frozenset[int] = frozenset()
    """Attempts that are over: a late `taken` of one counts for nothing."""
    resend: float = NEVER
    """When to send it again."""
    backstop: bool = False
    """That is only in case a broker that keeps work has not kept it."""
    pause: float = RETURN_PAUSE
    """Seconds until the next sending, should it come back once more."""
    crowded: bool = False
    """The last that is known of it is that a bridge had no room for it."""
    begun: bool = False
    """A server may have begun it, though it came back."""
    starts: int = 0
    """How often a server's work on it ended badly."""

    # ------------------------------------------------------------ owner
    owner: str = ""
    """The bridge that has it; empty for none."""
    owner_attempt: int = 0
    """The attempt by which its owner has it."""
    granted: bool = False
    """Its owner may start it."""
    number: int = 0
    """Of its message in its owner's data lane, if it went there."""
    promised: str = ""
    """The owner that its client was given a session of before there was an answer."""

    # ------------------------------------------------------------ deadlines and what has come
    due: float = NEVER
    """When it is given up unless a message of it comes."""
    lapses: float = NEVER
    """When it is given up whatever comes."""
    streaming: bool = False
    """Its client has got something of it before the answer."""
    progress: float = -NEVER
    """The highest progress that its client was sent: a re-run repeats its progress from the start."""
    event: int = -1
    """The number of its answer in its stream, -1 for none."""

    @property
    def under_way(self) -> bool:
        """Whether its newest sending has neither been taken nor come back."""
        return not self.owner and self.attempt not in self.ended

    @property
    def unstarted(self) -> bool:
        """It is proven that no server has begun it: never sent, in need of a grant that nobody has, or come back each time."""
        came_back = self.crowded and not self.begun and len(self.ended) == self.attempt
        return not self.out or not (self.granted or self.repeatable) or came_back

    def record(self, outcome: str, code: int, now: float) -> Record:
        """What is known of it now that it is over."""
        request = self.request
        return Record(
            side=Side.EDGE,
            exchange=self.id,
            server=request.server,
            method=request.method,
            target=request.target,
            transport=request.transport,
            session=request.session,
            attempt=self.attempt,
            arrived=request.arrived,
            begun=self.sendings[0] if self.sendings else 0.0,
            ended=now,
            outcome=outcome,
            code=code,
            trace=self.trace.parent,
            span=self.trace.span,
            queued=self.queued,
            sendings=tuple(self.sendings),
            caller=request.caller,
            carried=self.trace.carried,
            version=request.version,
            id=request.client_id,
        )

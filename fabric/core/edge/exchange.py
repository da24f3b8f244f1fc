"""An exchange: one request of a client, its asker, and its state.

Above it: routing.py makes an exchange of a client's message; correlation.py alone opens and ends it and says who owns it;
sending.py counts its sendings; the askers (http_requests.py, long_links.py, tool_lists.py) read it. Below it: the envelope and
the telemetry record.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.core.telemetry_record import Record, Side, trace_id
from fabric.envelope import Kind

NEVER = float("inf")
RETURN_PAUSE, RETURN_PAUSE_MOST = 0.1, 1.0
"""Seconds before work that came back is sent again: the first time, and at most. The pause doubles each time."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request. Ids and tokens are raw JSON; a text is empty if there is none."""

    kind: Kind = Kind.REQUEST
    """The kind of its envelope: REQUEST, OPEN, or from an HTTP client of a session FRAME, ATTACH or END."""
    server: str
    arrived: float
    """When its frame came, in seconds of the process's monotonic clock."""
    session: str = ""
    """The legacy session that it belongs to."""
    principal: str = ""
    """Who asks, as the listener has authenticated; every bridge may rely on it."""
    transport: str = ""
    """How the client is connected; for telemetry."""
    caller: Caller = UNKNOWN_CALLER
    method: str = ""
    target: str = ""
    """The name of the tool or prompt, or the URI of the resource."""
    version: str = ""
    """The protocol revision that it names; read only if requests are traced."""
    client_id: bytes = b""
    """The client's own id of the request."""
    token: bytes = b""
    """The client's own progress token."""
    event: int = -1
    """The number of the last event that its client has of a stream to resume; -1 for none."""
    opening: bytes = b""
    """An initialize as its client wrote it."""
    exclusive: bool = False
    """Whether it gets the messages in which its server names no request."""
    bound: bool = False
    """Whether the session that it opens ends with its client's long link."""
    answer_only: bool = False
    """Whether its client takes no message before the answer."""


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """The W3C traceparents of an exchange; each is empty if there is none."""

    carried: str = ""
    """The traceparent that the client's transport carried, in an HTTP header."""
    parent: str = ""
    """The traceparent that the exchange continues: the request's own, else the transport's."""
    span: str = ""
    """The traceparent of the exchange's own span; empty if it is not sampled."""

    @property
    def id(self) -> str:
        """The id of the trace, in hex; empty if the exchange is not sampled."""
        return trace_id(self.span)


UNTRACED = TraceContext()


class Asker(Protocol):
    """The part of the edge that answers the client of an exchange.

    After `answered`, `refused` or `done`, no method is called again for the exchange.
    """

    link: str
    """The link of the client; empty if nobody waits there any more, and for requests of the edge itself."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """A message came before the answer. event: its number in the stream, -1 for none. Returns whether it was sent on."""
        ...

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> bool:
        """The server has answered; the response still has the exchange's id. Returns whether it is a result, not an error."""
        ...

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:
        """The fabric answers in the place of the server; the error response has the client's own id."""
        ...

    def done(self, exchange: Exchange) -> None:
        """A frame that needs no answer was carried out."""
        ...

    def ended(self, exchange: Exchange) -> None:
        """No answer comes here: the request was cancelled, its stream has ended, or the client reads it elsewhere."""
        ...


class Exchange(msgspec.Struct, eq=False):
    """One request under way."""

    id: str
    """Minted at the edge; bridges and servers know the request by it."""
    request: Request
    asker: Asker
    body: bytes = b""
    """The frame to send; empty once the lane to its owner has it, which sends it again by itself."""
    trace: TraceContext = UNTRACED
    repeatable: bool = False
    """Whether it may be run again elsewhere; decided once, before it is opened."""

    # ------------------------------------------------------------ sendings
    attempt: int = 0
    """How often it was sent."""
    sendings: list[float] = []
    """When each attempt was sent."""
    sent_attempts: int = 0
    """How many attempts may have left this process; one that the broker surely did not get counts no more."""
    queued: bool = False
    """Whether it was published to its server's queue."""
    closed_attempts: frozenset[int] = frozenset()
    """The attempts that came back, never left, or died with their bridge; a late `taken` of one is refused."""
    resend: float = NEVER
    """When to send it again."""
    backstop: bool = False
    """Whether it is then sent only in case that a broker which keeps work has lost it."""
    pause: float = RETURN_PAUSE
    """Seconds from its next return to its next sending."""
    no_room: bool = False
    """Whether it came back because a bridge had no room for it, and no bridge has taken it since."""
    may_have_begun: bool = False
    """Whether a server may have begun an attempt that is closed."""
    failed_runs: int = 0
    """How many servers or bridges have failed while they ran it."""

    # ------------------------------------------------------------ owner
    owner: str = ""
    """The bridge that has it; empty for none."""
    owner_attempt: int = 0
    """The attempt by which its owner has it."""
    granted: bool = False
    """Whether its owner may start it."""
    number: int = 0
    """The number of its message in the data lane to its owner; 0 if it was not sent there."""
    promised: str = ""
    """The owner in the session id that its client got before the answer; empty for none."""

    # ------------------------------------------------------------ deadlines and messages
    due: float = NEVER
    """When it is given up, unless a message of it comes before."""
    lapses: float = NEVER
    """When it is given up, whatever comes."""
    streaming: bool = False
    """Whether its client has got a message of it before the answer."""
    progress: float = -NEVER
    """The highest progress that its client was sent: a re-run repeats its progress from the start."""
    event: int = -1
    """The number of its answer in its stream, -1 for none."""

    @property
    def attempt_open(self) -> bool:
        """Whether its newest attempt has neither been taken nor come back."""
        return not self.owner and self.attempt not in self.closed_attempts

    @property
    def surely_unstarted(self) -> bool:
        """Whether no server can have begun it: it was never sent, is not granted though it must be, or came back each time."""
        came_back = self.no_room and not self.may_have_begun and len(self.closed_attempts) == self.attempt
        return not self.sent_attempts or not (self.granted or self.repeatable) or came_back

    def record(self, outcome: str, code: int, now: float) -> Record:
        """The telemetry record of the exchange, which is over now."""
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

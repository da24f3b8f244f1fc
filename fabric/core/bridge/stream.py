"""An event stream of a legacy HTTP session, at the bridge that owns the session: its reader, and its newest messages.

The owner numbers each message, so that an event id, `<stream>.<number>`, means the same at every edge and a client may go on
reading at any of them. (2025-11-25 basic/transports.mdx, Resumability and Redelivery; EIP: message store.)
"""

from __future__ import annotations

from collections import deque

from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc, swap
from fabric.mcp.jsonrpc import MessageKind

KEPT_MESSAGES = 256
KEPT_BYTES = 1024 * 1024
"""How much of one stream is kept to be sent again. The oldest messages are dropped first; the newest always stays."""

LONGEST_NAMES = 256
"""How many bytes a client's id and progress token may have together, if its request's stream is to be resumable."""


class Stream:
    """One stream: a request's, or the session's own."""

    __slots__ = ("_client_id", "_kept", "_token", "edge", "ended", "exchange", "id", "kept_bytes", "next", "primed")

    def __init__(self, id: str, edge: str = "", *, client_id: bytes = b"", token: bytes = b"") -> None:
        self.id = id
        """The exchange of its request; the id of the session for the session's own stream."""
        self.edge = edge
        """The edge where it is read; empty if nobody reads it."""
        self.exchange = id if edge else ""
        """The exchange under which it is read there: first that of its request, whose edge knows the client's id and token."""
        self.primed = 0
        """The number after which a reader begins that names no event."""
        self.next = 1
        """The number of the next message."""
        self.kept_bytes = 0
        """Bytes of the messages that are kept."""
        self.ended = 0.0
        """When the answer was sent on it; 0.0 until then."""
        self._kept: deque[tuple[int, bytes]] = deque()
        self._client_id = client_id
        self._token = token

    @property
    def kept_messages(self) -> int:
        """How many messages are kept."""
        return len(self._kept)

    def open(self, member: Member, now: float, *, primes: bool) -> None:
        """Open the stream at its reader. primes: send the event that primes its client to reconnect."""
        event = self.primed if primes else -1
        member.data(self.edge, now, Envelope(kind=Kind.MESSAGE, exchange=self.exchange, event=event))

    def send(self, member: Member, frame: bytes, now: float) -> None:
        """Send a message on this stream, now or when it is read again."""
        self._hand(member, self._keep(frame), frame, now)

    def answer(self, member: Member, frame: bytes, now: float) -> int:
        """Send the last message of a request's stream, except to an edge that gets it as ANSWER. Returns its number."""
        number = self._keep(frame)
        self.ended = now
        if self.exchange != self.id:
            self._hand(member, number, frame, now)
        self.close(member, now)
        return number

    def attach(self, member: Member, edge: str, exchange: str, after: int, now: float, *, primes: bool) -> None:
        """A client reads it at this edge from now on: send the messages after that number again. after: -1 for a new reader."""
        if self.edge:  # each message goes to one connection: the newest, which the client reads
            kind = Kind.DETACH if self.exchange == self.id else Kind.ENDED
            member.data(self.edge, now, Envelope(kind=kind, exchange=self.exchange))
            self.leave()
        self.edge, self.exchange = edge, exchange
        self.open(member, now, primes=primes and after < 0)
        after = self.primed if after < 0 else after
        for number, frame in self._kept:
            if number > after:
                self._hand(member, number, frame, now)
        if self.ended:
            self.close(member, now)

    def leave(self) -> None:
        """Nobody reads it now. Messages are kept for the next reader, also for one that names no event."""
        self.edge = self.exchange = ""
        self.primed = self.next
        self.next += 1

    def close(self, member: Member, now: float) -> None:
        """No more messages come: end it at its reader, unless that is the request itself, which ends with its answer."""
        if self.edge and self.exchange != self.id:
            member.data(self.edge, now, Envelope(kind=Kind.ENDED, exchange=self.exchange))
        self.edge = self.exchange = ""

    def _keep(self, frame: bytes) -> int:
        number = self.next
        self.next += 1
        self._kept.append((number, frame))
        self.kept_bytes += len(frame)
        while len(self._kept) > KEPT_MESSAGES or (self.kept_bytes > KEPT_BYTES and len(self._kept) > 1):
            self.kept_bytes -= len(self._kept.popleft()[1])
        return number

    def _hand(self, member: Member, number: int, frame: bytes, now: float) -> None:
        if self.edge:
            body = frame if self.exchange == self.id else self._named(frame)
            member.data(self.edge, now, Envelope(kind=Kind.MESSAGE, exchange=self.exchange, event=number, body=body))

    def _named(self, frame: bytes) -> bytes:
        """The frame with the client's own id or token, for an edge that does not know the request."""
        if not self._client_id:
            return frame
        try:
            message = jsonrpc.parse(frame)
            if message.kind is MessageKind.RESPONSE:
                return swap.with_id(message, self._client_id)
            if self._token and message.method == "notifications/progress":
                return swap.with_reference(frame, self._token)
        except InvalidFrame:
            pass  # a frame that came this far has ids that can be replaced
        return frame

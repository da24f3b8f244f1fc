"""A legacy session at the bridge that owns it: one MCP server process, the ids it uses, and the stream each message goes to.

The owner picks the stream of every server message and numbers it, so that any edge can carry it: an HTTP session's messages go
to the request they name, else to the newest one in flight, else to the session's own (GET) stream, else wait for that to open.
A session that is bound to one long link needs no streams. (2025-11-25 basic/transports.mdx, Multiple Connections.)
"""

from __future__ import annotations

from collections import deque

from fabric import jsonrpc
from fabric.core.job import Job
from fabric.envelope import Kind
from fabric.jsonrpc import Message

BUFFERED_MESSAGES = 256
"""How many messages wait for an HTTP session's own stream to open; the oldest goes first."""

OPEN_REQUESTS = 1024
"""How many of a server's requests its client may leave unanswered; the oldest can then be answered no more."""

UNRELATED = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""What belongs to no request even when one is in flight."""


class Stream:
    """The session's own stream, as one edge carries it."""

    __slots__ = ("edge", "exchange")

    def __init__(self, edge: str, exchange: str) -> None:
        self.edge = edge
        self.exchange = exchange


class Session:
    """State of one legacy session."""

    __slots__ = (
        "_count", "_requests", "bound", "buffer", "child", "edge", "epoch", "events", "id", "jobs", "principal", "server",
        "stream", "used",
    )  # fmt: skip

    def __init__(self, id: str, server: str, child: str, opened_by: Job, now: float) -> None:
        self.id = id
        self.server = server
        self.child = child
        self.edge = opened_by.edge
        self.bound = opened_by.bound
        self.principal = opened_by.principal
        self.epoch = 0
        self.jobs: dict[str, Job] = {}
        self.join(opened_by)
        self.stream: Stream | None = None
        self.events = 0
        self.buffer: deque[bytes] = deque(maxlen=BUFFERED_MESSAGES)
        self.used = now
        self._requests: dict[str, bytes] = {}  # minted id to the server's own
        self._count = 0

    def join(self, job: Job) -> None:
        """A request of this session begins; it leaves by itself when it ends."""
        self.jobs[job.exchange] = job
        job.siblings = self.jobs

    def to_client(self, message: Message) -> bytes:
        """A server's request or notification with ids its client can tell apart; the server's own come back in `to_server`."""
        if message.id:
            self._count += 1
            minted = f"e{self.epoch}-{self._count}"
            self._requests[minted] = message.id
            if len(self._requests) > OPEN_REQUESTS:
                del self._requests[next(iter(self._requests))]
            return jsonrpc.with_id(message, jsonrpc.quoted(minted))
        if message.method == "notifications/cancelled":
            own = jsonrpc.refers_to(message)
            for minted, id in self._requests.items():
                if id == own:
                    del self._requests[minted]
                    return jsonrpc.with_reference(message.frame, jsonrpc.quoted(minted))
        return message.frame

    def to_server(self, message: Message) -> bytes:
        """A client's response with the id its server gave; empty for one the server does not wait for."""
        own = self._requests.pop(jsonrpc.text(message.id), b"") if message.id[:1] == b'"' else b""
        return jsonrpc.with_id(message, own) if own else b""

    def newest(self, client_id: bytes | None = None) -> Job | None:
        """The newest request in flight; with an id, the newest of that id."""
        for job in reversed(self.jobs.values()):
            if job.kind is not Kind.FRAME and (client_id is None or job.client_id == client_id):
                return job
        return None

    def related(self, message: Message) -> Job | None:
        """The request in flight that a server's message goes with; None for the session's own stream."""
        if message.method == "notifications/progress":
            return self.jobs.get(jsonrpc.text(jsonrpc.refers_to(message)))
        if message.method in UNRELATED and self.stream is not None:
            return None
        return self.newest()

"""A legacy session at the bridge that owns it: its process, its open requests, and the choice of a stream for each message.

The owner chooses the stream of every message of the server, so that any edge can send it: in a session over HTTP, a message
goes to the stream of the request that it names, else of the newest request in flight, else to the session's own (GET) stream,
where it waits for a reader. A session that is bound to one long link needs no streams. (2025-11-25 basic/transports.mdx,
Multiple Connections.)
"""

from __future__ import annotations

from itertools import chain

from fabric.core.bridge.job import Job
from fabric.core.bridge.stream import LONGEST_NAMES, Stream
from fabric.envelope import Kind
from fabric.mcp import jsonrpc
from fabric.mcp.initialize import negotiated
from fabric.mcp.jsonrpc import Message

PRIMED_SINCE = "2025-11-25"
"""The oldest revision whose clients know an event without data, which primes a stream."""

UNRELATED = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""The notifications that belong to no request, even if one is in flight."""


ENDED_STREAMS = 16
ENDED_BYTES = 4 * 1024 * 1024
ENDED_FOR = 300.0
"""How many answered streams are kept for a client that missed the answer, of how many bytes together (the newest always stays),
and for how many seconds."""


class Session:
    """The state of one legacy session."""

    __slots__ = (
        "bound", "child", "edge", "holds", "id", "jobs", "own", "primes", "principal", "server", "streams", "used",
        "waited_for_at",
    )  # fmt: skip

    def __init__(self, id: str, server: str, child: str, opened_by: Job, now: float) -> None:
        self.id = id
        """The exchange of its initialize."""
        self.server = server
        """The name of its server."""
        self.child = child
        """The id of its process."""
        self.edge = opened_by.edge
        """The edge that its initialize came from; if it is bound, the edge of its link."""
        self.bound = opened_by.bound
        """Whether it ends with one long link; else it is a session over HTTP."""
        self.principal = opened_by.principal
        """Who opened it."""
        self.jobs: dict[str, Job] = {}
        """Its requests in flight, by exchange, the oldest first."""
        self.own = Stream(id)
        """The stream for messages that belong to no request."""
        self.streams: dict[str, Stream] = {}
        """The streams of requests, by exchange, also of some that were answered."""
        self.primes = False
        """Whether its client's revision knows an event that primes a stream to reconnect."""
        self.used = now
        """When the last message was sent in it."""
        self.waited_for_at = now
        """When a client was last seen to wait for it: see `waited_for`."""
        self.holds: set[tuple[str, str]] = set()
        """The reasons why its process is not read now: see Holds."""
        self.join(opened_by)

    def join(self, job: Job) -> None:
        """A request of this session begins; Jobs removes it when it ends."""
        self.jobs[job.exchange] = job
        job.siblings = self.jobs

    def unwatched(self, job: Job) -> None:
        """The edge of a request is gone. The request runs on; without a stream, its client has no event to resume from."""
        job.edge = ""
        if job.stream is None:
            del self.jobs[job.exchange]
            job.siblings = None

    def opened(self, answer: bytes) -> None:
        """The initialize was answered."""
        self.primes = negotiated(answer) >= PRIMED_SINCE

    def newest(self, client_id: bytes) -> Job | None:
        """The newest request in flight with this client id; None for none."""
        for job in reversed(self.jobs.values()):
            if job.kind is Kind.REQUEST and job.client_id == client_id:
                return job
        return None

    def related(self, message: Message) -> Job | None:
        """The request in flight that a server's message belongs to; None for the session's own stream."""
        if message.method == "notifications/progress":
            return self.jobs.get(jsonrpc.text(jsonrpc.refers_to(message)))
        if message.method in UNRELATED and self.own.edge:
            return None
        unread = None
        for job in reversed(self.jobs.values()):
            if job.kind is Kind.REQUEST and not job.answer_only:
                if job.stream is None or job.stream.edge:
                    return job
                unread = unread or job
        return None if self.own.edge else unread

    # ------------------------------------------------------------ streams
    def resumable(self, job: Job) -> Stream | None:
        """The resumable stream of a request, made at first use; None if its client takes no stream, or its ids are too long."""
        if job.stream is None and not job.answer_only and len(job.client_id) + len(job.token) <= LONGEST_NAMES:
            job.stream = Stream(job.exchange, job.edge, client_id=job.client_id, token=job.token)
            self.streams[job.exchange] = job.stream
        return job.stream

    def named(self, id: str) -> Stream | None:
        """The stream of this id, or for an empty id the session's own; None if none is kept."""
        return self.own if id in ("", self.id) else self.streams.get(id)

    @property
    def waited_for(self) -> bool:
        """Whether a client reads a stream of it, or waits for an answer."""
        return bool(self.own.edge) or any(job.edge or (job.stream and job.stream.edge) for job in self.jobs.values())

    @property
    def alone_since(self) -> float:
        """When it was last in use, if nobody waits for it now."""
        return max(self.used, self.waited_for_at)

    def left(self, edge: str, exchange: str = "") -> None:
        """Nobody reads its streams at this edge any more; with an exchange, only the stream that was read under it."""
        for stream in chain((self.own,), self.streams.values()):
            if stream.edge == edge and exchange in ("", stream.exchange):
                stream.leave()

    def trim(self, now: float) -> None:
        """Forget answered streams that are too old, or too many."""
        ended = [stream for stream in self.streams.values() if stream.ended]
        held = sum(stream.kept_bytes for stream in ended)
        for at, stream in enumerate(ended):
            rest = len(ended) - at
            crowded = rest > ENDED_STREAMS or (held > ENDED_BYTES and rest > 1)
            if crowded or now - stream.ended > ENDED_FOR:
                held -= stream.kept_bytes
                del self.streams[stream.id]

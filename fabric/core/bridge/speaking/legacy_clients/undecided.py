"""The Speaker of the first legacy session at a server that is known to be modern: does it speak the older era, too?

server/discover may name the modern revisions alone, also where initialize works. So the first client's initialize is written to
the process as it is, and what follows waits. If it is refused, the session goes on across eras, in the same process.
"""

from __future__ import annotations

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, Speaker
from fabric.core.bridge.speaking.legacy import Legacy
from fabric.core.bridge.speaking.legacy_clients.legacy_on_modern import LegacyOnModern
from fabric.envelope import Kind
from fabric.mcp import jsonrpc
from fabric.mcp.initialize import offered
from fabric.mcp.jsonrpc import Message

HELD_MOST = 64
"""How many messages of a client that does not wait for the answer to its initialize are kept meanwhile."""


class Undecided(Speaker):
    """Speaks as Legacy until the server has answered; then as the Speaker that is `settled`."""

    __slots__ = ("_decided", "_held", "_initialize", "_speaker")

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self._speaker: Speaker = Legacy(incarnation, process, jobs)
        self._decided = False
        self._initialize = b""
        self._held: list[tuple[Job, bytes] | Message] = []

    @property
    def settled(self) -> Speaker:
        """See Speaker."""
        return self._speaker

    @property
    def unanswered_by_clients(self) -> int:
        """See Speaker."""
        return self._speaker.unanswered_by_clients

    # ------------------------------------------------------------ to the process
    def ask(self, job: Job, frame: bytes) -> tuple[Output, ...]:
        """See Speaker."""
        if job.kind is Kind.OPEN:
            self._initialize = frame
        elif not self._decided:
            if len(self._held) < HELD_MOST:
                self._held.append((job, frame))
                return ()
            text = "too many requests before the answer to initialize"
            return (Answer(job, jsonrpc.error_frame(jsonrpc.quoted(job.exchange), jsonrpc.INVALID_REQUEST, text)),)
        return self._speaker.ask(job, frame)

    def tell(self, message: Message) -> tuple[Output, ...]:
        """See Speaker."""
        if self._decided:
            return self._speaker.tell(message)
        if len(self._held) < HELD_MOST:
            self._held.append(message)
        return ()

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        kept = [each for each in self._held if isinstance(each, Message) or each[0] is not job]
        if len(kept) < len(self._held):
            self._held = kept
            return ()
        return self._speaker.cancel(job, frame, now)

    def look(self, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        return self._speaker.look(now)

    # ------------------------------------------------------------ from the process
    def job_of(self, id: str) -> Job | None:
        """See Speaker."""
        return self._speaker.job_of(id)

    def asked(self, id: str) -> bool:
        """See Speaker."""
        return self._speaker.asked(id)

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        if self._decided or job is None or job.kind is not Kind.OPEN:
            return self._speaker.hear(message, job, now)
        self._decided = True
        if message.error and offered(self._initialize).version:
            self._speaker = LegacyOnModern(self._incarnation, self._process, self._jobs)
            first = self._speaker.ask(job, self._initialize)
        else:
            first = self._speaker.hear(message, job, now)
        held, self._held = self._held, []
        return (*first, *(output for each in held for output in self._released(each)))

    def _released(self, held: tuple[Job, bytes] | Message) -> tuple[Output, ...]:
        return self._speaker.tell(held) if isinstance(held, Message) else self._speaker.ask(*held)

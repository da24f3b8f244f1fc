"""The Speaker of a process that belongs to one legacy session: frames pass unchanged, but for the server's ids."""

from __future__ import annotations

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage, Speaker
from fabric.envelope import Kind
from fabric.mcp import eras, jsonrpc, swap
from fabric.mcp.jsonrpc import Message, MessageKind

CANCELLED = "notifications/cancelled"

OPEN_REQUESTS = 1024
"""How many of a server's requests its client may leave unanswered; with one more, the oldest cannot be answered any more."""


class Legacy(Speaker):
    """Gives the server's requests ids that are unique for the client, and restores the server's own ids in the answers."""

    __slots__ = ("_count", "_requests", "epoch")

    era = eras.LEGACY

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self.epoch = 0
        """How often the session has moved, always 0 until sessions move. It is part of the ids that its client sees."""
        self._requests: dict[str, bytes] = {}  # the server's own raw id of each open request, by the id its client knows
        self._count = 0

    @property
    def unanswered_by_clients(self) -> int:
        """See Speaker."""
        return len(self._requests)

    def tell(self, message: Message) -> tuple[Output, ...]:
        """A response gets the server's own id; one that the server does not wait for is dropped."""
        if message.kind is not MessageKind.RESPONSE:
            return (message.frame,)
        own = self._requests.pop(jsonrpc.text(message.id), b"") if message.id[:1] == b'"' else b""
        return (swap.with_id(message, own),) if own else ()

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:
        """An initialize must not be cancelled (2025-11-25 basic/utilities/cancellation): its process ends instead."""
        return () if job.kind is Kind.OPEN else super().cancel(job, frame, now)

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - the base's
        """Every message of the process is for its session's client."""
        if job is not None:
            return (Answer(job, message.frame),)
        return (ServerMessage(message, self._to_client(message), None),)

    def _to_client(self, message: Message) -> bytes:
        if message.id:
            self._count += 1
            minted = f"e{self.epoch}-{self._count}"
            self._requests[minted] = message.id
            if len(self._requests) > OPEN_REQUESTS:
                del self._requests[next(iter(self._requests))]
            return swap.with_id(message, jsonrpc.quoted(minted))
        if message.method == CANCELLED:
            own = jsonrpc.refers_to(message)
            for minted, id in self._requests.items():
                if id == own:
                    del self._requests[minted]
                    return swap.with_reference(message.frame, jsonrpc.quoted(minted))
        return message.frame

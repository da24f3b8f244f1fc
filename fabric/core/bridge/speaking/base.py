"""The Speaker of a process whose era is not known yet, which is the base of all others.

A Speaker turns jobs and clients' messages into frames for its process, and messages of the process into their meaning for
clients, and answers some of them itself. It decides nothing else: its caller writes the frames, ends jobs and chooses streams.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.turns import Turns
from fabric.faults import LostAnswer
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The response to a job, which ends the job."""

    job: Job
    """The job that is answered."""
    frame: bytes
    """The response as the job's client is to get it, but for its id."""
    refused: bool = False
    """Whether it is an error of the Speaker's own; the process may not have been asked."""


class ServerMessage(msgspec.Struct, frozen=True, gc=False):
    """A request or a notification of the server for a client."""

    message: Message
    """The message as the server wrote it."""
    frame: bytes
    """The message as the client is to get it."""
    job: Job | None
    """The job that it belongs to; None if its session is to find one."""


Output = bytes | Answer | ServerMessage
"""What a Speaker returns, to be carried out at once and in order. Plain bytes are a frame to write to its process."""


class Speaker:
    """Translates for one process."""

    __slots__ = ("_incarnation", "_jobs", "_own_count", "_process")

    era = ""
    """The era of the process; empty if it is not known yet."""
    turns: Turns | None = None
    """Its exclusive jobs, which run one at a time; None if all of its jobs may run at once."""
    awaits_input_until = 0.0
    """Until when a client may bring the input that its call has asked for: only this process can go on with the call."""

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        self._incarnation = incarnation
        self._process = process
        self._jobs = jobs
        self._own_count = 0

    @property
    def settled(self) -> Speaker:
        """The Speaker that goes on once a session is open."""
        return self

    @property
    def unanswered_by_clients(self) -> int:
        """How many requests of the process await the answer of its session's client."""
        return 0

    # ------------------------------------------------------------ to the process
    def ask(self, job: Job, frame: bytes) -> tuple[Output, ...]:  # noqa: ARG002 - a Speaker across eras uses it
        """Have the process run a job, or answer it here. frame: the job's request, with the fabric's own id.

        Raises InvalidFrame if that cannot be read.
        """
        return (frame,)

    def tell(self, message: Message) -> tuple[Output, ...]:
        """Pass on a notification or a response of the session's client, unless the process does not wait for it.

        Raises InvalidFrame if its id cannot be swapped.
        """
        return (message.frame,)

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - as above
        """Cancel a job. frame: its client's own cancel, with the fabric's id; may be empty."""
        return (frame or cancelled(job.exchange),)

    def resume(self, frame: bytes, state: str) -> bytes:  # noqa: ARG002 - as above
        """A request that brings input to a parked call, with the requestState of the process itself.

        Raises InvalidFrame if the state cannot be swapped.
        """
        return frame

    def look(self, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - as above
        """The regular look of its caller, some times a second, at a process of a session: do what was put off."""
        return ()

    def _own_id(self) -> str:
        """The id of the next request to the process that is not a job's own."""
        self._own_count += 1
        return f"own-{self._own_count}"

    # ------------------------------------------------------------ from the process
    def job_of(self, id: str) -> Job | None:  # noqa: ARG002 - as above
        """The job that the process knows by this id, which is not its exchange; None for any other id."""
        return None

    def lost(self, job: Job, answer: LostAnswer, now: float) -> tuple[list[Job], tuple[bytes, ...]]:  # noqa: ARG002 - as above
        """The answer to a job is lost: every job that it was for, and the frames to write to the process."""
        return [job], ()

    def asked(self, id: str) -> bool:  # noqa: ARG002 - as above
        """Whether this is the id of a request that the Speaker itself has sent, for no job."""
        return False

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - as above
        """The meaning of a message of the process. job: the one that a response answers; None for any other message.

        Raises InvalidFrame if an id or a state in it cannot be swapped.
        """
        if job is not None:
            return (Answer(job, message.frame),)
        if message.kind is MessageKind.REQUEST:
            reason = f"{message.method} is not a request this client takes"
            return (jsonrpc.error_frame(message.id, jsonrpc.METHOD_NOT_FOUND, reason),)
        return ()


def cancelled(id: str) -> bytes:
    """The notification by which a process learns that nobody waits for the answer to its request of this id."""
    return b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + jsonrpc.quoted(id) + b"}}"

"""The Speaker of a process whose era is not known yet, and what every other Speaker has in common with it.

A Speaker turns jobs and clients' messages into frames for its process, and the process's messages into what they mean to
clients. It decides nothing else: its caller writes the frames, ends jobs and picks streams.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.turns import Turns
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The response to a job, which ends with it."""

    job: Job
    frame: bytes
    """The response as the job's client is to get it, but for its id."""


class ServerMessage(msgspec.Struct, frozen=True, gc=False):
    """A request or a notification of the server for a client."""

    message: Message
    """The message as the server wrote it."""
    frame: bytes
    """The message as the client is to get it."""
    job: Job | None
    """The job that it belongs to; None where its session is to find one."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer for the server itself, in the place of a client."""

    frame: bytes


Heard = Answer | ServerMessage | Reply


class Speaker:
    """Talks with one process. A frame that it returns is to be written to the process at once, in order."""

    __slots__ = ("_incarnation", "_jobs", "_process")

    era = ""
    """The era in which it talks with the process; empty where that is not known yet."""
    turns: Turns | None = None
    """Its exclusive jobs, which it runs one at a time; None where it may run all of its jobs side by side."""
    awaits_input_until = 0.0
    """Until when a client may come back with the input that its call has asked for, which only this process can go on with."""

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        self._incarnation = incarnation
        self._process = process
        self._jobs = jobs

    # ------------------------------------------------------------ to the process
    def ask(self, job: Job, frame: bytes) -> tuple[bytes, ...]:  # noqa: ARG002 - a Speaker across eras looks at it
        """The frames that ask the process for a job. frame: the job's request, with the fabric's own id."""
        return (frame,)

    def tell(self, message: Message) -> tuple[bytes, ...]:
        """The frames that hand on a notification or a response of the session's client; none where nobody waits for it.

        Raises InvalidFrame where its id cannot be swapped.
        """
        return (message.frame,)

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[bytes, ...]:  # noqa: ARG002 - as above
        """The frames that end a job nobody waits for. frame: its client's own cancel, with the fabric's id; may be empty."""
        return (frame or _cancelled(job.exchange),)

    def resume(self, frame: bytes, state: str) -> bytes:  # noqa: ARG002 - as above
        """A request that brings input to a parked call, as the process knows that call. state: the process's own requestState.

        Raises InvalidFrame where the state cannot be swapped.
        """
        return frame

    # ------------------------------------------------------------ from the process
    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Heard, ...]:  # noqa: ARG002 - as above
        """What a message of the process means. job: the one that a response answers; None for any other message.

        Raises InvalidFrame where an id or a state in it cannot be swapped.
        """
        if job is not None:
            return (Answer(job, message.frame),)
        if message.kind is MessageKind.REQUEST:
            reason = f"{message.method} is not a request this client takes"
            return (Reply(jsonrpc.error_frame(message.id, jsonrpc.METHOD_NOT_FOUND, reason)),)
        return ()


def _cancelled(exchange: str) -> bytes:
    id = jsonrpc.quoted(exchange)
    return b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":' + id + b"}}"

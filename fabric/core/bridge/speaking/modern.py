"""The Speaker of a process that modern clients share: each message is for the one client whose request it names.

A call that asks for input is parked: its requestState then says which process goes on with it, so that a retry through any
edge comes back here. (2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

from fabric.core import request_state
from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage, Speaker
from fabric.core.bridge.speaking.turns import Turns
from fabric.mcp import eras, jsonrpc, swap
from fabric.mcp.jsonrpc import Message, MessageKind

INPUT_IN = 300.0
"""Seconds for which a process is kept after a call in it has asked for input: only that process can go on with the call."""


class Modern(Speaker):
    """Frames pass unchanged, except for the requestState of parked calls."""

    __slots__ = ("awaits_input_until", "turns")

    era = eras.MODERN

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self.turns: Turns = Turns()
        self.awaits_input_until = 0.0

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:
        """Log messages of an exclusive job that is cancelled go to nobody else."""
        self.turns.cancelled(job, now)
        return super().cancel(job, frame, now)

    def resume(self, frame: bytes, state: str) -> bytes:
        """The request, with the requestState that the process itself has issued."""
        return swap.with_request_state(frame, jsonrpc.quoted(state))

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:
        """A notification is for the client whose request it names; log messages name none, and are for the exclusive job."""
        if job is not None:
            frame = message.frame
            return (Answer(job, self._parked(frame, now) if b'"input_required"' in frame else frame),)
        if message.kind is not MessageKind.NOTIFICATION:
            return super().hear(message, None, now)
        named = jsonrpc.text(jsonrpc.refers_to(message) or b'""')
        if named:
            job = self._jobs.get(named)
        elif message.method == "notifications/message":
            job = self.turns.logged_for(now)
        return (ServerMessage(message, message.frame, job),) if job is not None else ()

    def _parked(self, frame: bytes, now: float) -> bytes:
        """An answer that may ask for input; if it does, its requestState names this process."""
        state = jsonrpc.text(jsonrpc.request_state(frame))
        if not state:
            return frame
        self.awaits_input_until = now + INPUT_IN
        return swap.with_request_state(frame, jsonrpc.quoted(request_state.wrap(self._incarnation, self._process, state)))

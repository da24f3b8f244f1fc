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
"""Seconds that a process is kept after it has asked a call's client for input: only that process can go on with the call."""


class Modern(Speaker):
    """Frames pass as they are, but for the requestState of parked calls."""

    __slots__ = ("awaits_input_until", "turns")

    era = eras.MODERN

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self.turns: Turns = Turns()
        self.awaits_input_until = 0.0

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:
        """What the process still logs of an exclusive job reaches nobody else."""
        self.turns.cancelled(job, now)
        return super().cancel(job, frame, now)

    def resume(self, frame: bytes, state: str) -> bytes:
        """The process gets its own requestState back."""
        return swap.with_request_state(frame, jsonrpc.quoted(state))

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:
        """A notification goes to the client whose request it names; logs name none, and go with the exclusive job."""
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
        """An answer that may ask for input: its requestState then names this process."""
        state = jsonrpc.text(jsonrpc.request_state(frame))
        if not state:
            return frame
        self.awaits_input_until = now + INPUT_IN
        return swap.with_request_state(frame, jsonrpc.quoted(request_state.wrap(self._incarnation, self._process, state)))

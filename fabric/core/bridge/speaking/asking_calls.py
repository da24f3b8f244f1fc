"""The Speaker of a legacy server's process for modern clients that can be asked for input, or that want log messages.

The questions and the log messages of such a server name no request, so the process runs one call at a time. A question parks
the call: the client's request is answered with the question and a requestState, and the process waits until the client brings
the input. After a cancel, or a lost answer, the process runs no other call before it has answered that one.
(2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

import hmac
from collections import deque
from hashlib import blake2b

from fabric.core import request_state
from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output
from fabric.core.bridge.speaking.input_call import InputCall, readdressed
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.core.bridge.speaking.modern_on_legacy import PROGRESS, ModernOnLegacy, quoted_id, stale
from fabric.faults import LostAnswer
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import inputs, meta
from fabric.mcp.across_eras.modern_requests import LEVELS
from fabric.mcp.answers import outcome, tool_complaint
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import members, request

GRACE = 5.0
"""Seconds that a process has to answer a cancelled call; after that it is stopped."""
QUESTIONS = 64
"""How many questions of one call may be open; the server gets an error for others."""
REPLAYED, REPLAYED_BYTES = 8, 1024 * 1024
"""How many ended calls of a process have their answers kept for requests that are sent twice, and how many bytes of them."""


class AskingCalls(ModernOnLegacy):
    """Runs one call at a time, and parks it while its client is asked for input."""

    __slots__ = ("_call", "_cancelled", "_ended", "_level", "_numbers", "awaits_input_until", "stop_at")

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self.awaits_input_until = 0.0
        self.stop_at = 0.0
        self._call: InputCall | None = None  # the one that runs or is parked
        self._ended = deque[InputCall]()  # calls that were parked, with their answers
        self._cancelled = ""  # the id of a cancelled call that the process has not answered
        self._level = ""  # the lowest level of the log messages that the process sends now
        self._numbers = 0

    @property
    def busy(self) -> bool:
        """See ModernOnLegacy."""
        return bool(self._jobs or self.stop_at or self.awaits_input_until)

    @property
    def questions(self) -> int:
        """See ModernOnLegacy."""
        return len(self._call.open) if self._call is not None else 0

    def expire(self, now: float, wait: float = INPUT_IN) -> tuple[bytes, ...]:
        """See ModernOnLegacy."""
        call = self._call
        if call is None or not self.awaits_input_until or now < self.awaits_input_until - INPUT_IN + wait:
            return ()
        return self._give_up(call, now, f"its client brought no input within {wait:g} s")

    # ------------------------------------------------------------ to the process
    def _run(self, job: Job, message: Message, level: str) -> tuple[Output, ...]:
        if jsonrpc.meta(message).request_state:
            return self._resumed(job, message, level)
        self._numbers += 1
        self._call = InputCall(self._numbers, job, message)
        return (*self._logged(self._call, level), meta.without_client(message, quoted_id(job)))

    def _logged(self, call: InputCall, level: str) -> tuple[bytes, ...]:
        """The request that has the server send log messages of this level, if it does not yet."""
        call.level = LEVELS.index(level) if level else -1
        if not level or level == self._level or "logging" not in members(self._server.capabilities):
            return ()
        self._level = level
        return (request(jsonrpc.quoted(self._new_own_id()), "logging/setLevel", b'{"level":' + jsonrpc.quoted(level) + b"}"),)

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - the server knows another id
        """A call is cancelled with the last request that waits for it."""
        call = self._call
        if call is None or not (job is call.job or job in call.repeats):
            return ()
        return self._give_up(call, now, "it was cancelled") if call.left(job) else ()

    def _give_up(self, call: InputCall, now: float, reason: str) -> tuple[bytes, ...]:
        refusals = [jsonrpc.error_frame(id, jsonrpc.INVALID_REQUEST, reason) for id, _ in call.open.values()]
        self._end(call, reason)
        self._cancelled, self.stop_at = call.id, now + GRACE
        cancelled = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":'
        return (*refusals, cancelled + jsonrpc.quoted(call.id) + b"}}")

    # ------------------------------------------------------------ parked calls
    def _parked(self, call: InputCall, now: float) -> list[Answer]:
        """Park the call: its client's request is answered with all open questions."""
        questions = call.park()
        self.awaits_input_until = now + INPUT_IN
        own = f"{call.number}.{call.round}"
        state = request_state.wrap(self._incarnation, self._process, f"{own}.{self._mac(own)}")
        frame = inputs.input_required(b'""', questions, state, bytes(self._server.server_info))
        return [Answer(*each) for each in call.answer(frame)]

    def _mac(self, own: str) -> str:
        return blake2b(f"{self._process} {own}".encode(), key=self._key, digest_size=16, person=b"mcpf input").hexdigest()

    def _resumed(self, job: Job, message: Message, level: str) -> tuple[Output, ...]:
        """Go on with a parked call, if the state of this retry is genuine and new."""
        wrapped = request_state.unwrap(jsonrpc.text(jsonrpc.meta(message).request_state))
        own, _, mac = wrapped[2].rpartition(".") if wrapped is not None else ("", "", "")
        if not hmac.compare_digest(mac.encode(), self._mac(own).encode()):
            return stale(job, "was not issued here")
        number, round = map(int, own.split("."))
        call = next((each for each in (self._call, *self._ended) if each is not None and each.number == number), None)
        if call is None:
            return stale(job, "belongs to a call that has ended")
        if not call.same(job, message):
            return stale(job, "belongs to another call")
        if round in call.answers:
            return (Answer(job, readdressed(call.answers[round], job)),)
        if call.over:
            return stale(job, f"belongs to a call that has ended: {call.over}")
        if round != call.round:
            return stale(job, "belongs to an earlier round of its call")
        if call.job is not None:
            call.repeats.append(job)
            return ()
        call.job, call.began, self.awaits_input_until = job, round, 0.0
        call.reports = bytes(jsonrpc.meta(message).fields.progress_token) == quoted_id(job)
        given = call.given(message)
        asked_again = self._parked(call, job.begun) if call.open else ()
        return (*self._logged(call, level), *given, *asked_again)

    def _end(self, call: InputCall, reason: str = "") -> None:
        call.over, call.job, self._call, self.awaits_input_until = reason, None, None, 0.0
        call.open.clear()
        if not call.round:
            return  # no client has a state of it
        self._ended.append(call)
        while len(self._ended) > REPLAYED or sum(each.kept_bytes for each in self._ended) > REPLAYED_BYTES:
            self._ended.popleft()

    # ------------------------------------------------------------ from the process
    @property
    def _current(self) -> InputCall | None:
        """The call that runs or is parked. A call whose answer a link has lost has ended."""
        call = self._call
        if call is not None and call.job is not None and call.job.exchange not in self._jobs:
            self._end(call, "its answer was lost")
        return self._call

    def job_of(self, id: str) -> Job | None:
        """The process knows a call by the id of its first request, in all of its rounds."""
        call = self._current
        return call.job if call is not None and call.id == id else None

    def asked(self, id: str) -> bool:
        """See Speaker. No job waits for the answer to a call that is parked, or that was cancelled."""
        call = self._current
        return super().asked(id) or (call is not None and call.id == id) or (bool(id) and id == self._cancelled)

    def _answered(self, message: Message, job: Job) -> tuple[Output, ...]:
        call = self._call
        if call is None or call.job is not job:
            return super()._answered(message, job)
        if call.missing and outcome(message.frame)[0] != "ok":
            answers = call.answer(_missing(call, job, message))
        else:
            answers = call.answer(self._modern(message, call.method, quoted_id(job)))
        self._end(call)
        return tuple(Answer(*each) for each in answers)

    def lost(self, job: Job, answer: LostAnswer, now: float) -> tuple[list[Job], tuple[bytes, ...]]:
        """See Speaker. The process may still run the call: it is cancelled."""
        call = self._call
        if call is None or call.job is not job:
            return super().lost(job, answer, now)
        jobs, call.repeats = [job, *call.repeats], []
        return jobs, self._ended_by(answer, call, now)

    def _ended_by(self, answer: Message, call: InputCall, now: float) -> tuple[bytes, ...]:
        """End the call with this answer. If that is lost, the process may still run the call."""
        if isinstance(answer, LostAnswer) and answer.started and not answer.server_answered:
            return self._give_up(call, now, "its answer was lost")
        self._end(call)
        return ()

    def _own_answered(self, message: Message, now: float) -> tuple[Output, ...]:
        id = jsonrpc.text(message.id)
        if id == self._cancelled:
            self._cancelled, self.stop_at = "", 0.0
            return ()
        if self._call is None or id != self._call.id:
            return super()._own_answered(message, now)
        call = self._call  # the server did not wait for the input; the next request of the client gets its answer
        call.began = call.round
        call.answer(self._modern(message, call.method, b'""'))
        return self._ended_by(message, call, now)

    def _asked(self, message: Message, now: float) -> tuple[Output, ...]:
        """A question parks the call, or waits for its next round if it is parked already."""
        call = self._current
        may_ask = call is not None and call.method in inputs.MAY_ASK and len(call.open) < QUESTIONS
        if call is None or not may_ask or not inputs.allowed(message, members(self.declared.capabilities)):
            capability = inputs.CAPABILITIES.get(message.method)
            if call is not None and capability is not None and capability not in members(self.declared.capabilities):
                call.missing[capability] = {}
            return super()._asked(message, now)
        call.question(message)
        return tuple(self._parked(call, now)) if call.job is not None else ()

    def _notified(self, message: Message) -> Job | None:
        call = self._current
        if call is None:
            return None
        if message.method == PROGRESS:
            return self.job_of(jsonrpc.text(jsonrpc.refers_to(message))) if call.reports else None
        if message.method == "notifications/cancelled":
            call.withdrawn(jsonrpc.refers_to(message))
        elif message.method == "notifications/message" and call.level >= 0:
            level = jsonrpc.text(members(message.params).get("level", b""))
            return call.job if level in LEVELS[call.level :] else None
        return None


def _missing(call: InputCall, job: Job, answer: Message) -> bytes:
    """The answer to a call that has failed because its client did not declare a capability (2026-07-28 basic/index)."""
    text = f"the server needs what the client did not declare: {', '.join(call.missing)}{tool_complaint(answer)}"
    data = {"requiredCapabilities": call.missing}
    return jsonrpc.error_frame(quoted_id(job), jsonrpc.MISSING_CAPABILITY, text, data)

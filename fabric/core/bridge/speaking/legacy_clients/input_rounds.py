"""The open calls of a legacy client at a modern server, and the input that each of them waits for.

The server ends a call to ask for input, and forgets it. Its questions go to the client as requests. Once all are answered, the
call is made again with the answers and the server's requestState. (2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import required_input
from fabric.mcp.across_eras.required_input import Required
from fabric.mcp.jsonrpc import Message

RETRIES_AT_ONCE = 3
"""How often a call is made again at once for a server that asks for no input but its requestState; then at its regular look."""


class Call(msgspec.Struct, eq=False):
    """One call, in whichever round it is."""

    job: Job
    """Its job."""
    request: Message
    """The request as the client wrote it, but for the ids."""
    running: str
    """The id under which the process runs it now; empty while it waits for input."""
    questions: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)
    """The questions that the client has not answered, by the id it knows: the server's key, and the method."""
    responses: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    """The answers of this round, by the server's key."""
    state: msgspec.Raw = msgspec.Raw()
    """The server's requestState, raw JSON; empty if it gave none."""
    refusal: msgspec.Raw = msgspec.Raw()
    """The client's error to a question, which ends the call; empty for none."""
    retries_at_once: int = 0
    """How often it was made again without input."""
    progress: float = float("-inf")
    """The last progress, which only grows, also from one round to the next."""


class InputRounds:
    """Every open call of one session."""

    __slots__ = ("_calls", "_count", "_jobs", "_questions", "_running")

    def __init__(self, jobs: dict[str, Job]) -> None:
        self._jobs = jobs
        self._calls: dict[str, Call] = {}  # by exchange
        self._running: dict[str, Call] = {}  # by the id of a later round
        self._questions: dict[str, Call] = {}  # by the id that the client knows
        self._count = 0

    @property
    def unanswered(self) -> int:
        """How many questions the client has not answered."""
        return len(self._questions)

    def begin(self, job: Job, request: Message) -> None:
        """A call is made for the first time."""
        if len(self._calls) > 2 * len(self._jobs) + 16:  # jobs also end without us
            for call in [call for exchange, call in self._calls.items() if exchange not in self._jobs]:
                self._forget(call)
        self._calls[job.exchange] = Call(job, request, job.exchange)

    def of(self, exchange: str) -> Call | None:
        """The open call of this exchange."""
        return self._calls.get(exchange)

    def job_of(self, id: str) -> Job | None:
        """The job of the call that runs under this id in a later round."""
        call = self._running.get(id)
        return call.job if call is not None and call.job.exchange in self._jobs else None

    def ask(self, call: Call, required: Required, revision: str) -> list[Message]:
        """The server asks for input. Returns the questions to the client."""
        self._running.pop(call.running, None)
        call.running, call.state = "", required.state
        questions = []
        for key, asked in required.questions.items():
            self._count += 1
            id = f"input-{self._count}"
            call.questions[id] = (key, asked.method)
            self._questions[id] = call
            questions.append(required_input.question(asked, id, revision))
        return questions

    def give(self, response: Message) -> Call | None:
        """The client answers a question. Returns its call, if that has all its answers now, or is refused."""
        id = jsonrpc.text(response.id)
        call = self._questions.pop(id, None)
        if call is None or call.job.exchange not in self._jobs:
            return None
        key, method = call.questions.pop(id)
        given = required_input.given(response, method)
        if given is None:
            call.refusal = response.error
            return call
        call.responses[key] = given
        return None if call.questions else call

    def run(self, call: Call, id: str) -> dict[str, msgspec.Raw]:
        """The call is made again under this id. Returns what is to be added to its params."""
        more = required_input.retry(call.responses, call.state)
        call.responses, call.running = {}, id
        self._running[id] = call
        return more

    def due(self) -> list[Call]:
        """The calls that wait for nothing but to be made again."""
        return [
            call for exchange, call in self._calls.items() if exchange in self._jobs and not (call.running or call.questions)
        ]

    def end(self, job: Job, reason: str) -> tuple[Call | None, list[Message]]:
        """A call is over. Returns it, and the notifications to the client that its open questions need no answer."""
        call = self._calls.get(job.exchange)
        if call is None:
            return None, []
        withdrawn = [required_input.withdrawal(id, reason) for id in call.questions]
        self._forget(call)
        return call, withdrawn

    def _forget(self, call: Call) -> None:
        self._calls.pop(call.job.exchange, None)
        self._running.pop(call.running, None)
        for id in call.questions:
            self._questions.pop(id, None)

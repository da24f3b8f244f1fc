"""A modern call that a legacy server may ask for input: its rounds, the questions of each, and the answers that were given.

A question of the server ends the client's request; the call stays in its process, parked. The client sends the request again
with the input and the state of the newest round. A request that is sent twice with one state gets the same answer twice.
(2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from fabric.core.bridge.job import Job
from fabric.mcp import jsonrpc, swap
from fabric.mcp.across_eras import inputs
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import response

ANSWERS = 4
"""How many answers of one call are kept for requests that are sent twice: those of its newest rounds."""

_CHANGING = ("_meta", "inputResponses", "requestState")  # the params that are not the same in a retry


class InputCall:
    """State of one call in a process that runs it alone."""

    __slots__ = (
        "_digest", "_questions", "_request", "answers", "asked", "began", "id", "job", "level", "method", "missing", "number",
        "open", "over", "principal", "repeats", "reports", "round",
    )  # fmt: skip

    def __init__(self, number: int, job: Job, request: Message) -> None:
        self.number = number
        """Unique in its process."""
        self.id = job.exchange
        """The id of the call at the process, in all of its rounds."""
        self.method = request.method
        """The method of the call."""
        self.job: Job | None = job
        """The client's request that awaits its answer; None while the call is parked."""
        self.repeats: list[Job] = []
        """Requests with the same state as `job`, which get the same answer."""
        self.principal = job.principal
        """The caller."""
        self.level = -1
        """The lowest level of log messages that the client gets, as an index of LEVELS; -1 for none."""
        self.reports = True
        """Whether the client gets progress. The server has the token of the first request, and a retry may bring none."""
        self.round = 0
        """How often the call was parked."""
        self.began = 0
        """The round whose state `job` bears; 0 for the first request, which bears none."""
        self.open: dict[str, tuple[bytes, bytes]] = {}
        """The server's unanswered questions, by key: the server's raw id, and the input request for the client."""
        self.missing: dict[str, dict[str, str]] = {}
        """The capabilities that the server needed, and the client did not declare, as in clientCapabilities."""
        self.asked: tuple[str, ...] = ()
        """The keys of the questions of the newest round."""
        self.answers: dict[int, bytes] = {}
        """The answer to the request with the state of each round."""
        self.over = ""
        """Why the call ended without an answer; empty if it did not."""
        self._request: Message | None = request  # until its digest is made, when the call is parked for the first time
        self._digest = b""
        self._questions = 0

    def question(self, message: Message) -> None:
        """The server asks the client for input."""
        self._questions += 1
        self.open[f"input-{self._questions}"] = (message.id, inputs.input_request(message))

    def withdrawn(self, id: bytes) -> None:
        """The server has cancelled its question with this raw id."""
        self.open = {key: value for key, value in self.open.items() if value[0] != id}

    def park(self) -> Mapping[str, bytes]:
        """Begin a round, and return its questions: all that are open."""
        if self._request is not None:
            self._digest, self._request = digest(self._request), None
        self.round, self.asked = self.round + 1, tuple(self.open)
        return {key: question for key, (_, question) in self.open.items()}

    def same(self, job: Job, retry: Message) -> bool:
        """Whether a retry is of this call and its caller."""
        return job.principal == self.principal and retry.method == self.method and digest(retry) == self._digest

    def given(self, retry: Message) -> list[bytes]:
        """The responses to the server that a retry brings; it may bring some of them, and others that nobody asked for."""
        given, responses = inputs.given(retry), []
        for key in self.asked:
            if key in given and key in self.open:
                id, _ = self.open.pop(key)
                responses.append(response(id, bytes(given[key])))
        return responses

    def answer(self, frame: bytes) -> list[tuple[Job, bytes]]:
        """Answer the client's request and its repeats, and keep the answer. Returns the response to each."""
        if self.began:
            self.answers[self.began] = frame
            if len(self.answers) > ANSWERS:
                del self.answers[next(iter(self.answers))]
        waiting = [self.job, *self.repeats] if self.job is not None else []
        self.job, self.repeats = None, []
        return [(job, readdressed(frame, job)) for job in waiting]

    def left(self, job: Job) -> bool:
        """A client's request was cancelled. Whether it was the last one that waits."""
        if job in self.repeats:
            self.repeats.remove(job)
        elif self.repeats:
            self.job = self.repeats.pop(0)
        else:
            return True
        return False

    @property
    def kept_bytes(self) -> int:
        """Bytes of the answers that are kept."""
        return sum(map(len, self.answers.values()))


def readdressed(frame: bytes, job: Job) -> bytes:
    """The response `frame` with the id of this job."""
    return swap.with_id(jsonrpc.parse(frame), jsonrpc.quoted(job.exchange))


def digest(request: Message) -> bytes:
    """A digest of a request's method and of the params that a retry repeats."""
    try:
        params = jsonrpc.decode(bytes(request.params), dict[str, Any]) if request.params else {}
    except msgspec.DecodeError:
        params = {}
    repeated = {key: value for key, value in params.items() if key not in _CHANGING}
    return blake2b(msgspec.json.encode([request.method, repeated], order="sorted"), digest_size=16).digest()

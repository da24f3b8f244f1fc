"""The Speaker of a process of a modern server that a legacy client's session has to itself.

Each request of the client gets the metadata that a modern server wants. The handshake, pings, log levels and subscriptions,
which a modern server does not know, are answered here. What the client's revision does not know is not sent to it.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage, Speaker, cancelled
from fabric.core.bridge.speaking.legacy_clients.change_listening import ACKNOWLEDGED, ChangeListening
from fabric.core.bridge.speaking.legacy_clients.input_rounds import RETRIES_AT_ONCE, Call, InputRounds
from fabric.envelope import Kind
from fabric.errors import InvalidFrame
from fabric.mcp import eras, jsonrpc, swap
from fabric.mcp.across_eras import inputs, legacy_answers, modern_requests, required_input, revisions
from fabric.mcp.across_eras.required_input import Required
from fabric.mcp.initialize import LATEST_LEGACY, Offer, offered
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.mcp.members import Members, members

_MODERN_ONLY = frozenset(("server/discover", "subscriptions/listen"))
_LEGACY_ONLY = frozenset(("notifications/roots/list_changed", "notifications/progress"))


class LegacyOnModern(Speaker):
    """Keeps what a modern server forgets between two requests: who the client is, its log level, and what it listens to."""

    __slots__ = ("_declared", "_level", "_listening", "_meta", "_ready", "_revision", "_rounds")

    era = eras.MODERN

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self._meta = modern_requests.client_meta(Offer())
        self._revision = LATEST_LEGACY
        self._declared: Members | None = None  # the server's capabilities, once it has answered
        self._level = ""
        self._ready = False  # the client has said that it is initialized
        self._rounds = InputRounds(jobs)
        self._listening = ChangeListening(self._meta)

    @property
    def unanswered_by_clients(self) -> int:
        """See Speaker."""
        return self._rounds.unanswered

    # ------------------------------------------------------------ to the process
    def ask(self, job: Job, frame: bytes) -> tuple[Output, ...]:
        """See Speaker."""
        message, id = jsonrpc.parse(frame), jsonrpc.quoted(job.exchange)
        if job.kind is Kind.OPEN:
            offer = offered(frame)
            self._revision, self._meta = revisions.negotiated(offer.version), modern_requests.client_meta(offer)
            self._listening = ChangeListening(self._meta)
            return (modern_requests.discover(message, id, self._meta),)
        match message.method:
            case "ping":
                return (Answer(job, jsonrpc.empty_result(id)),)
            case "logging/setLevel":
                return (Answer(job, self._set_level(id, message)),)
            case "resources/subscribe" | "resources/unsubscribe":
                return self._subscribe(job, id, message)
            case method if method in _MODERN_ONLY:
                text = f"{method} is not a request of MCP {self._revision}"
                return (Answer(job, jsonrpc.error_frame(id, jsonrpc.METHOD_NOT_FOUND, text)),)
        self._rounds.begin(job, message)
        return (modern_requests.modern(message, id, self._meta, self._level),)

    def _set_level(self, id: bytes, message: Message) -> bytes:
        """The level goes with each request from now on."""
        level = jsonrpc.text(members(message.params).get("level", b""))
        if self._declared is not None and "logging" not in self._declared:
            return jsonrpc.error_frame(id, jsonrpc.METHOD_NOT_FOUND, "the server does not log to clients")
        if level not in modern_requests.LEVELS:
            text = f"a log level is one of {', '.join(modern_requests.LEVELS)}"
            return jsonrpc.error_frame(id, jsonrpc.INVALID_PARAMS, text)
        self._level = level
        return jsonrpc.empty_result(id)

    def _subscribe(self, job: Job, id: bytes, message: Message) -> tuple[Output, ...]:
        uri = jsonrpc.text(jsonrpc.meta(message).uri)
        if self._declared is not None and not legacy_answers.subscribable(self._declared):
            text = "the server does not notify of updates of resources"
            return (Answer(job, jsonrpc.error_frame(id, jsonrpc.METHOD_NOT_FOUND, text)),)
        if not uri:
            return (Answer(job, jsonrpc.error_frame(id, jsonrpc.INVALID_PARAMS, f"{message.method} names no uri")),)
        if message.method == "resources/subscribe":
            return self._listening.subscribe(job, uri, self._own_id())
        return self._listening.unsubscribe(job, uri, self._own_id())

    def tell(self, message: Message) -> tuple[Output, ...]:
        """See Speaker."""
        if message.kind is MessageKind.RESPONSE:
            call = self._rounds.give(message)
            if call is None:
                return ()
            return self._refused(call) if call.refusal else (self._again(call),)
        if message.method == "notifications/initialized":
            self._ready = True
            return self._listen()
        return () if message.method in _LEGACY_ONLY else (message.frame,)

    def _again(self, call: Call) -> bytes:
        """Make a call again, with the input that its server has asked for."""
        id = self._own_id()
        more = self._rounds.run(call, id)
        return modern_requests.modern(call.request, jsonrpc.quoted(id), self._meta, self._level, more)

    def _refused(self, call: Call) -> tuple[Output, ...]:
        """The client cannot give the input, and the call ends with its error."""
        id = jsonrpc.quoted(call.job.exchange)
        frame = b'{"jsonrpc":"2.0","id":' + id + b',"error":' + bytes(call.refusal) + b"}"
        return self._end(call, frame, "another question of its call was refused")

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - the base's
        """The round that runs is cancelled at the server, and open questions at the client. An initialize: see Legacy."""
        self._listening.forget(job)
        call, withdrawn = self._rounds.end(job, "its call was cancelled")
        questions = tuple(ServerMessage(message, message.frame, None) for message in withdrawn)
        if call is None or not call.running:
            return questions
        if frame and call.running != job.exchange:
            frame = swap.with_reference(frame, jsonrpc.quoted(call.running))
        return (frame or cancelled(call.running), *questions)

    def look(self, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        return (*map(self._again, self._rounds.due()), *self._listening.look(self._own_id(), now))

    # ------------------------------------------------------------ from the process
    def job_of(self, id: str) -> Job | None:
        """See Speaker."""
        return self._rounds.job_of(id)

    def asked(self, id: str) -> bool:
        """See Speaker."""
        return self._listening.asked(id)

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        if job is not None:
            return self._opened(message, job) if job.kind is Kind.OPEN else self._answered(message, job)
        if message.kind is MessageKind.RESPONSE:
            return self._listening.ended(jsonrpc.text(message.id), message.error, self._own_id(), now)
        if message.kind is MessageKind.REQUEST:
            return super().hear(message, None, now)
        match message.method:
            case _ if message.method == ACKNOWLEDGED:
                return self._listening.acknowledged(message, self._own_id(), now)
            case "notifications/cancelled":  # a server may end nothing else by it
                return self._listening.ended(jsonrpc.text(jsonrpc.refers_to(message)), msgspec.Raw(), self._own_id(), now)
            case "notifications/progress":
                current = self._progresses(message)
            case _:
                current = self._listening.current(message)
        return (ServerMessage(message, legacy_answers.notification(message, self._revision), None),) if current else ()

    def _opened(self, message: Message, job: Job) -> tuple[Output, ...]:
        """The server has answered in the handshake."""
        frame = legacy_answers.initialized(message, jsonrpc.quoted(job.exchange), self._revision, job.server)
        if message.error:
            return (Answer(job, frame),)
        self._declared = legacy_answers.capabilities(message)
        return (Answer(job, frame), *self._listen())

    def _listen(self) -> tuple[Output, ...]:
        """Listen to changes, once both sides of the handshake are there."""
        if not self._ready or self._declared is None:
            return ()
        return self._listening.begin(legacy_answers.changing_lists(self._declared), self._own_id())

    def _answered(self, message: Message, job: Job) -> tuple[Output, ...]:
        call = self._rounds.of(job.exchange)
        if call is None or not call.running:
            return ()
        method, id = call.request.method, jsonrpc.quoted(job.exchange)
        try:
            required = required_input.required(message) if method in inputs.MAY_ASK else None
        except InvalidFrame as error:
            return self._end(call, jsonrpc.error_frame(id, error.code, str(error)), "")
        if required is not None:
            return self._ask_client(call, required)
        return self._end(call, legacy_answers.answer(message, id, method, self._revision), "")

    def _ask_client(self, call: Call, required: Required) -> tuple[Output, ...]:
        questions = self._rounds.ask(call, required, self._revision)
        if questions:
            return tuple(ServerMessage(question, question.frame, call.job) for question in questions)
        call.retries_at_once += 1
        return (self._again(call),) if call.retries_at_once <= RETRIES_AT_ONCE else ()

    def _end(self, call: Call, frame: bytes, reason: str) -> tuple[Output, ...]:
        """Answer a call. reason: why questions that are still open need no answer."""
        _, withdrawn = self._rounds.end(call.job, reason)
        return (*(ServerMessage(message, message.frame, call.job) for message in withdrawn), Answer(call.job, frame))

    def _progresses(self, message: Message) -> bool:
        """Whether progress is more than what its client knows, which a server that runs a call again does not remember."""
        call = self._rounds.of(jsonrpc.text(jsonrpc.refers_to(message)))
        if call is None:
            return True
        progress = jsonrpc.progress(message)
        if call.running != call.job.exchange and progress <= call.progress:
            return False
        call.progress = progress
        return True

"""The Speaker of a legacy server's process that the bridge itself has initialized, for modern clients of one kind.

It answers the requests that the server's revision does not have (server/discover, subscriptions/listen), and adds to results
what the modern schema requires. The clients of this Speaker can be asked nothing, so their requests run side by side; for other
clients there is the one in asking_calls.py.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage, Speaker
from fabric.core.bridge.speaking.declared import ANYBODY, Declared
from fabric.core.bridge.speaking.listeners import KINDS, UPDATED, Listeners
from fabric.core.bridge.speaking.modern import INPUT_IN
from fabric.mcp import eras, jsonrpc
from fabric.mcp.across_eras import discover, inputs, meta, results
from fabric.mcp.across_eras.discover import Initialized
from fabric.mcp.across_eras.modern_requests import LEVELS
from fabric.mcp.answers import complaint
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.mcp.members import request, response

PROGRESS = "notifications/progress"
REMOVED = frozenset({"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""The requests of earlier revisions that the modern one does not have."""

_INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class ModernOnLegacy(Speaker):
    """Translates between a legacy server and modern clients."""

    __slots__ = ("_key", "_own", "_server", "declared", "failure", "listeners", "ready")

    era = eras.LEGACY
    stop_at = 0.0
    """When the process is to be stopped, unless it has answered before; 0 for never."""

    def __init__(self, incarnation: str, process: str, jobs: dict[str, Job]) -> None:
        super().__init__(incarnation, process, jobs)
        self.declared = ANYBODY
        """The kind of clients that the process is for."""
        self.ready = False
        """Whether the process has answered its initialize."""
        self.failure = ""
        """Why it has refused its initialize, for people; empty if it has not."""
        self.listeners = Listeners()
        """The clients that listen for changes at its server."""
        self._key = b""
        self._server = Initialized()
        self._own: set[str] = set()  # ids of our own requests that are not answered

    def open(self, declared: Declared, key: bytes) -> bytes:
        """The request that opens the process for clients of this kind. key: a secret that authenticates states."""
        self.declared, self._key = declared, key
        return declared.initialize(self._new_own_id())

    @property
    def busy(self) -> bool:
        """Whether it cannot take another job of its kind now."""
        return False

    @property
    def questions(self) -> int:
        """How many questions of its server await the input of a client."""
        return 0

    @property
    def own_requests(self) -> int:
        """How many requests of its own the process has not answered."""
        return len(self._own)

    def expire(self, now: float, wait: float = INPUT_IN) -> tuple[bytes, ...]:  # noqa: ARG002 - that of one call at a time does
        """Give up what has waited for its client for longer than this."""
        return ()

    def _new_own_id(self) -> str:
        id = self._own_id()
        self._own.add(id)
        return id

    # ------------------------------------------------------------ to the process
    def ask(self, job: Job, frame: bytes) -> tuple[Output, ...]:
        """See Speaker."""
        message = jsonrpc.parse(frame)
        fields = jsonrpc.meta(message).fields
        version, level = jsonrpc.text(fields.version), jsonrpc.text(fields.log_level)
        job.method = message.method
        if version != jsonrpc.MODERN_VERSION:
            data = {"supported": [jsonrpc.MODERN_VERSION], "requested": version}
            return refused(job, jsonrpc.UNSUPPORTED_VERSION, "Unsupported protocol version", data)
        if jsonrpc.meta(message).request_state and message.method not in inputs.MAY_ASK:
            return stale(job, "belongs to another call")
        if message.method in REMOVED:
            return refused(job, jsonrpc.METHOD_NOT_FOUND, f"{message.method} is no request of {version}")
        if fields.log_level and level not in LEVELS:
            return refused(job, jsonrpc.INVALID_PARAMS, f"a log level is one of {', '.join(LEVELS)}")
        if message.method == "server/discover":
            return (Answer(job, response(quoted_id(job), discover.discovered(self._server))),)
        if message.method == "subscriptions/listen":
            return self._listen(job, message)
        return self._run(job, message, level)

    def _run(self, job: Job, message: Message, level: str) -> tuple[Output, ...]:  # noqa: ARG002 - as above
        if jsonrpc.meta(message).request_state:
            return stale(job, "was not issued here")
        return (meta.without_client(message, quoted_id(job)),)

    def _listen(self, job: Job, message: Message) -> tuple[Output, ...]:
        opened = self.listeners.open(job, bytes(message.params), self._server)
        if opened is None:
            return refused(job, jsonrpc.INVALID_PARAMS, "subscriptions/listen has no filter in `notifications`")
        acknowledged, uris = opened
        first = ServerMessage(jsonrpc.parse(acknowledged), acknowledged, job)
        return (first, *self._about("resources/subscribe", uris))

    def _about(self, method: str, uris: list[str]) -> list[bytes]:
        return [request(jsonrpc.quoted(self._new_own_id()), method, msgspec.json.encode({"uri": uri})) for uri in uris]

    def cancel(self, job: Job, frame: bytes, now: float) -> tuple[Output, ...]:
        """See Speaker."""
        if job.method == "subscriptions/listen":
            return tuple(self._about("resources/unsubscribe", self.listeners.close(job)))
        return super().cancel(job, frame, now)

    # ------------------------------------------------------------ from the process
    def asked(self, id: str) -> bool:
        """See Speaker."""
        return id in self._own

    def hear(self, message: Message, job: Job | None, now: float) -> tuple[Output, ...]:
        """See Speaker. A change that the server announces is for listeners: its message names no job."""
        if message.kind is MessageKind.RESPONSE:
            return self._answered(message, job) if job is not None else self._own_answered(message, now)
        if message.kind is MessageKind.REQUEST:
            return self._asked(message, now)
        if message.method in KINDS or message.method == UPDATED:
            return (ServerMessage(message, message.frame, None),)
        job = self._notified(message)
        return (ServerMessage(message, message.frame, job),) if job is not None else ()

    def _answered(self, message: Message, job: Job) -> tuple[Output, ...]:
        return (Answer(job, self._modern(message, job.method, quoted_id(job))),)

    def _modern(self, answer: Message, method: str, id: bytes) -> bytes:
        return results.modern(answer, id, method, bytes(self._server.server_info))

    def _own_answered(self, message: Message, now: float) -> tuple[Output, ...]:  # noqa: ARG002 - as above
        """The process has answered a request of our own."""
        self._own.discard(jsonrpc.text(message.id))
        if self.ready:
            return ()
        if message.error:
            self.failure = f"it has refused to be initialized{complaint(message)}"
            return ()
        self._server, self.ready = discover.initialized(message.frame), True
        return (_INITIALIZED,)

    def _asked(self, message: Message, now: float) -> tuple[Output, ...]:
        """The server asks something; in this process, that can be of no client."""
        if message.method == "ping":
            return (jsonrpc.empty_result(message.id),)
        return super().hear(message, None, now)

    def _notified(self, message: Message) -> Job | None:
        """Whose client gets a notification."""
        return self._jobs.get(jsonrpc.text(jsonrpc.refers_to(message))) if message.method == PROGRESS else None


def quoted_id(job: Job) -> bytes:
    """The raw id of the response to a job."""
    return jsonrpc.quoted(job.exchange)


def refused(job: Job, code: int, reason: str, data: object | None = None) -> tuple[Output, ...]:
    """The answer to a job that the server would refuse."""
    return (Answer(job, jsonrpc.error_frame(quoted_id(job), code, reason, data), refused=True),)


def stale(job: Job, reason: str) -> tuple[Output, ...]:
    """The answer to a job whose requestState is forged, foreign, or too old (2026-07-28 basic/patterns/mrtr)."""
    return refused(job, jsonrpc.INVALID_PARAMS, f"this requestState {reason}")

"""A request of a simulated client with its answers, the checks of each frame that answers it, and the frames of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fabric.errors import FabricError
from fabric.mcp import jsonrpc

if TYPE_CHECKING:
    from tests.sim.process import EdgeProcess
    from tests.sim.world import World


class Answer(msgspec.Struct, frozen=True):
    """An answer as its client received it."""

    at: float
    """World seconds at which it came."""
    reason: str
    """The fabric's reason; empty for an answer of the server's own, and for an edge's to a frame that is no valid request."""
    retryable: bool
    """Whether the fabric calls the request safe to send again."""
    message: str
    """The error, as text."""
    failed: bool
    """Whether it is an error."""


class Request:
    """A request and everything that its client received for it. `excused` says why an answer may be missing."""

    def __init__(self, world: World, client: str, edge: EdgeProcess, id: bytes, tool: str, arguments: dict[str, Any]) -> None:
        self.world = world
        self.client = client
        self.edge = edge
        self.id = id
        self.tool = tool  # read, write, or empty for an initialize
        self.key: str = arguments.get("key", "")
        self.token = token(id, self.key)
        self.delay: float = arguments.get("delay", 0.0)
        self.asks: bool = arguments.get("ask", False)
        self.arguments = arguments
        self.state: str | None = None  # the requestState of an answer that asks for input
        self.retried = False  # the call was sent again with that input, or its client has left
        self.posted = world.now
        self.unread = edge.frozen  # its edge may close the link without having read this
        self.answers: list[Answer] = []
        self.answer = b""  # the newest one, as it came
        self.progress = 0.0
        self.session = ""
        self.in_batch = False
        self.excused = ""
        self.cancelled = False
        self.cancelled_at = 0.0
        self.lapsed = False  # its client has ended its input, and its edge waits no longer

    def __repr__(self) -> str:
        return f"{self.client} {self.id.decode()} {self.tool or 'initialize'} {self.key} through {self.edge.name}"

    @property
    def open(self) -> bool:
        """Whether an answer is still owed."""
        return not (self.answers or self.excused or self.cancelled)

    @property
    def to_retry(self) -> bool:
        """Whether its server has asked for input that its client has not given yet."""
        return self.state is not None and not self.retried

    def received(self, message: jsonrpc.Message) -> None:
        """Check a frame that belongs to this request, and note it."""
        if message.method == "notifications/progress":
            value = jsonrpc.progress(message)
            if value <= self.progress or self.answers:
                self.world.violated(f"{self!r}: progress {value} after {self.progress}, {len(self.answers)} answers")
            self.progress = value
            if jsonrpc.refers_to(message) != self.token:
                self.world.violated(f"{self!r}: progress of {jsonrpc.refers_to(message)!r}")
        elif message.kind is jsonrpc.MessageKind.RESPONSE:
            self._answered(message)

    def _answered(self, message: jsonrpc.Message) -> None:
        self.answer = message.frame
        body = msgspec.json.decode(message.frame)
        data = body.get("error", {}).get("data") or {}
        reason, retryable = data.get("reason", ""), data.get("retryable", False)
        self.answers.append(Answer(self.world.now, reason, retryable, str(body.get("error")), "error" in body))
        if len(self.answers) > 1:
            self.world.violated(f"{self!r}: answered {len(self.answers)} times")
        if message.id != self.id:
            self.world.violated(f"{self!r}: answered under the id {message.id!r}")
        if body.get("result", {}).get("resultType") == "input_required":
            self.state = body["result"]["requestState"]
        elif "result" in body and self.key and body["result"].get("key") != self.key:
            self.world.violated(f"{self!r}: got the answer of {body['result'].get('key')}")
        refusals = (jsonrpc.INVALID_PARAMS, jsonrpc.INVALID_REQUEST)  # its initialize had failed, or was the second
        if "error" in body and not data and body["error"]["code"] not in refusals:
            self.world.violated(f"{self!r}: {body['error']}")


def token(id: bytes, key: str) -> bytes:
    """A request's progress token as raw JSON: a string or a number, as its id is. No client uses a token twice."""
    count = key.rpartition(".")[2]
    return b'"t%b"' % count.encode() if id[:1] == b'"' else b"90%b" % count.encode()


def frame(id: bytes, method: str, params: dict[str, Any]) -> jsonrpc.Message:
    """A client's request. id: raw JSON."""
    body = b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}' % (id, method.encode(), msgspec.json.encode(params))
    return jsonrpc.parse(body)


def call(id: bytes, tool: str, arguments: dict[str, Any], *, modern: bool, state: str | None = None) -> jsonrpc.Message:
    """A tools/call. state: the requestState under which its server asked for input, which this call then carries."""
    meta: dict[str, Any] = {"progressToken": msgspec.Raw(token(id, arguments["key"]))}
    if modern:
        meta["io.modelcontextprotocol/protocolVersion"] = jsonrpc.MODERN_VERSION
        if arguments.get("ask"):
            meta["io.modelcontextprotocol/clientCapabilities"] = {"sampling": {}}
    input = {name: {"key": arguments["key"]} for name in ("input-1", "input-2")}  # of a server's first two questions
    answer = {"requestState": state, "inputResponses": input} if state is not None else {}
    return frame(id, "tools/call", {"name": tool, "arguments": arguments, "_meta": meta} | answer)


def initialize(id: bytes, version: str = "2025-11-25") -> jsonrpc.Message:
    """An initialize."""
    return frame(id, "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c"}})


def notification(method: str, params: dict[str, Any]) -> jsonrpc.Message:
    """A client's notification."""
    return jsonrpc.parse(msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params}))


def reply(message: jsonrpc.Message) -> jsonrpc.Message:
    """A client's answer to a server's sampling request: it repeats the key."""
    key = msgspec.json.decode(message.params)["key"]
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (message.id, msgspec.json.encode({"key": key})))


def checked(frame: bytes) -> jsonrpc.Message | None:
    """A frame that an edge wrote, parsed; None for the empty frame that primes a stream. Raises on anything else."""
    try:
        return jsonrpc.parse(frame) if frame else None
    except FabricError as error:
        raise AssertionError(f"an edge wrote {frame!r}") from error

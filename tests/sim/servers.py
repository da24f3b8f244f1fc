"""Simulated MCP servers: they do what the arguments of a call say, and note the key of each call that they begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from fabric.core.events import ServerBehind, ServerCaughtUp, ServerExited, ServerFrame, ServerStarted
from fabric.faults import Fault, Reason, lost_answer
from fabric.mcp import jsonrpc
from tests.sim.wires import BEHIND_BYTES, PIPE_BYTES, Wire

if TYPE_CHECKING:
    from tests.sim.process import BridgeProcess
    from tests.sim.world import World

TOOLS = [
    {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "write", "inputSchema": {"type": "object"}},
]
LEGACY_CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}, "tasks": {"list": {}}}
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
MODERN_PARAMS = ("io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities", "requestState")
"""What no request to a legacy server's process may hold."""
PIPE = 0.0004
"""Seconds that a frame takes through a pipe."""


class Era(StrEnum):
    """Which revisions a server speaks."""

    LEGACY = "legacy"
    MODERN = "modern"
    DUAL = "dual"
    MODERN_ONLY = "modern only"
    """As MODERN, which takes initialize, too, though server/discover does not say so: this one refuses it. See ModernOnly."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a server behaves that is not well behaved."""

    reads_after: float = 0.0
    """Seconds until a process reads anything."""
    exits_before_initialize: bool = False
    """A process exits on a first message that is not initialize."""
    exits_on_early_ping: bool = False
    """A process exits on any message before initialize but server/discover."""
    exits_on_initialize: bool = False
    """A process that speaks only the modern revision exits on initialize."""
    hangs_before_initialize: bool = False
    """A process hangs after a first message that is not initialize."""
    ignores_probes: bool = False
    """A process answers neither server/discover nor ping."""
    unreadable: str = ""
    """Answers to calls are no JSON: "named" with a readable id, any other text without one."""


class SimServer:
    """One server process. `stdin` may be stopped; `hold` stops its stdout.

    The arguments of a call say what it does:

        key       names the call
        delay     seconds that it takes
        progress  how many progress notifications it sends
        ask       how many requests it sends to the client first, one after the other
        together  how many requests it sends to the client first, all at once
        asks_for  the method of these requests
        log       the levels of the log messages that it sends, if it is a legacy server and was not told another level
        input     its first answer is input_required
        big       bytes of a log message that it sends, and of its answer
        flood     how many progress notifications it sends before the answer, as fast as they are read
        poison    its process dies
    """

    def __init__(self, world: World, bridge: BridgeProcess, child: str, era: Era) -> None:
        self.world = world
        self.child = child
        self.era = era
        self.alive = True
        self.hangs = False
        self.when_stopped: Callable[[], None] | None = None
        self._bridge = bridge
        self.bridge_name = bridge.name
        self._running: dict[str, str] = {}  # ids of calls that are not cancelled, with their keys
        self.questions: dict[int, tuple[str, Any]] = {}  # ids of open requests to clients: the call's id and arguments
        self.declared: dict[str, Any] = {}  # what the client of its initialize can be asked for
        self.subscribed: list[str] = []  # URIs
        self.most_running = 0  # calls at once
        self._level = ""  # the least of the logs that it sends
        self._question_count = 0
        self._initialized = False
        self.methods: list[str] = []  # of the messages that it was sent, in order
        self.behaviour = world.settings.behaviours.get(child.rpartition("#")[0], Behaviour())
        self._reads_at = world.now + self.behaviour.reads_after
        self._sent: deque[str] = deque(maxlen=300)  # ids of what was written to it, in order
        self._held = self._releasing = False
        self._unread: list[jsonrpc.Message] = []  # what it has written, while its bridge does not read
        self._crashed = False
        self.stdin = Wire(
            world,
            behind=lambda waiting: bridge.feed(ServerBehind(child, waiting)),
            caught_up=lambda: bridge.feed(ServerCaughtUp(child)),
            given_up=lambda: self._exit("it has read nothing for a time"),
        )
        world.after(world.settings.starting + world.random.uniform(0.01, 0.05), self._up)

    def _up(self) -> None:
        if self.alive:
            self._bridge.feed(ServerStarted(self.child))

    def stop(self, *, killed: bool = False) -> None:
        """The bridge stops it, or (killed) dies and takes it along; a running call of a live session must not be stopped."""
        self.alive = False
        if not killed and self.when_stopped is not None:
            self.when_stopped()
        for key in () if killed or self._bridge.leaving or not self._initialized else self._running.values():
            client = self.world.clients.get(key.rpartition(".")[0])
            posted = max((request.posted for request in client.requests if request.key == key), default=0.0) if client else 0.0
            if client and client.wants_session and self.world.now - posted < self.world.settings.session_idle:
                self.world.violated(f"{self._bridge.name} ends the session of {client.name}, in which {key} runs")

    def crash(self) -> None:
        """It exits by itself."""
        if self.alive and self._held:
            self._crashed = True  # its bridge sees that once it has read what the process wrote
        elif self.alive:
            self._exit("simulated crash")

    def _exit(self, reason: str) -> None:
        if self.alive:
            unsent = frozenset([*self._sent][len(self._sent) - self.stdin.unsent :])
            self.alive = False
            self._bridge.children.pop(self.child, None)
            self._bridge.feed(ServerExited(self.child, reason, unsent=unsent))

    def hang(self) -> None:
        """It stays alive and neither reads nor writes any more."""
        self.hangs = True

    def write(self, frame: bytes) -> None:
        """The bridge writes a frame."""
        try:
            message = msgspec.json.decode(frame)
        except msgspec.DecodeError:
            self.world.violated(f"{self._bridge.name} {self.child} was sent a frame that is no JSON: {frame!r}")
            return
        after = max(PIPE, self._reads_at - self.world.now)
        self._sent.append(str(message.get("id")))
        self.stdin.send(lambda: self.world.after(after, self._received, message), len(frame))
        if not self._initialized and self.stdin.bytes > self.world.settings.unread_bytes + BEHIND_BYTES + len(frame):
            self.world.violated(f"{self._bridge.name} {self.child} was sent {self.stdin.bytes} bytes more than it reads")

    def send(self, **message: Any) -> None:
        """The server writes a frame."""
        frame = msgspec.json.encode({"jsonrpc": "2.0", **message})
        self.world.after(PIPE, self._written, jsonrpc.parse(frame))

    def _written(self, message: jsonrpc.Message) -> None:
        if not self.alive or self.hangs:
            return
        if self._held:
            self._unread.append(message)
        else:
            self._bridge.feed(ServerFrame(self.child, message))

    def hold(self) -> None:
        """Its bridge stops reading its stdout."""
        self._held, self._releasing = True, False

    def release(self) -> None:
        """Its bridge reads its stdout again, from its next turn on."""
        self._releasing = True
        self.world.after(0.0, self._release)

    def _release(self) -> None:
        if not self._releasing:
            return  # it was held again meanwhile
        self._held = False
        while self._unread and not self._held and self.alive:
            self._bridge.feed(ServerFrame(self.child, self._unread.pop(0)))
        if self._crashed and not self._unread:
            self._exit("simulated crash")

    def _received(self, message: Any) -> None:
        if not self.alive or self.hangs:
            return
        method, id, params = message.get("method"), message.get("id"), message.get("params", {})
        self.methods.append(method)
        early, behaviour = "initialize" not in self.methods, self.behaviour
        if early and (behaviour.exits_before_initialize or (behaviour.exits_on_early_ping and method != "server/discover")):
            self.crash()
            return
        if early and behaviour.hangs_before_initialize:
            self.hang()
            return
        if behaviour.ignores_probes and method in ("server/discover", "ping"):
            return
        if method is None:
            self._replied(message)
        elif method == "server/discover":
            versions = [jsonrpc.MODERN_VERSION] if self.era is Era.MODERN else [jsonrpc.MODERN_VERSION, "2025-11-25"]
            if self.era is not Era.LEGACY:
                self.send(id=id, result={"supportedVersions": versions, "capabilities": {}})
            else:
                self.send(id=id, error={"code": -32601, "message": "unknown method"})
        elif method == "initialize":
            if self._initialized:
                self.world.violated(f"{self._bridge.name} {self.child} is initialized twice")
            self._initialized = True
            self.declared = params["capabilities"]
            capabilities = LEGACY_CAPABILITIES if self.era is Era.LEGACY else {}
            result = {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": {"name": "s"}}
            self.send(id=id, result=result)
        elif self.era is Era.LEGACY and any(f'"{name}"' in msgspec.json.encode(params).decode() for name in MODERN_PARAMS):
            self.world.violated(f"{self._bridge.name} {self.child} speaks legacy and was sent {params}")
        elif method == "logging/setLevel":
            self._level = params["level"]
            self.send(id=id, result={})
        elif method in ("resources/subscribe", "resources/unsubscribe"):
            (self.subscribed.append if method == "resources/subscribe" else self.subscribed.remove)(params["uri"])
            self.send(id=id, result={})
        elif method == "tools/list":
            self._list(id, params)
        elif method in ("tools/call", "prompts/get"):
            self._tool(id, params, params.get("_meta", {}))
        elif method == "subscriptions/listen":
            self._running[id] = "listen"
            self._change(id)
        elif method == "notifications/cancelled":
            self._running.pop(params["requestId"], None)
        elif id is not None:
            self.send(id=id, result={})

    def _list(self, id: str, params: dict[str, Any]) -> None:
        self.world.tool_list_requests += 1
        if self.world.tool_lists == "whole":
            self.send(id=id, result={"tools": TOOLS, "ttlMs": 60_000})
        elif self.world.tool_lists == "half" and "cursor" not in params:
            self.world.did("failing tool list")
            self.send(id=id, result={"tools": TOOLS[1:], "nextCursor": "2"})
        elif self.world.tool_lists != "never":
            self.world.did("failing tool list")
            self.send(id=id, error={"code": -32603, "message": "no list today"})

    def _tool(self, id: str, params: dict[str, Any], meta: dict[str, Any]) -> None:
        arguments = params["arguments"]
        if meta.get(LOG_LEVEL):
            self.send(method="notifications/message", params={"data": arguments["key"]})
        if arguments.get("input") and "requestState" not in params:
            self.world.did("input asked for")
            self.send(id=id, result={"resultType": "input_required", "requestState": f"{self.child}/{arguments['key']}"})
        elif arguments.get("input") and params["requestState"] != f"{self.child}/{arguments['key']}":
            self.world.violated(f"{self._bridge.name} {self.child} was sent the state {params['requestState']}")
        else:
            if "requestState" in params:
                self.world.did("input given")
            self._call(id, arguments, meta.get("progressToken"))

    def _change(self, id: str) -> None:
        """Notify a subscription of a change, four times a second."""
        if id in self._running and self.alive:
            meta = {"io.modelcontextprotocol/subscriptionId": id}
            self.send(method="notifications/tools/list_changed", params={"_meta": meta})
            self.world.after(0.25, self._change, id)

    def _call(self, id: str, arguments: dict[str, Any], token: str | None) -> None:
        self.world.started.setdefault(arguments["key"], []).append(self._bridge.name)
        self._running[id] = arguments["key"]
        self.most_running = max(self.most_running, len(self._running))
        for level in arguments.get("log", ()) if self.era is Era.LEGACY else ():
            if not self._level or LEVELS.index(level) >= LEVELS.index(self._level):
                self.send(method="notifications/message", params={"level": level, "data": arguments["key"]})
        if arguments.get("poison"):
            self.world.did("poisoned call")
            self._bridge.touched.append("server crash")
            self.world.fault("poisoned call", lasts=1.0)
            self.world.after(0.02, self.crash)
        for _ in range(arguments.get("together", int(bool(arguments.get("ask"))))):
            self.ask(arguments["key"], id, arguments)
        if not arguments.get("ask") and not arguments.get("together"):
            self._work(id, arguments, token)

    def ask(self, key: str, id: str = "", arguments: dict[str, Any] | None = None) -> None:
        """Send the client a request. id: of the call that goes on with these arguments once the client has replied."""
        number = self._question_count  # the first id is 0
        self._question_count += 1
        self.questions[number] = (id, arguments or {"key": key})
        self.send(id=number, method=(arguments or {}).get("asks_for", "sampling/createMessage"), params={"key": key})

    def _work(self, id: str, arguments: dict[str, Any], token: str | None) -> None:
        steps, delay = arguments.get("progress", 0), arguments.get("delay", 0.0)
        if token is not None:
            for step in range(1, steps + 1):
                self.world.after(delay * step / (steps + 1), self._progress, id, token, step)
        big = arguments.get("big", 0)
        if big:
            self.send(method="notifications/message", params={"data": "x" * big})
        if flood := arguments.get("flood", 0):
            self._flood(id, arguments["key"], token, 1, flood)
            return
        self.world.after(delay, self._done, id, arguments["key"], big)

    def _flood(self, id: str, key: str, token: str | None, number: int, last: int) -> None:
        """Send the next of many messages; a process whose stdout is not read writes no more than its pipe takes."""
        if sum(len(message.frame) for message in self._unread) < PIPE_BYTES:
            params = {"progressToken": token, "progress": number, "message": "x" * 500}
            self.send(method="notifications/progress", params=params)
            number += 1
        if number <= last:
            self.world.after(0.002, self._flood, id, key, token, number, last)
        else:
            self.world.after(0.002, self._done, id, key, 0)

    def _progress(self, id: str, token: str, step: int) -> None:
        if id in self._running:
            self.send(method="notifications/progress", params={"progressToken": token, "progress": step})

    def _done(self, id: str, key: str, big: int) -> None:
        if self._running.pop(id, ""):
            if self.behaviour.unreadable:
                named = jsonrpc.quoted(id) if self.behaviour.unreadable == "named" else b""
                fault = Fault(Reason.INVALID, "not JSON")
                self.world.after(PIPE, self._written, lost_answer(named, fault, started=True, again=False))
            else:
                self.send(id=id, result={"content": ["x" * big], "key": key})

    def _replied(self, message: Any) -> None:
        question = self.questions.pop(message.get("id"), None) if isinstance(message.get("id"), int) else None
        if question is not None and "error" in message:
            self.world.did("question refused")
            if question[0] in self._running:
                self._running.pop(question[0])
                self.send(id=question[0], error={"code": -32603, "message": "not without an answer"})
        elif question is None or message.get("result", {}).get("key") != question[1]["key"]:
            self.world.violated(f"{self._bridge.name} {self.child} got a reply to no request: {message}")
        elif (
            question[0] and question[0] in self._running and not any(each[0] == question[0] for each in self.questions.values())
        ):
            id, arguments = question
            if (left := int(arguments.get("ask", 0)) - 1) > 0:
                self.ask(arguments["key"], id, arguments | {"ask": left})
            else:
                self._work(id, arguments, None)

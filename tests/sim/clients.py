"""Simulated clients on long links, of both eras. Each checks the frames that it receives, and reconnects when its edge dies.

The clients over HTTP are in http_clients.py; both share the class Client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.core.effects import Establish, Send
from fabric.core.events import InputLapsed, LinkOpened
from fabric.mcp import batches, jsonrpc
from fabric.mcp.initialize import LATEST_LEGACY
from fabric.mcp.jsonrpc import Message, MessageKind
from tests.sim.process import EdgeProcess
from tests.sim.requests import Request, call, checked, initialize, notification, reply

if TYPE_CHECKING:
    from tests.sim.world import World

AGAIN = 0.4
"""Seconds before a client without edge or session looks again."""
CROSSES_WITHIN = 0.1
"""Seconds within which a cancel and an answer cross each other, where no fault delays messages."""
INPUT_TAKES = 0.2
"""Seconds until a client sends a call again with the input that its server has asked for."""


class Client:
    """What all clients share: a name, the requests they made, and an edge that lives."""

    legacy = False
    missed = False  # a message was lost with a connection that cannot be resumed
    replies = True  # to its server's requests, at once

    def __init__(self, world: World, name: str, server: str, edge: EdgeProcess | None = None) -> None:
        self.world = world
        self.name = name
        self.server = server
        self.requests: list[Request] = []
        self.notifications: list[Message] = []  # that belong to no request, and logs
        self.over = False
        self.wants_session = False  # its session outlives its links, and it has not asked for the end of it
        self.unmade = 0  # calls that wait for an edge or a session
        self._edge = edge
        self._count = 0
        world.clients[name] = self

    @property
    def edge(self) -> EdgeProcess | None:
        """The edge it uses: the same one while that lives, then any other; None while there is none."""
        if self._edge is None or not self._edge.alive or self._edge.leaving:
            ready = [edge for edge in self.world.edges if not edge.leaving]
            self._edge = self.world.random.choice(ready) if ready else None
        return self._edge

    @property
    def session_id(self) -> str:
        """The id of its session over HTTP; empty where there is none."""
        return ""

    def new_request(self, edge: EdgeProcess, id: bytes | None, tool: str, **arguments: Any) -> Request:
        """A request with a key of its own. Unless one is given, ids count from 1, as every client's do."""
        self._count += 1
        if tool:
            arguments["key"] = f"{self.name}.{self._count}"
        request = Request(self.world, self.name, edge, id or str(self._count).encode(), tool, arguments)
        request.session = self.session_id
        self.requests.append(request)
        return request

    def call(self, tool: str, *, id: bytes | None = None, cancel_after: float | None = None, **arguments: Any) -> None:
        """Call a tool as soon as there is an edge and, where one is needed, a session. arguments: see SimServer."""
        if self.over:
            return
        self.unmade += 1
        self._call_when_ready(tool, id, cancel_after, arguments)

    def _call_when_ready(self, tool: str, id: bytes | None, cancel_after: float | None, arguments: dict[str, Any]) -> None:
        edge = self._ready()
        if self.over:
            self.unmade -= 1
        elif edge is None:
            self.world.after(AGAIN, self._call_when_ready, tool, id, cancel_after, arguments)
        else:
            self.unmade -= 1
            request = self.new_request(edge, id, tool, **arguments)
            self._send_call(edge, request, arguments | {"key": request.key}, cancel_after)

    def _ready(self) -> EdgeProcess | None:
        """The edge to call through, if a call can be made now."""
        raise NotImplementedError

    def _send_call(
        self,
        edge: EdgeProcess,
        request: Request,
        arguments: dict[str, Any],
        cancel_after: float | None,
        state: str | None = None,
    ) -> None:
        raise NotImplementedError

    def retry(self, asked: Request) -> None:
        """Send a call again, with the input that its server has asked for, through any edge."""
        edge = self._ready()
        if self.over or not asked.to_retry:
            return
        if edge is None:
            self.world.after(AGAIN, self.retry, asked)
            return
        asked.retried = True
        self._count += 1
        request = Request(self.world, self.name, edge, str(self._count).encode(), asked.tool, asked.arguments)
        request.session = self.session_id
        self.requests.append(request)
        self._send_call(edge, request, asked.arguments, None, asked.state)

    def leave(self) -> None:
        """End the session and the links."""
        raise NotImplementedError

    @property
    def waits(self) -> bool:
        """Whether an answer is still owed to it."""
        return any(request.open or request.to_retry for request in self.requests)

    def _left(self) -> None:
        self.over = True
        for request in self.requests:
            request.retried = True
        for request in self.requests:
            if request.open and not request.tool:
                request.excused = "its client left while it opened a session"


class LongLink(Client):
    """A client on a long link, such as stdio. A legacy one pipelines its first frames behind the initialize."""

    def __init__(
        self,
        world: World,
        name: str,
        server: str,
        *,
        legacy: bool,
        edge: EdgeProcess | None = None,
        version: str = LATEST_LEGACY,
    ) -> None:
        super().__init__(world, name, server, edge)
        self.legacy = legacy
        self.version = version
        self.link = ""
        self._links = 0
        self._open()

    def _open(self) -> None:
        edge = self.edge
        if self.over or self.link:
            return
        if edge is None:
            self.world.after(AGAIN, self._open)
            return
        self._links += 1
        self.link = f"{self.name}/{self._links}"
        edge.links[self.link] = self
        edge.feed(LinkOpened(self.link, self.server, self.name, "stdio"))
        if self.legacy:
            request = self.new_request(edge, b"0", "")
            request.session = self.link
            self.write(initialize(b"0", self.version))
            self.write(notification("notifications/initialized", {}))

    def write(self, message: Message) -> None:
        if self._edge is not None and self.link:
            self._edge.arrived(self.link, message)

    def _ready(self) -> EdgeProcess | None:
        return self._edge if self.link else None

    def _send_call(
        self,
        edge: EdgeProcess,
        request: Request,
        arguments: dict[str, Any],
        cancel_after: float | None,
        state: str | None = None,
    ) -> None:
        request.session = self.link
        self.write(call(request.id, request.tool, arguments, modern=not self.legacy, state=state))
        if cancel_after is not None:
            self.world.after(cancel_after, self.cancel, request)

    def cancel(self, request: Request) -> None:
        newest = next((other for other in reversed(self.requests) if other.id == request.id), request)
        if request.open and newest is request and request.session == self.link:
            request.cancelled, request.cancelled_at = True, self.world.now
            if any(other.open and other.session == self.link and other.id == request.id for other in self.requests):
                self.world.did("cancel of a shared id")
            self.write(notification("notifications/cancelled", {"requestId": int(request.id)}))

    def batch(self, *calls: dict[str, Any]) -> None:
        """Send several calls in one frame, if its session is open; its revision must be the one with batches."""
        edge = self._ready()
        opening = [request for request in self.requests if not request.tool and request.session == self.link]
        if edge is None or not opening or not opening[0].answers or opening[0].answers[0].reason:
            return
        messages = []
        for arguments in calls:
            request = self.new_request(edge, None, "write", **arguments)
            request.session, request.in_batch = self.link, True
            messages.append(call(request.id, request.tool, arguments | {"key": request.key}, modern=False))
        self.world.did("batch")
        self.write(jsonrpc.parse(b"[" + b",".join(message.frame for message in messages) + b"]"))

    def end_input(self) -> None:
        """Have its input lapse: each open request must be answered at once, and its link ends."""
        edge, link = self._edge, self.link
        if edge is None or not link or edge.frozen or link in edge.wires or edge.leaving or not edge.alive:
            return
        mine = [request for request in self.requests if request.open and request.session == link]
        for request in mine:
            request.lapsed = True
            self.world.did("answer after the end of input")
        edge.feed(InputLapsed(link))
        for request in mine:
            if request.open:
                self.world.violated(f"{request!r}: its client ended its input, and it was not answered")
        if self.link == link:
            self.leave_link()

    # ------------------------------------------------------------ what the edge sends (ClientLink)
    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        assert message is not None
        if message.kind is MessageKind.BATCH:
            for member in batches.split(message):
                assert isinstance(member, Message)
                self._received(member, in_batch=True)
        elif message.kind is MessageKind.REQUEST:
            if self.replies:
                self.write(reply(message))
        else:
            self._received(message)

    def _received(self, message: Message, *, in_batch: bool = False) -> None:
        if message.kind is MessageKind.NOTIFICATION and message.method != "notifications/progress":
            self.notifications.append(message)
            return
        wanted = jsonrpc.refers_to(message) if message.kind is MessageKind.NOTIFICATION else message.id
        body = message.frame
        mine = [request for request in self.requests if request.session == self.link]
        named = [request for request in mine if request.key and f'"key":"{request.key}"'.encode() in body]
        if len(named) > 1:  # a call, and again the same with the input that its server has asked for
            named = [request for request in named if request.open] or named[-1:]
        same = named or [request for request in mine if wanted in (request.id, request.token) and request.open]
        same = same or [request for request in reversed(mine) if wanted in (request.id, request.token)]
        if same:
            if message.kind is MessageKind.RESPONSE and self.world.deeds:  # only varied seeds cancel an id that is used twice
                self._doubt_others(same[0], mine, sure=bool(named))
            if same[0].answers:
                self._misread(same[0], mine)
            same[0].received(message)
            if message.kind is MessageKind.RESPONSE and same[0].in_batch is not in_batch:
                self.world.violated(f"{same[0]!r}: answered {'in a batch' if in_batch else 'alone'}")
            if not same[0].tool and same[0].answers[-1].reason:
                self.world.after(0.0, self.leave_link)
            elif same[0].to_retry:
                self.world.after(INPUT_TAKES, self.retry, same[0])
        else:
            self.world.violated(f"{self.name} receives a frame that answers no request: {message.frame!r}")

    def _doubt_others(self, answered: Request, mine: list[Request], *, sure: bool) -> None:
        """Excuse other requests of an id: an error may be theirs, and a cancel that crossed an answer may have ended them."""
        others = [request for request in mine if request.open and request.id == answered.id and request is not answered]
        within = float("inf") if self.world.delays else CROSSES_WITHIN
        crossed = answered.cancelled and self.world.now - answered.cancelled_at < within
        for other in others if crossed or not sure else ():
            other.excused = "a cancel or an error under its id may have been its own"
            answered.lapsed = True

    def _misread(self, named: Request, mine: list[Request]) -> None:
        """Give an error to the other request of its id: errors name no key, so the first one may have been misattributed."""
        same = [request for request in mine if request.id == named.id and not request.answers]
        other = next((request for request in same if request.open), None) or next(iter(same), None)
        if other is not None and named.answers[0].failed:
            other.answers.append(named.answers.pop())

    def leave_link(self) -> None:
        """End the link, and open a new one later."""
        edge, link = self._edge, self.link
        self._link_ended("its session was not opened")
        if edge is not None:
            edge.hang_up(link)

    def _link_ended(self, reason: str) -> None:
        for request in self.requests:
            if request.open and request.session == self.link:
                request.excused = reason
        self.link = ""
        self.world.after(AGAIN, self._open)

    def closed(self, reason: str, unread: frozenset[bytes]) -> None:
        for request in self.requests:
            seen = not request.unread and request.id not in unread
            if request.open and request.session == self.link and seen and not request.edge.leaving:
                self.world.violated(f"{request!r}: its link was closed before the answer ({reason})")
        self._link_ended("its link was closed")

    def broken(self) -> None:
        self._link_ended("its edge died")

    def accepted(self) -> None:
        self.world.violated(f"{self.name}: a long link was answered with 202")

    def finished(self) -> None:
        self.world.violated(f"{self.name}: a long link was finished")

    def established(self, effect: Establish) -> None:
        self.world.violated(f"{self.name}: a long link got a session token")

    def leave(self) -> None:
        self._left()
        if self._edge is not None and self.link:
            self._edge.hang_up(self.link)

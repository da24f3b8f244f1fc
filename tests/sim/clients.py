"""Simulated clients over long links and HTTP, of both eras. Each notes what it hears, and comes back when its edge dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fabric import jsonrpc
from fabric.core.effects import Establish, Send
from fabric.core.events import FrameArrived, LinkOpened, RequestPosted, SessionEnded, SessionRef, StreamOpened
from fabric.jsonrpc import Message, MessageKind
from tests.sim.process import EdgeProcess
from tests.sim.requests import Request, call, checked, initialize, notification, reply

if TYPE_CHECKING:
    from tests.sim.world import World

AGAIN = 0.4
"""Seconds before a client without edge or session looks again."""


class Client:
    """What all clients share: a name, the requests they made, and an edge that lives."""

    def __init__(self, world: World, name: str, server: str, edge: EdgeProcess | None = None) -> None:
        self.world = world
        self.name = name
        self.server = server
        self.requests: list[Request] = []
        self.over = False
        self.unmade = 0  # calls that wait for an edge or a session
        self._edge = edge
        self._count = 0

    @property
    def edge(self) -> EdgeProcess | None:
        """The edge it uses: the same while that lives, else any other; None while there is none."""
        if self._edge is None or not self._edge.alive or self._edge.leaving:
            ready = [edge for edge in self.world.edges if not edge.leaving]
            self._edge = self.world.random.choice(ready) if ready else None
        return self._edge

    def new(self, edge: EdgeProcess, id: bytes | None, tool: str, **arguments: Any) -> Request:
        """A request with a key of its own. Unless one is given, ids count from 1, as every client's do."""
        self._count += 1
        if tool:
            arguments["key"] = f"{self.name}.{self._count}"
        request = Request(self.world, self.name, edge, id or str(self._count).encode(), tool, arguments)
        request.session = getattr(self, "session_id", "")
        self.requests.append(request)
        return request

    def call(self, tool: str, *, id: bytes | None = None, cancel_after: float | None = None, **arguments: Any) -> None:
        """Call a tool as soon as that is possible."""
        self.unmade += 1
        self._try(tool, id, cancel_after, arguments)

    def _try(self, tool: str, id: bytes | None, cancel_after: float | None, arguments: dict[str, Any]) -> None:
        edge = self._ready()
        if edge is None:
            self.world.after(AGAIN, self._try, tool, id, cancel_after, arguments)
        else:
            self.unmade -= 1
            request = self.new(edge, id, tool, **arguments)
            self._make(edge, request, arguments | {"key": request.key}, cancel_after)

    def _ready(self) -> EdgeProcess | None:
        """The edge to call through, if a call can be made now."""
        raise NotImplementedError

    def _make(self, edge: EdgeProcess, request: Request, arguments: dict[str, Any], cancel_after: float | None) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """Go, in an orderly way."""
        raise NotImplementedError

    @property
    def waits(self) -> bool:
        """An answer is owed."""
        return any(request.open for request in self.requests)

    def _left(self) -> None:
        self.over = True
        for request in self.requests:
            if request.open and not request.tool:
                request.excused = "its client left while it opened a session"


class Post:
    """One HTTP request of a client, as the far end of its stream."""

    def __init__(self, client: Http, link: str, request: Request | None, session: SessionRef | None) -> None:
        self.client = client
        self.link = link
        self.request = request
        self.session = session
        self.over = False
        self.again: Callable[[], None] | None = None  # what to do when a reply did not get through

    def _end(self, edge_link: bool = True) -> None:
        if self.over:
            self.client.world.violated(f"{self.link} was ended twice")
        self.over = True

    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        if self.over:
            self.client.world.violated(f"{self.link} hears {effect.frame!r} after its end")
        if effect.final:
            self._end()
        if message is None:
            return
        if message.kind is MessageKind.REQUEST:
            self.client.asked(message, self.session)
        elif self.request is not None:
            self.request.heard(message)
        if effect.final:
            self.client.ended(self, message)
            if self.again is not None:
                self.client.world.after(AGAIN, self.again)

    def accepted(self) -> None:
        self._end()
        if self.request is not None and self.request.tool != "cancel":
            self.client.world.violated(f"{self.link}: a request was answered with 202")

    def finished(self) -> None:
        """Its stream ended without a response: a legacy request that was cancelled."""
        self._end()
        if self.request is not None and not self.request.cancelled:
            self.client.world.violated(f"{self.request!r}: its stream ended without an answer")

    def established(self, effect: Establish) -> None:
        self.client.established(effect)

    def closed(self, reason: str) -> None:
        self.client.world.violated(f"{self.link}: a POST was closed: {reason}")

    def broken(self) -> None:
        self.over = True
        if self.again is not None:
            self.client.world.after(AGAIN, self.again)
        if self.request is not None:
            self.request.excused = "its edge died"
            if not self.request.tool:
                self.client.world.after(AGAIN, self.client.open)


class Http(Client):
    """A client over HTTP. A legacy one has a session, its own stream, and may use any edge."""

    def __init__(
        self, world: World, name: str, server: str, *, legacy: bool, edge: EdgeProcess | None = None, roams: bool = False
    ) -> None:
        super().__init__(world, name, server, edge)
        self.legacy = legacy
        self.roams = roams
        self.session: SessionRef | None = None
        self._links = 0
        self._opening = False
        if legacy:
            self.open()

    def _post(self, edge: EdgeProcess, message: Message, request: Request | None, session: SessionRef | None) -> str:
        self._links += 1
        link = f"{self.name}/{self._links}"
        edge.links[link] = Post(self, link, request, session)
        edge.feed(RequestPosted(link, self.server, self.name, message, session, (), "http"))
        return link

    @property
    def edge(self) -> EdgeProcess | None:
        if self.roams:
            self._edge = None
        return super().edge

    # ------------------------------------------------------------ sessions
    def open(self) -> None:
        """Post an initialize, unless there is a session or one is asked for."""
        edge = self.edge
        if self.over or self.session is not None:
            return
        if edge is None:
            self.world.after(AGAIN, self.open)
            return
        self._post(edge, initialize(b"0"), self.new(edge, b"0", ""), None)

    def established(self, effect: Establish) -> None:
        """The answer names a session."""
        self.session = SessionRef(effect.session, effect.owner, effect.server, effect.principal)
        self.world.after(0.001, self._initialized)

    def _initialized(self) -> None:
        edge = self.edge
        if edge is not None and self.session is not None:
            self._post(edge, notification("notifications/initialized", {}), None, self.session)
            self._listen()

    def _listen(self) -> None:
        edge = self.edge
        if edge is not None and self.session is not None and not self.over:
            self._links += 1
            link = f"{self.name}/{self._links}"
            edge.links[link] = Stream(self, link, self.session)
            edge.feed(StreamOpened(link, self.session, ""))

    def stream_ended(self) -> None:
        """The session's own stream is over: open it again."""
        self.world.after(AGAIN, self._listen)

    def ended(self, post: Post, message: Message) -> None:
        """A request has its response."""
        request = post.request
        reason = request.answers[-1].reason if request is not None and request.answers else ""
        if request is not None and not request.tool and reason:
            self.world.after(AGAIN, self.open)
        elif reason == "session_lost" and request is not None and request.session == self.session_id:
            self.session = None
            self.open()

    @property
    def session_id(self) -> str:
        """Empty while there is none."""
        return self.session.session if self.session is not None else ""

    def asked(self, message: Message, session: SessionRef | None) -> None:
        """The server asks: answer through any edge."""
        self.world.after(0.01, self._reply, message, session)

    def _reply(self, message: Message, session: SessionRef | None) -> None:
        edge = self.edge
        if edge is not None and not self.over:
            end = edge.links[self._post(edge, reply(message), None, session)]
            if isinstance(end, Post) and session == self.session:
                end.again = lambda: self._reply(message, session)

    # ------------------------------------------------------------ calls
    def _ready(self) -> EdgeProcess | None:
        return self.edge if self.session is not None or not self.legacy else None

    def _make(self, edge: EdgeProcess, request: Request, arguments: dict[str, Any], cancel_after: float | None) -> None:
        link = self._post(edge, call(request.id, request.tool, arguments, modern=not self.legacy), request, self.session)
        if cancel_after is not None:
            self.world.after(cancel_after, self._cancel, request, link)

    def _cancel(self, request: Request, link: str) -> None:
        if not request.open:
            return
        if not self.legacy:
            request.cancelled = True
            request.edge.hang_up(link)
        elif self.session is not None and request.session == self.session_id and self.edge is not None:
            request.cancelled = True
            self._post(self.edge, notification("notifications/cancelled", {"requestId": int(request.id)}), None, self.session)

    def leave(self) -> None:
        edge = self.edge
        self._left()
        for living in self.world.edges:
            for link in [link for link, end in living.links.items() if isinstance(end, Stream) and end.client is self]:
                living.hang_up(link)
        if self.session is not None and edge is not None:
            self._links += 1
            link = f"{self.name}/{self._links}"
            edge.links[link] = Post(self, link, None, self.session)
            edge.feed(SessionEnded(link, self.session))


class Stream:
    """A session's own stream, opened by GET."""

    def __init__(self, client: Http, link: str, session: SessionRef) -> None:
        self.client = client
        self.link = link
        self.session = session

    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        if effect.final:
            self.client.stream_ended()
        elif message is not None and message.kind is MessageKind.REQUEST:
            self.client.asked(message, self.session)

    def accepted(self) -> None:
        self.client.world.violated(f"{self.link}: a stream was answered with 202")

    def finished(self) -> None:
        self.client.stream_ended()

    def established(self, effect: Establish) -> None:
        self.client.world.violated(f"{self.link}: a stream established a session")

    def closed(self, reason: str) -> None:
        self.client.world.violated(f"{self.link}: a stream was closed: {reason}")

    def broken(self) -> None:
        self.client.stream_ended()


class LongLink(Client):
    """A client on a long link, such as stdio. A legacy one pipelines its first frames behind the initialize."""

    def __init__(self, world: World, name: str, server: str, *, legacy: bool, edge: EdgeProcess | None = None) -> None:
        super().__init__(world, name, server, edge)
        self.legacy = legacy
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
            request = self.new(edge, b"0", "")
            request.session = self.link
            self._frame(initialize(b"0"))
            self._frame(notification("notifications/initialized", {}))

    def _frame(self, message: Message) -> None:
        if self._edge is not None and self.link:
            self._edge.feed(FrameArrived(self.link, message))

    def _ready(self) -> EdgeProcess | None:
        return self._edge if self.link else None

    def _make(self, edge: EdgeProcess, request: Request, arguments: dict[str, Any], cancel_after: float | None) -> None:
        request.session = self.link
        self._frame(call(request.id, request.tool, arguments, modern=not self.legacy))
        if cancel_after is not None:
            self.world.after(cancel_after, self._cancel, request)

    def _cancel(self, request: Request) -> None:
        newest = next((other for other in reversed(self.requests) if other.id == request.id), request)
        if request.open and newest is request and request.session == self.link:
            request.cancelled = True
            self._frame(notification("notifications/cancelled", {"requestId": int(request.id)}))

    # ------------------------------------------------------------ what the edge says
    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        assert message is not None
        if message.kind is MessageKind.REQUEST:
            self._frame(reply(message))
            return
        wanted = jsonrpc.refers_to(message) if message.kind is MessageKind.NOTIFICATION else message.id
        body = effect.frame
        mine = [request for request in self.requests if request.session == self.link]
        named = [request for request in mine if request.key and f'"key":"{request.key}"'.encode() in body]
        same = named or [request for request in mine if wanted in (request.id, request.token) and request.open]
        same = same or [request for request in reversed(mine) if wanted in (request.id, request.token)]
        if same:
            if same[0].answers:
                self._misread(same[0], mine)
            same[0].heard(message)
            if not same[0].tool and same[0].answers[-1].reason:
                self.world.after(0.0, self.leave_link)
        else:
            self.world.violated(f"{self.name} hears what it never asked: {effect.frame!r}")

    def _misread(self, named: Request, mine: list[Request]) -> None:
        """An error names no key: where two requests share an id, it was the other's."""
        other = next((request for request in mine if request.open and request.id == named.id), None)
        if other is not None and named.answers[0].reason:
            other.answers.append(named.answers.pop())

    def leave_link(self) -> None:
        """The session could not be opened: try on a new link."""
        edge, link = self._edge, self.link
        self._gone("its session was not opened")
        if edge is not None:
            edge.hang_up(link)

    def _gone(self, why: str) -> None:
        for request in self.requests:
            if request.open and request.session == self.link:
                request.excused = why
        self.link = ""
        self.world.after(AGAIN, self._open)

    def closed(self, reason: str) -> None:
        for request in self.requests:
            if request.open and request.session == self.link and not request.unread and not request.edge.leaving:
                self.world.violated(f"{request!r}: its link was closed before the answer ({reason})")
        self._gone("its link was closed")

    def broken(self) -> None:
        self._gone("its edge died")

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

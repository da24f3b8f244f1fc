"""Simulated clients over HTTP, of both eras: a link a request, and for a session its own stream, through any edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fabric.core.effects import Establish, Send
from fabric.core.events import RequestPosted, SessionEnded, SessionRef, StreamOpened
from fabric.jsonrpc import Message, MessageKind
from tests.sim.clients import AGAIN, Client
from tests.sim.process import EdgeProcess
from tests.sim.requests import Request, call, checked, initialize, notification, reply

if TYPE_CHECKING:
    from tests.sim.world import World

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

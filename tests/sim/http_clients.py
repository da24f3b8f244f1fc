"""Simulated clients over HTTP, of both eras: one link for each request, and one for the event stream of a session.

A legacy client whose connection breaks goes on as the SDKs do: with a GET and the last event id it has received, at any edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fabric.core.effects import Establish, Send
from fabric.core.events import AnswerAwaited, RequestPosted, SessionEnded, SessionRef, StreamOpened
from fabric.mcp.jsonrpc import Message, MessageKind
from tests.sim.clients import AGAIN, INPUT_TAKES, Client
from tests.sim.process import EdgeProcess
from tests.sim.requests import Request, call, checked, initialize, notification, reply

AWAITED = 1.0
"""Seconds after which the HTTP listener reports that the answer to an initialize takes long."""

if TYPE_CHECKING:
    from tests.sim.world import World


class Post:
    """One POST or DELETE of a client, as the far end of its response."""

    def __init__(self, client: Http, link: str, request: Request | None, session: SessionRef | None) -> None:
        self.client = client
        self.link = link
        self.request = request
        self.session = session
        self.over = False
        self.again: Callable[[], None] | None = None  # called when a reply to a server did not get through
        self.last = ""  # the newest event id received

    def _end(self, edge_link: bool = True) -> None:
        if self.over:
            self.client.world.violated(f"{self.link} was ended twice")
        self.over = True

    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        if self.over:
            self.client.world.violated(f"{self.link} receives {effect.frame!r} after its end")
        if self.client.answer_only and not effect.final:
            self.client.world.violated(f"{self.link} accepts only its answer, and receives {effect.frame!r}")
        self._note_event(effect.event)
        if effect.final:
            self._end()
        if message is None:
            return
        if message.kind is MessageKind.REQUEST:
            self.client.server_request(message, self.session)
        elif message.kind is MessageKind.NOTIFICATION and message.method != "notifications/progress":
            self.client.notifications.append(message)
        elif self.request is not None:
            self.request.received(message)
        if effect.final:
            self.client.ended(self, message)
            if self.again is not None:
                self.client.world.after(AGAIN, self.again)

    def _note_event(self, event: str) -> None:
        if event:
            self.client.note_event(event)
            stream, _, number = event.rpartition(".")
            if self.last and (self.last.rpartition(".")[0] != stream or _number(self.last) >= int(number)):
                self.client.world.violated(f"{self.link} receives {event} after {self.last}")
            self.last = event

    def accepted(self) -> None:
        self._end()
        if self.request is not None and self.request.tool != "cancel":
            self.client.world.violated(f"{self.link}: a request was answered with 202")

    def finished(self) -> None:
        """Its stream ended without a response: a legacy request was cancelled, or its stream is read on another connection."""
        self._end()
        if self.request is not None and not self.request.cancelled and not self.rivalled:
            self.client.world.violated(f"{self.request!r}: its stream ended without an answer")

    @property
    def rivalled(self) -> bool:
        """Whether its client reads the stream on another connection, too."""
        return any(end is not self and end.request is self.request and not end.over for end in self.client.ends)

    def established(self, effect: Establish) -> None:
        self.client.established(effect)

    def closed(self, reason: str, unread: frozenset[bytes]) -> None:
        self.client.world.violated(f"{self.link}: a POST was closed: {reason}")

    def broken(self) -> None:
        self.over = True
        if self.again is not None:
            self.client.world.after(AGAIN, self.again)
        if self.request is not None and self.request.open and self.last:
            self.client.world.after(AGAIN, self.client.resume, self)
        elif self.request is not None and not self.rivalled:
            self.request.excused = "its connection broke"
            self.client.missed = True
            if not self.request.tool:
                self.client.world.after(AGAIN, self.client.open)


class Resumed(Post):
    """A request's stream resumed by GET with Last-Event-ID. It carries the answer; a final frame is a refusal of the GET."""

    def sent(self, effect: Send) -> None:
        if not effect.final:
            super().sent(effect)
            return
        self._end()
        message = checked(effect.frame)
        assert self.request is not None
        if message is not None and b'"session_lost"' in message.frame:
            self.request.excused = "its session was lost"
            self.client.lost(self.session)
        else:
            self.client.world.violated(f"{self.request!r}: not resumed from {self.last}: {effect.frame!r}")

    def finished(self) -> None:
        self._end()
        if self.request is not None and self.request.open and not self.rivalled:
            self.client.world.after(AGAIN, self.client.resume, self)  # if its session is over, the edge refuses that


class Http(Client):
    """A client over HTTP. A legacy one has a session and reads its event stream.

    roams: it uses any edge for each request. answer_only: it accepts no event stream as the response to a POST.
    """

    def __init__(
        self,
        world: World,
        name: str,
        server: str,
        *,
        legacy: bool,
        edge: EdgeProcess | None = None,
        roams: bool = False,
        answer_only: bool = False,
    ) -> None:
        super().__init__(world, name, server, edge)
        self.answer_only = answer_only
        self.legacy = self.wants_session = legacy
        self.roams = roams
        self.ends: list[Post] = []
        self._events: set[str] = set()
        self.unanswered: list[Message] = []  # requests of the server, while the client does not reply
        self._server_requests: set[tuple[bytes, str]] = set()
        self.session: SessionRef | None = None
        self._links = 0
        self.offered: SessionRef | None = None  # named by the head of an initialize's response
        if legacy:
            self.open()

    def post(self, edge: EdgeProcess, message: Message, request: Request | None, session: SessionRef | None) -> str:
        self._links += 1
        link = f"{self.name}/{self._links}"
        edge.links[link] = end = Post(self, link, request, session)
        self.ends.append(end)
        edge.feed(RequestPosted(link, self.server, self.name, message, session, (), "http", answer_only=self.answer_only))
        return link

    @property
    def edge(self) -> EdgeProcess | None:
        if self.roams:
            self._edge = None
        return super().edge

    # ------------------------------------------------------------ sessions
    def open(self) -> None:
        """Post an initialize, unless there is a session."""
        edge = self.edge
        if self.over or self.session is not None:
            return
        if edge is None:
            self.world.after(AGAIN, self.open)
            return
        link = self.post(edge, initialize(b"0"), self.new_request(edge, b"0", ""), None)
        self.world.after(AWAITED, self._awaited, edge, link)

    def _awaited(self, edge: EdgeProcess, link: str) -> None:
        end = edge.links.get(link)
        if isinstance(end, Post) and not end.over and not self.answer_only:
            edge.feed(AnswerAwaited(link))
            self.world.after(AWAITED, self._awaited, edge, link)

    def established(self, effect: Establish) -> None:
        """The head of an initialize's response names a session."""
        self.offered = SessionRef(effect.session, effect.owner, effect.server, effect.principal)

    def _initialized(self) -> None:
        edge = self.edge
        if edge is not None and self.session is not None:
            self.post(edge, notification("notifications/initialized", {}), None, self.session)
            self._listen()

    def _listen(self, last: str = "") -> None:
        edge = self.edge
        if self.session is None or self.over or not self.session.session.startswith(last.rpartition(".")[0]):
            return
        if edge is None:
            self.stream_ended(last)
            return
        self._links += 1
        link = f"{self.name}/{self._links}"
        edge.links[link] = Stream(self, link, self.session, last)
        edge.feed(StreamOpened(link, self.session, last))

    def stream_ended(self, last: str) -> None:
        """The session's own stream or its connection has ended: open it again."""
        self.world.after(AGAIN, self._listen, last)

    def resume(self, post: Post, at: EdgeProcess | None = None) -> None:
        """Resume a request's stream, at this edge or any."""
        edge = at or self.edge
        if post.request is None or not post.request.open or post.session is None:
            return
        if post.session != self.session or self.over:
            post.request.excused = "its session is over"
        elif edge is None:
            self.world.after(AGAIN, self.resume, post)
        else:
            self._links += 1
            link = f"{self.name}/{self._links}"
            edge.links[link] = end = Resumed(self, link, post.request, post.session)
            end.last = max((end.last for end in self.ends if end.request is post.request), key=_number)
            self.ends.append(end)
            edge.feed(StreamOpened(link, post.session, end.last))

    def note_event(self, event: str) -> None:
        """An event of this id came on one of the client's streams."""
        if event in self._events:
            self.world.violated(f"{self.name} receives {event} twice")
        self._events.add(event)

    def lost(self, session: SessionRef | None) -> None:
        """An answer says that this session is lost: open another."""
        if session == self.session:
            self.session = None
            self.open()

    def ended(self, post: Post, message: Message) -> None:
        """A request has its answer."""
        request = post.request
        reason = request.answers[-1].reason if request is not None and request.answers else ""
        if request is not None and not request.tool and reason:
            self.world.after(AGAIN, self.open)
        elif request is not None and not request.tool and self.offered is not None:
            self.session = self.offered
            self.world.after(0.001, self._initialized)
        elif reason == "session_lost" and request is not None and request.session == self.session_id:
            self.lost(post.session)
        elif request is not None and request.to_retry:
            self.world.after(INPUT_TAKES, self.retry, request)

    @property
    def session_id(self) -> str:
        """The id of its session over HTTP; empty where there is none."""
        return self.session.session if self.session is not None else ""

    def server_request(self, message: Message, session: SessionRef | None) -> None:
        """A request of the server came."""
        question = (message.id, session.session if session is not None else "")
        if question in self._server_requests:
            self.world.violated(f"{self.name} is asked {question} twice")
        self._server_requests.add(question)
        if self.replies:
            self.reply_to(message, session)
        else:
            self.unanswered.append(message)

    def reply_to(self, message: Message, session: SessionRef | None) -> None:
        """Reply to a request of the server, through any edge."""
        self.world.after(0.01, self._reply, message, session)

    def _reply(self, message: Message, session: SessionRef | None) -> None:
        edge = self.edge
        if edge is not None and not self.over:
            end = edge.links[self.post(edge, reply(message), None, session)]
            if isinstance(end, Post) and session == self.session:
                end.again = lambda: self._reply(message, session)

    # ------------------------------------------------------------ calls
    def _ready(self) -> EdgeProcess | None:
        return self.edge if self.session is not None or not self.legacy else None

    def _send_call(
        self,
        edge: EdgeProcess,
        request: Request,
        arguments: dict[str, Any],
        cancel_after: float | None,
        state: str | None = None,
    ) -> None:
        message = call(request.id, request.tool, arguments, modern=not self.legacy, state=state)
        link = self.post(edge, message, request, self.session)
        if cancel_after is not None:
            self.world.after(cancel_after, self.cancel, request, link)

    def cancel(self, request: Request, link: str) -> None:
        if not request.open:
            return
        if not self.legacy:
            request.cancelled = True
            request.edge.hang_up(link)
        elif self.session is not None and request.session == self.session_id and self.edge is not None:
            request.cancelled = True
            self.post(self.edge, notification("notifications/cancelled", {"requestId": int(request.id)}), None, self.session)

    def abandon(self) -> None:
        """Vanish: its connections end without a DELETE, and it never comes back."""
        self._left()
        for request in self.requests:
            if request.open:
                request.excused = "its client went away"
        for living in self.world.edges:
            for link in [link for link, end in living.links.items() if isinstance(end, (Post, Stream)) and end.client is self]:
                living.hang_up(link)

    def leave(self) -> None:
        edge = self.edge
        self._left()
        self.wants_session = False
        for living in self.world.edges:
            for link in [link for link, end in living.links.items() if isinstance(end, Stream) and end.client is self]:
                living.hang_up(link)
        if self.session is not None and edge is not None:
            self._links += 1
            link = f"{self.name}/{self._links}"
            edge.links[link] = Post(self, link, None, self.session)
            edge.feed(SessionEnded(link, self.session))


class Stream:
    """The event stream of a session, opened by GET."""

    def __init__(self, client: Http, link: str, session: SessionRef, last: str) -> None:
        self.client = client
        self.link = link
        self.session = session
        self.last = last

    def sent(self, effect: Send) -> None:
        message = checked(effect.frame)
        if effect.event:
            self.client.note_event(effect.event)
            if self.last and _number(self.last) >= _number(effect.event):
                self.client.world.violated(f"{self.link} receives {effect.event} after {self.last}")
            self.last = effect.event
        if effect.final:
            self.client.stream_ended("")
        elif message is not None and message.kind is MessageKind.REQUEST:
            self.client.server_request(message, self.session)
        elif message is not None:
            self.client.notifications.append(message)

    def accepted(self) -> None:
        self.client.world.violated(f"{self.link}: a stream was answered with 202")

    def finished(self) -> None:
        self.client.stream_ended(self.last)

    def established(self, effect: Establish) -> None:
        self.client.world.violated(f"{self.link}: a stream established a session")

    def closed(self, reason: str, unread: frozenset[bytes]) -> None:
        self.client.world.violated(f"{self.link}: a stream was closed: {reason}")

    def broken(self) -> None:
        self.client.missed = self.client.missed or not self.last
        self.client.stream_ended(self.last)


def _number(event: str) -> int:
    return int(event.rpartition(".")[2] or -1)

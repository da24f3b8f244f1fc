"""The edge at run time: an edge core, the links of its clients and its node. It reads long links; HTTP listeners call it.

Above it: workers. Below it: the edge's core, links and the node.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from fabric.core.edge.snapshot import EdgeSnapshot
from fabric.core.effects import (
    Accept,
    CloseLink,
    Completed,
    Effect,
    Establish,
    Finish,
    HoldLink,
    LinkIdle,
    ReleaseLink,
    Send,
    Skipped,
)
from fabric.core.events import (
    AnswerAwaited,
    FrameArrived,
    InputEnded,
    InputLapsed,
    LinkBehind,
    LinkCaughtUp,
    LinkGone,
    LinkOpened,
    Listening,
    RequestPosted,
    SessionEnded,
    SessionRef,
    StreamOpened,
)
from fabric.core.peers.announcement import Role
from fabric.core.peers.member import Identity
from fabric.core.telemetry_record import Record
from fabric.errors import EndOfLink, InvalidFrame, InvalidToken, LinkBroken, LinkError, LinkOverflow
from fabric.faults import Fault, Reason, fault_frame
from fabric.links.base import Link, LinkInfo, Purpose, RequestLink
from fabric.mcp import jsonrpc
from fabric.mcp.initialize import negotiated, offered
from fabric.mcp.jsonrpc import Message
from fabric.runtime.node import Node
from fabric.runtime.pacing import Pacing
from fabric.runtime.retry import Dialer
from fabric.security.seal import SessionSealer, SessionToken

log = logging.getLogger(__name__)


class Edge:
    """One edge, and the RequestHandler of its HTTP listeners. It is made, and its `node` started, on a running event loop."""

    def __init__(
        self,
        url: str,
        fabric: str,
        identity: Identity,
        *,
        limits: Limits,
        servers: frozenset[str],
        retry_calls: frozenset[str],
        sealer: SessionSealer,
        session_lifetime: float,
        completed: Callable[[Record], None],
        dialer: Dialer,
    ) -> None:
        self._core = EdgeCore(identity, limits, servers, retry_calls=retry_calls)
        self.node = Node(url, fabric, self._core, self._perform, dialer)
        self.known = self._core.known
        """Whether a server of this name is known; see ServerDirectory.known."""
        self.names = self._core.names
        """The names of all known servers."""
        self.untaken = self._core.untaken
        """Why no bridge takes work of this server, for people; empty if one does."""
        self._fabric = fabric
        self._sealer = sealer
        self._lifetime = session_lifetime
        self._completed = completed
        self._links: dict[str, Link] = {}
        self._half_closed: dict[str, asyncio.Future[None]] = {}  # until they are idle
        self._requests: dict[str, RequestLink] = {}
        self._pacing = Pacing(self.node.feed, LinkBehind, LinkCaughtUp)

    def __repr__(self) -> str:
        return f"<Edge {self.snapshot()}>"

    def snapshot(self) -> EdgeSnapshot:
        """The state of the edge now."""
        return self._core.snapshot(self.node.loop.now())

    @property
    def sure(self) -> bool:
        """Whether a full lease has shown which members there are."""
        now = self.snapshot()
        return now.settled and now.sure

    def listens_at(self, address: str) -> None:
        """Say in announcements where clients reach this edge."""
        self.node.feed(Listening(address))

    def announced_servers(self) -> list[str]:
        """The servers that living bridges announce, by name."""
        bridges = [each for _, each in self.node.announcements() if each.role is Role.BRIDGE]
        return sorted({name for bridge in bridges for name in bridge.serves})

    # ------------------------------------------------------------ links
    def on_request(self, link: RequestLink, message: Message | None) -> None:
        """See RequestHandler.on_request."""
        info = link.info
        session = None
        if info.session:
            try:
                session = self._session(info)
            except InvalidToken as error:
                fault = Fault(Reason.SESSION_LOST, f"{error}; begin a new session", retryable=True)
                link.send(fault_frame(b"null", fault, server=info.server), final=True)
                return
        self._requests[info.id] = link
        if message is not None:
            request = (info.id, info.server, info.principal, message, session, info.params, info.transport)
            self.node.feed(RequestPosted(*request, info.trace, info.caller, info.answer_only))
        elif session is not None:  # the listener refuses a GET or a DELETE without one
            opened = info.purpose is Purpose.EVENT_STREAM
            self.node.feed(StreamOpened(info.id, session, info.last_event) if opened else SessionEnded(info.id, session))

    def on_waiting(self, link: RequestLink) -> None:
        """See RequestHandler.on_waiting."""
        self.node.feed(AnswerAwaited(link.info.id))

    def on_disconnect(self, link: RequestLink) -> None:
        """See RequestHandler.on_disconnect."""
        if self._requests.pop(link.info.id, None) is not None:
            self.node.feed(LinkGone(link.info.id))

    async def attend(self, link: Link, *, linger: float = 0.0) -> list[str]:
        """Serve a long link until it ends, or this is cancelled. Requests that are open by then are answered with an error.

        linger: seconds for the answers that are still due when a client ends its input. To read them, the client has as long as
        any other. Returns the methods of the requests that were not answered by then; none for a client that has left.
        """
        info, ended = link.info, False
        self._links[info.id] = link
        try:
            self.node.feed(LinkOpened(info.id, info.server, info.principal, info.transport, info.caller))
            await self._read(link)
            ended = True
            await link.drain()  # raises LinkBroken if nothing can be sent any more
            with suppress(TimeoutError):
                async with asyncio.timeout(linger):
                    await self._idle(info.id)
            lapsed = self._lapse(info.id)
            await link.drain()
            return lapsed
        except LinkBroken as error:
            if not ended or self._core.unanswered(info.id):  # else its client has left in order
                log.info("link %s: %s", info.id, error)
            return []
        except LinkError:
            return []
        except asyncio.CancelledError:
            self._lapse(info.id)
            raise
        finally:
            self.node.feed(LinkGone(info.id))
            self._links.pop(info.id, None)
            self._pacing.release(info.id)

    async def _read(self, link: Link) -> None:
        """Read until the client has ended its input. Raises LinkBroken, LinkClosed."""
        held = self._pacing.held
        while True:
            if link.info.id in held:
                await held[link.info.id].wait()
            try:
                message = await link.receive()
            except EndOfLink:
                return
            except InvalidFrame as error:
                link.send(jsonrpc.error_frame(error.id, error.code, error.reason))
            except LinkOverflow as error:
                link.send(fault_frame(b"null", Fault(Reason.TOO_LARGE, str(error)), server=link.info.server))
            else:
                self.node.feed(FrameArrived(link.info.id, message))

    async def _idle(self, link: str) -> None:
        """Wait until all requests of a client that has ended its input are answered. May be cancelled."""
        idle = self._half_closed[link] = asyncio.get_running_loop().create_future()
        self.node.feed(InputEnded(link))
        try:
            await idle
        finally:
            del self._half_closed[link]

    def _lapse(self, link: str) -> list[str]:
        """The time for answers is over: answer open requests with an error. Returns their methods."""
        methods = self._core.unanswered(link)
        if methods:
            log.info(
                "link %s: its client ended its input, and these requests were not answered in time: %s",
                link,
                ", ".join(methods),
            )
            self.node.feed(InputLapsed(link))
        return methods

    def _session(self, info: LinkInfo) -> SessionRef:
        """The session of a request. Raises InvalidToken."""
        token = self._sealer.open(info.session, principal=info.principal, now=time.time())
        if token.server != info.server:
            raise InvalidToken(f"a session of {token.server}")
        return SessionRef(token.session, token.owner, token.server, token.principal, token.version)

    # ------------------------------------------------------------ effects
    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(effect)
            case Completed(record):
                self._completed(record)
            case Accept() | Finish() | Establish():
                self._end_request(effect)
            case HoldLink(link):
                if link in self._links:
                    self._pacing.hold(link)
            case ReleaseLink(link):
                self._pacing.release(link)
            case Skipped(link, count):
                log.warning("link %s: its client was far behind: %d notifications were passed over", link, count)
            case LinkIdle(link):
                if (idle := self._half_closed.get(link)) is not None and not idle.done():
                    idle.set_result(None)
            case CloseLink(link, reason):
                if link in self._links:
                    log.warning("closing link %s: %s", link, reason)
                    task = asyncio.create_task(self._links[link].aclose())
                    task.add_done_callback(_closed)
                    self._pacing.release(link)
            case _:
                raise TypeError(f"not an effect of an edge: {type(effect).__name__}")

    def _send(self, effect: Send) -> None:
        id, final = effect.link, effect.final
        link = (self._requests.pop(id, None) if final else self._requests.get(id)) or self._links.get(id)
        if link is None:
            return  # the client has gone; the event of that is handled or under way
        try:
            link.send(effect.frame, event=effect.event, final=final)
        except LinkError as error:
            log.info("link %s: %s", id, error)
            return
        if not final:
            self._pacing.sent(id, link)

    def _end_request(self, effect: Accept | Finish | Establish) -> None:
        establishes = isinstance(effect, Establish)
        link = self._requests.get(effect.link) if establishes else self._requests.pop(effect.link, None)
        if link is None:
            return
        try:
            match effect:
                case Accept():
                    link.accept()
                case Finish():
                    link.finish()
                case Establish():
                    link.establish(self._sealer.seal(self._token(effect)))
        except LinkError as error:
            log.info("link %s: %s", effect.link, error)

    def _token(self, effect: Establish) -> SessionToken:
        offer = offered(effect.opening)
        return SessionToken(
            fabric=self._fabric,
            session=effect.session,
            owner=effect.owner,
            server=effect.server,
            version=negotiated(effect.answer) or offer.version,  # without an answer yet, the revision that its client asked for
            client=bytes(offer.client).decode(),
            capabilities=bytes(offer.capabilities).decode(),
            principal=effect.principal,
            expires=time.time() + self._lifetime,
        )


def _closed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("closing a link failed: %s", error)

"""The edge core: turns requests of clients into exchanges, and returns to each client what bridges send of its exchange.

It owns links and exchanges. Sessions are owned by bridges, and named here only by their tokens.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from fabric.core.edge.clients.http_requests import HttpRequests
from fabric.core.edge.clients.long_links import LongLinks
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.correlation import CorrelationRouter, Limits
from fabric.core.edge.detours import Detours
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import Exchange
from fabric.core.edge.routing import RequestRouting
from fabric.core.edge.sending import ExchangeSender
from fabric.core.edge.snapshot import EdgeSnapshot, ServerWork
from fabric.core.edge.stalled import StalledExchanges
from fabric.core.edge.tool_lists import ToolLists
from fabric.core.effects import Effect
from fabric.core.events import (
    AnswerAwaited,
    BrokerConnected,
    BrokerLost,
    Event,
    FrameArrived,
    InputEnded,
    InputLapsed,
    LinkBehind,
    LinkCaughtUp,
    LinkGone,
    LinkOpened,
    Listening,
    PackArrived,
    PackNotConfirmed,
    RequestPosted,
    SessionEnded,
    StreamOpened,
)
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.core import MemberCore
from fabric.core.peers.member import Identity, Loss, announcing
from fabric.envelope import Envelope, Kind


class EdgeCore(MemberCore):
    """The decisions of one edge. `handle` and `expire` return effects; lane messages gather until `transmit`."""

    def __init__(
        self, identity: Identity, limits: Limits, servers: frozenset[str], *, retry_calls: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(identity)
        out = self._out
        self.detours = Detours(self.member)
        self.directory = ServerDirectory(self.member.leases, servers)
        self.sender = ExchangeSender(self.member, out, self.detours)
        self.router = CorrelationRouter(self.member, out, limits, self.sender, self.directory)
        self.stalled = StalledExchanges(self.member, self.router, self.sender, self.directory)
        self.tools = ToolLists(self.router, self.directory, retry_calls)
        self.routing = RequestRouting(self.member, self.router, self.directory, self.tools)
        self.slow = SlowLinks(self.member, out)
        self.http_requests = HttpRequests(self.member, self.router, self.routing, self.slow, out)
        self.long_links = LongLinks(self.member, self.router, self.routing, self.slow, out)
        self._address = ""
        """Where clients reach this edge, once it listens."""

    # ------------------------------------------------------------ what the runtime calls
    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        if self.member.left:
            return []  # its peers have its goodbye
        match event:
            case PackArrived(pack):
                for envelope in self.member.receive(pack, now):
                    self._envelope(pack.source, envelope, now)
                if self.long_links.crowding:
                    self.long_links.eased(pack.source)
            case RequestPosted():
                self.http_requests.post(event, now)
            case FrameArrived(link, message):
                self.long_links.frame(link, message, now)
            case LinkOpened():
                self.long_links.begin(event)
            case LinkBehind(link, unsent_bytes):
                self.slow.fell_behind(link, unsent_bytes)
            case LinkCaughtUp(link):
                self.slow.caught_up(link, now)
                self.long_links.caught_up(link)
            case LinkGone(link):
                if not self.http_requests.closed(link, now):
                    self.long_links.closed(link, now)
                if link in self.slow.behind:
                    self.slow.caught_up(link, now, gone=True)
            case InputEnded(link):
                self.long_links.half_close(link)
            case InputLapsed(link):
                self.long_links.lapsed(link, now)
            case AnswerAwaited(link):
                self.http_requests.awaited(link)
            case StreamOpened():
                self.http_requests.attach(event, now)
            case SessionEnded():
                self.http_requests.end(event, now)
            case PackNotConfirmed(pack, topic, sent, _):
                if pack.generation == 0 and not topic:
                    self.stalled.unsent(pack.envelopes[0], sent, now)
            case BrokerConnected(keeps, largest_message_bytes):
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected(now)
            case Listening(address):
                self._address = address
            case _:
                raise TypeError(f"not an event of an edge: {type(event).__name__}")
        return self.member.take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.directory.look(now)
            self.detours.look(now)
            self.member.beat(now)
            self.http_requests.look(now)
            self.stalled.look(now)
            self.tools.look(now)
        elif now >= self.member.due:
            self.member.look(now)
        for id in self.sender.deadlines.expired(now):
            exchange = self.router.exchanges.get(id)
            if exchange is None:
                continue  # it ended with another exchange
            if exchange.asker.link in self.slow.behind:  # its client holds up the messages that would reset its idle time
                self.router.progressed(exchange, now)
            self.stalled.expired(exchange, now)
        return self.member.take()

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        due = self.sender.deadlines.next()
        return self.member.due if due is None else min(due, self.member.due)

    @property
    def soonest(self) -> float:
        """No deadline is earlier; cheaper to ask for than `next_deadline`."""
        return min(self.sender.deadlines.soonest, self.member.due)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to everyone; what is open ends at the others as if this process had died."""
        for link in list(self.long_links.open):
            self.long_links.closed(link, now)
        self.member.leave()
        return self.member.take()

    # ------------------------------------------------------------ queries
    def snapshot(self, now: float) -> EdgeSnapshot:
        """See MemberCore.snapshot."""
        exchanges, finished = self.router.exchanges.values(), self.router.finished
        queued = Counter(exchange.request.server for exchange in exchanges if not exchange.owner)
        in_flight = Counter(exchange.request.server for exchange in exchanges if exchange.owner)
        return EdgeSnapshot(
            **self.member.amounts(now),
            **self.http_requests.amounts(),
            **self.long_links.amounts(),
            **self.slow.amounts(),
            **self.tools.amounts(),
            servers={
                name: ServerWork(in_flight=in_flight[name], queued=queued[name])
                for name in sorted({*queued, *in_flight, *(server for server, _ in finished)})
            },
            finished=dict(finished),
            unanswered=sum(1 for each in exchanges if each.asker.link and each.request.kind is not Kind.ATTACH),
            exchanges=len(exchanges),
            returned=self.router.returned_count,
            deadlines=len(self.sender.deadlines),
            stale_deadlines=self.sender.deadlines.stale,
        )

    def known(self, server: str) -> bool:
        """See ServerDirectory.known."""
        return self.directory.known(server)

    def names(self) -> list[str]:
        """See ServerDirectory.names."""
        return self.directory.names()

    def untaken(self, server: str) -> str:
        """See ServerDirectory.untaken."""
        return self.directory.untaken(server)

    def unanswered(self, link: str) -> list[str]:
        """The methods of the requests on a long link that wait for an answer, as subscriptions do not."""
        return [exchange.request.method for exchange in self.long_links.unanswered(link)]

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int, now: float) -> Announcement:  # noqa: ARG002 - a bridge says how long something lasts
        """What this edge announces now."""
        announcement = announcing(self.member.identity, Role.EDGE, number)
        return msgspec.structs.replace(announcement, address=self._address, sessions=len(self.long_links.open))

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """A bridge is given up: its exchanges end as the table of outcomes says, its sessions end."""
        self.directory.look(now)
        adrift = self.detours.lost(peer, now) if loss is not Loss.GOODBYE else frozenset[str]()  # who leaves returns its work
        self.router.lost(peer, now)
        self.stalled.adrift(adrift, now)
        self.long_links.lost(peer, now)

    def recovered(self, now: float) -> None:
        """A gap has ended."""
        self.stalled.recovered(now)

    # ------------------------------------------------------------ what bridges send
    def _envelope(self, peer: str, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.ANSWER:
                self.router.answered(peer, envelope, now)
            case Kind.TAKEN:
                self.router.taken(peer, envelope, now)
            case Kind.RETURNED:
                self.router.returned(peer, envelope, now)
            case Kind.HOLD | Kind.RELEASE:
                self.long_links.session_paced(envelope.session, hold=envelope.kind is Kind.HOLD)
            case _ if envelope.exchange:
                exchange = self.router.exchanges.get(envelope.exchange)
                if exchange is not None:
                    self._of_exchange(peer, exchange, envelope, now)
            case Kind.MESSAGE:
                self.long_links.session_message(peer, envelope.session, envelope.body, now)
            case Kind.ENDED:
                reason = envelope.body.decode(errors="replace") or "the session has ended"
                self.long_links.session_ended(envelope.session, reason, now)
            case _:
                pass  # not for an edge; a newer release may have more kinds

    def _of_exchange(self, peer: str, exchange: Exchange, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.MESSAGE:
                self.router.message(peer, exchange, envelope, now)
            case Kind.WRITTEN:
                self.router.written(exchange, now)
            case Kind.ENDED:
                self.router.ended(exchange, now)
            case Kind.DETACH:
                exchange.asker.ended(exchange)  # its client reads on elsewhere; the exchange and its deadline stay here
            case _:
                pass  # not for an edge

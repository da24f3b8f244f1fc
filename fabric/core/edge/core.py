"""The edge core: what clients say becomes exchanges, and what bridges say goes back to the client that asked.

It owns links and exchanges; sessions are owned by bridges, and named here only by their tokens.
"""

from __future__ import annotations

import msgspec

from fabric import faults
from fabric.core.edge.correlation import CorrelationRouter, Exchange, Limits
from fabric.core.edge.detours import Detours
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.http_requests import HttpRequests
from fabric.core.edge.long_links import CLIENT, PROCESS, LongLinks
from fabric.core.edge.routing import RequestRouting
from fabric.core.edge.slow_links import SlowLinks
from fabric.core.effects import Accept, Completed, Effect, Establish, Finish, Send
from fabric.core.events import (
    AnswerAwaited,
    BrokerConnected,
    BrokerLost,
    Event,
    FrameArrived,
    InputLapsed,
    LinkBehind,
    LinkCaughtUp,
    LinkClosed,
    LinkOpened,
    PackArrived,
    PublishFailed,
    RequestPosted,
    SessionEnded,
    StreamOpened,
)
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.core.telemetry_record import Record, Side
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import CODES, Fault, Reason, fault_frame
from fabric.mcp import jsonrpc, swap


class EdgeCore:
    """The decisions of one edge. `handle` and `expire` return effects; lane messages gather until `transmit`."""

    def __init__(
        self, identity: Identity, limits: Limits, servers: frozenset[str], *, retry_calls: frozenset[str] = frozenset()
    ) -> None:
        self._out: list[Effect] = []
        self.member = Member(identity, self, self._out)
        self.detours = Detours(self.member)
        self.router = CorrelationRouter(self.member, self._out, limits, self.detours, self._finished)
        self.directory = ServerDirectory(self.member.leases, servers)
        self.requests = RequestRouting(self.member, self.router, self.directory, retry_calls, self._refuse)
        self.address = ""  # where clients reach it, once it listens
        shared = (self.member, self.router, self.requests, self._out)
        self.slow = SlowLinks(self.member, self._out)
        self.http_requests = HttpRequests(*shared, self._refuse, self._cancelled)
        self.long_links = LongLinks(*shared, self.slow, self._cancelled)

    # ------------------------------------------------------------ what the runtime calls
    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        if self.member.left:
            return []  # everyone has been told
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
                long_link = self.long_links.open.get(link)
                if long_link is not None:
                    self.long_links.pace(long_link, CLIENT, hold=False)
            case LinkClosed(link):
                self._closed(link, now)
                if link in self.slow.behind:
                    self.slow.caught_up(link, now, gone=True)
            case InputLapsed(link):
                self._lapsed(link, now)
            case AnswerAwaited(link):
                self.http_requests.awaited(link)
            case StreamOpened():
                self.http_requests.attach(event, now)
            case SessionEnded():
                self.http_requests.end(event, now)
            case PublishFailed(pack, topic, sent, _):
                if pack.generation == 0 and not topic:
                    self.router.unsent(pack.envelopes[0], sent, now)
            case BrokerConnected(keeps, largest_message_bytes):
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected(now)
            case _:
                raise TypeError(f"not an event of an edge: {type(event).__name__}")
        return self.member.take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.directory.look(now)
            self.detours.look(now)
            self.member.beat(now)
            self._judge(now)
        for id in self.router.deadlines.expired(now):
            exchange = self.router.exchanges[id]
            server = exchange.server
            if exchange.link in self.slow.behind:  # what would reset its idle time may be held for its client
                self.router.progressed(exchange, now)
            self.router.expired(id, now, self.directory.untaken(server), self.directory.free(server))
        return self.member.take()

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        due = self.router.deadlines.next()
        return self.member.next_beat if due is None else min(due, self.member.next_beat)

    @property
    def soonest(self) -> float:
        """No deadline is earlier; cheaper to ask for than `next_deadline`."""
        return min(self.router.deadlines.soonest, self.member.next_beat)

    def transmit(self) -> list[Effect]:
        """What waits in the lanes, packed."""
        return self.member.pairs.transmit()

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to everyone; what is open ends at the others as if this process had died."""
        for long_link in list(self.long_links.open.values()):
            self._closed(long_link.link, now)
        self.member.leave()
        return self.member.take()

    def settled(self, now: float) -> bool:
        """Whether it knows who is there."""
        return self.member.leases.settled(now)

    @property
    def idle(self) -> bool:
        """No request of a client is open."""
        return not any(exchange.link for exchange in self.router.exchanges.values() if exchange.sent_kind is not Kind.ATTACH)

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int, now: float) -> Announcement:  # noqa: ARG002 - a bridge says how long something lasts
        """What this edge announces now."""
        said = announcing(self.member.identity, Role.EDGE, number)
        sessions = len(self.long_links.open)
        return msgspec.structs.replace(said, address=self.address, sessions=sessions)

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """A bridge is given up: its exchanges go by the table of outcomes, its sessions end."""
        self.directory.look(now)
        adrift = self.detours.lost(peer, now) if loss is not Loss.GOODBYE else frozenset[str]()  # who leaves gives it back
        self.router.lost(peer, now)
        self.router.adrift(adrift, now)
        self.long_links.lost(peer, now)

    def recovered(self, now: float) -> None:
        """A gap has ended."""
        self.router.recovered(now)

    def _judge(self, now: float) -> None:
        """The regular look at what waits for the broker, or for somebody to serve it."""
        self.http_requests.judge(now)
        self.router.overdue(now)
        hopeless = [
            (exchange, fault)
            for exchange in self.router.exchanges.values()
            if not exchange.owner and (fault := self.directory.hopeless(exchange.server, now, begun=exchange.begun)) is not None
        ]
        for exchange, fault in hopeless:
            self.router.close(exchange, b"", fault, now)

    def _closed(self, link: str, now: float) -> None:
        if link in self.http_requests.open:
            self.http_requests.closed(link, now)
        else:
            self.long_links.closed(link, now)

    def _lapsed(self, link: str, now: float) -> None:
        for exchange in self.long_links.unanswered(link):
            if exchange.id in self.router.exchanges:
                server = exchange.server
                self.router.give_up(exchange, now, self.directory.untaken(server), self.directory.free(server))
            else:  # it waits for the list of its server's tools
                message = f"{exchange.server} did not list its tools within {now - exchange.arrived:.0f} s"
                self._refuse(exchange, Fault(Reason.DEADLINE, message, retryable=True), now)
                exchange.link = ""

    def _refuse(self, exchange: Exchange, fault: Fault, now: float) -> None:
        """Answer an exchange that was never opened."""
        self._finished(exchange, b"", fault, now)

    # ------------------------------------------------------------ what bridges say
    def _envelope(self, peer: str, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.ANSWER:
                if envelope.session and envelope.exchange not in self.router.exchanges:
                    self.member.data(
                        peer, now, Envelope(kind=Kind.END, session=envelope.session)
                    )  # nobody waits for this session
                else:
                    if envelope.event >= 0 and envelope.exchange in self.router.exchanges:
                        self.router.exchanges[envelope.exchange].event = envelope.event
                    self.router.answered(peer, envelope, now)
            case Kind.MESSAGE:
                self._message(peer, envelope, now)
            case Kind.TAKEN:
                self.router.taken(peer, envelope, now)
            case Kind.RETURNED:
                self.router.returned(peer, envelope, now)
            case Kind.WRITTEN:
                exchange = self.router.exchanges.get(envelope.exchange)
                if exchange is not None:
                    self.router.close(exchange, b"", None, now)
            case Kind.DETACH:
                self.http_requests.detached(envelope.exchange)
            case Kind.ENDED:
                self._ended(envelope, now)
            case Kind.HOLD | Kind.RELEASE:
                bound = self.long_links.bound.get(envelope.session)
                if bound is not None:
                    self.long_links.pace(bound, PROCESS, hold=envelope.kind is Kind.HOLD)
            case _:
                pass  # not for an edge; a newer release may say more

    def _message(self, peer: str, envelope: Envelope, now: float) -> None:
        exchange = self.router.exchanges.get(envelope.exchange)
        if exchange is None:
            long_link = self.long_links.bound.get(envelope.session)
            if long_link is not None and not envelope.exchange:
                self._out.append(Send(long_link.link, envelope.body))
                if long_link.link in self.slow.behind:
                    self.slow.hold(long_link.link, peer, envelope.session, "", now)
            return
        if exchange.owner != peer and not self.router.taken(peer, envelope, now):
            return  # of a second taker, whose `taken` is still to come
        self.router.progressed(exchange, now)
        frame = _named(exchange, envelope.body)
        if exchange.link and frame is not None and not exchange.answer_only:
            event = f"{exchange.stream or exchange.id}.{envelope.event}" if envelope.event >= 0 else ""
            if exchange.link in self.slow.behind:
                if exchange.session:
                    bound = exchange.link in self.long_links.open
                    self.slow.hold(exchange.link, peer, exchange.session, "" if bound else exchange.id, now)
                elif not self.slow.admits(exchange.link, frame, notice=exchange.method == "subscriptions/listen"):
                    return
            exchange.streaming = True
            self._out.append(Send(exchange.link, frame, event))

    def _ended(self, envelope: Envelope, now: float) -> None:
        exchange = self.router.exchanges.pop(envelope.exchange, None)
        if exchange is not None:
            self.router.deadlines.clear(exchange.id)
            self.http_requests.open.pop(exchange.link, None)
            if exchange.span:
                self._record(exchange, "cancelled", 0, now)
            long_link = self.long_links.open.get(exchange.link)
            if long_link is not None:
                long_link.done(exchange)
                self.long_links.answered(long_link, exchange, b"")
            elif exchange.link:
                self._out.append(Finish(exchange.link))
        bound = self.long_links.bound.get(envelope.session)
        if bound is not None and not envelope.exchange:
            self.long_links.end(bound, envelope.body.decode(errors="replace") or "the session has ended", now)

    # ------------------------------------------------------------ the end of an exchange
    def _finished(self, exchange: Exchange, answer: bytes, fault: Fault | None, now: float) -> None:
        self.http_requests.open.pop(exchange.link, None)
        if exchange.session and exchange.method == "tools/list" and answer:
            self.requests.tools.hear(exchange.server, answer, now)
        outcome, code = ("ok", 0) if fault is None else (fault.reason.value, CODES[fault.reason])
        link = exchange.link
        if exchange.promised not in ("", exchange.owner) and fault is None:
            fault = Fault(Reason.SESSION_LOST, "the bridge that was to run this session gave it back; begin a new session")
            self.member.data(exchange.owner, now, Envelope(kind=Kind.END, session=exchange.id))
            outcome, code, answer = fault.reason.value, CODES[fault.reason], b""
        long_link = self.long_links.open.get(link)
        if long_link is not None:
            long_link.done(exchange)
        if not link:
            if exchange.method == "tools/list" and not exchange.client_id:
                for waiting, error in self.requests.listed(exchange, answer, now):
                    frame = jsonrpc.error_frame(waiting.client_id, error.code, error.reason)
                    self.http_requests.open.pop(waiting.link, None)
                    self._out.append(Send(waiting.link, frame, "", True))
        elif exchange.sent_kind in (Kind.FRAME, Kind.END) and fault is None and not answer:  # it was done
            self._out.append(Accept(link))
        elif exchange.sent_kind is Kind.ATTACH and exchange.streaming:
            self._out.append(Finish(link))
        else:
            if fault is not None:
                trace = exchange.span[3:35]
                frame = fault_frame(exchange.client_id, fault, server=exchange.server, exchange=exchange.id, trace=trace)
            else:
                frame, ok = _restored(exchange, answer)
                outcome = "ok" if ok else "error"
            if exchange.sent_kind is Kind.OPEN and outcome == "ok" and long_link is None and not exchange.promised:
                who = (exchange.owner, exchange.server, exchange.principal)
                self._out.append(Establish(link, exchange.id, *who, exchange.opening, answer))
            event = f"{exchange.id}.{exchange.event}" if exchange.event >= 0 and exchange.streaming else ""
            if long_link is None:
                self._out.append(Send(link, frame, event, True))
            else:
                self.long_links.answered(long_link, exchange, frame)
                if exchange.sent_kind is Kind.OPEN:
                    self.long_links.opened(long_link, exchange, answer, outcome == "ok", now)
        if exchange.span and answer:
            outcome, code = faults.outcome(answer)
        if exchange.span:
            self._record(exchange, outcome, code, now)

    def _cancelled(self, exchange: Exchange, now: float) -> None:
        """Nobody waits for it any more."""
        self._record(exchange, "cancelled", 0, now)

    def _record(self, exchange: Exchange, outcome: str, code: int, now: float) -> None:
        self._out.append(
            Completed(
                Record(
                    side=Side.EDGE,
                    exchange=exchange.id,
                    server=exchange.server,
                    method=exchange.method,
                    target=exchange.target,
                    transport=exchange.transport,
                    session=exchange.session,
                    attempt=exchange.attempt,
                    arrived=exchange.arrived,
                    begun=exchange.sendings[0] if exchange.sendings else 0.0,
                    ended=now,
                    outcome=outcome,
                    code=code,
                    trace=exchange.trace,
                    span=exchange.span,
                    queued=exchange.queued,
                    sendings=tuple(exchange.sendings),
                    caller=exchange.caller,
                    carried=exchange.carried,
                    version=exchange.version,
                    id=exchange.client_id,
                )
            )
        )


def _restored(exchange: Exchange, answer: bytes) -> tuple[bytes, bool]:
    """The client's own ids in a server's answer, and whether it is a result."""
    try:
        frame = swap.with_answer_id(answer, exchange.id, exchange.client_id or b"null")
        if exchange.method == "subscriptions/listen":
            frame = swap.with_result_subscription(frame, exchange.client_id)
        return frame, b'"error"' not in answer or not jsonrpc.parse(answer).error
    except InvalidFrame as error:
        fault = Fault(Reason.INVALID, f"{exchange.server} sent an answer that cannot be carried: {error}")
        return fault_frame(exchange.client_id, fault, server=exchange.server, exchange=exchange.id), False


def _named(exchange: Exchange, frame: bytes) -> bytes | None:
    """The client's own token or id in a server's notification; None for one that must not reach the client."""
    try:
        if exchange.method == "subscriptions/listen":
            return swap.with_reference(frame, exchange.client_id)
        if not exchange.token or b'"progressToken"' not in frame:
            return frame
        message = jsonrpc.parse(frame)
        if message.method != "notifications/progress":
            return frame
        progress = jsonrpc.progress(message)
        if progress <= exchange.progress:
            return None  # a re-run repeats its progress from the start
        exchange.progress = progress
        return swap.with_reference(frame, exchange.token)
    except InvalidFrame:
        return None  # written in a way that nobody could name its request in

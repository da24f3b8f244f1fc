"""The long links of an edge: conversations, which open a session or speak modern requests, and end with their session."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.conversation import HELD_BYTES, Conversation, Phase
from fabric.core.correlation import CorrelationRouter, Exchange
from fabric.core.effects import CloseLink, Effect, HoldLink, ReleaseLink, Send
from fabric.core.events import LinkOpened
from fabric.core.member import Member
from fabric.core.requests import Requests
from fabric.core.slow_links import SlowLinks
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import batches, jsonrpc, swap
from fabric.mcp.initialize import negotiated
from fabric.mcp.jsonrpc import Message, MessageKind

PROCESS, LANE, OPENING, CLIENT = "process", "lane", "opening", "client"
"""Why nothing more is read from a link: its session's process reads too little, the lane to its owner is full, too much waits
behind an initialize, or too much waits for its client to take it."""


class Conversations:
    """Every long link by its id, and by the session that is bound to it.

    `cancelled(exchange, now)` is told of what nobody waits for any more.
    """

    def __init__(
        self,
        member: Member,
        router: CorrelationRouter,
        requests: Requests,
        out: list[Effect],
        slow: SlowLinks,
        cancelled: Callable[[Exchange, float], None],
    ) -> None:
        self.open: dict[str, Conversation] = {}
        self.bound: dict[str, Conversation] = {}
        self.crowding: dict[str, list[Conversation]] = {}  # by bridge, those that are held because the lane to it is full
        self._member = member
        self._router = router
        self._requests = requests
        self._out = out
        self._slow = slow
        self._cancelled = cancelled

    def begin(self, event: LinkOpened) -> None:
        """A client is here."""
        self.open[event.link] = Conversation(event.link, event.server, event.principal, event.transport, event.caller)

    # ------------------------------------------------------------ what clients say
    def frame(self, link: str, message: Message, now: float) -> None:
        """A client wrote a frame."""
        conversation = self.open.get(link)
        if conversation is not None:
            self._frame(conversation, message, now)

    def _frame(self, conversation: Conversation, message: Message, now: float) -> None:
        try:
            if conversation.phase in (Phase.NEW, Phase.OPENING) and jsonrpc.pings(message):
                self._say(conversation, jsonrpc.empty_result(message.id))  # the one request that initialize need not precede
            elif conversation.phase is Phase.OPENING:
                conversation.hold(message)
                if conversation.held_bytes > HELD_BYTES:
                    self.pace(conversation, OPENING, hold=True)
            elif message.kind is MessageKind.BATCH:
                self._batch(conversation, message, now)
            elif conversation.phase is Phase.SESSION:
                self._session_frame(conversation, message, now)
            elif message.kind is MessageKind.REQUEST:
                self._opening_request(conversation, message, now)
            elif message.method == "notifications/cancelled":
                exchange = conversation.newest(jsonrpc.refers_to(message))
                if exchange is not None:
                    conversation.done(exchange)
                    frame = swap.with_reference(message.frame, jsonrpc.quoted(exchange.id))
                    self._router.cancel(exchange, now, frame if len(frame) <= self._member.largest_body_bytes else b"")
                    self._cancelled(exchange, now)
        except InvalidFrame as error:
            if message.kind in (MessageKind.REQUEST, MessageKind.BATCH):
                self._out.append(Send(conversation.link, jsonrpc.error_frame(message.id, error.code, error.reason)))

    def _batch(self, conversation: Conversation, message: Message, now: float) -> None:
        if conversation.version != batches.REVISION:
            raise InvalidFrame(jsonrpc.INVALID_REQUEST, batches.MISPLACED)
        members = batches.split(message)
        batch = batches.Answers(len(members))
        for member in members:
            error = member
            if isinstance(member, Message):
                try:
                    self._session_frame(conversation, member, now, batch)
                    continue
                except InvalidFrame as refused:
                    error = refused
            if isinstance(error, InvalidFrame):
                self._say(conversation, batch.settle(jsonrpc.error_frame(error.id, error.code, error.reason)))

    def _opening_request(self, conversation: Conversation, message: Message, now: float) -> None:
        exchange = self._exchange(conversation, now)
        self._requests.prepare(exchange, message)
        if exchange.sent_kind is Kind.OPEN:
            conversation.phase = Phase.OPENING
            exchange.bound = True
        conversation.add(exchange)
        self._requests.route(exchange, message, None, now)

    def _session_frame(
        self, conversation: Conversation, message: Message, now: float, batch: batches.Answers | None = None
    ) -> None:
        owner, session = conversation.owner, conversation.session
        if message.kind is MessageKind.REQUEST:
            exchange = self._exchange(conversation, now)
            exchange.session = session
            self._requests.prepare(exchange, message)
            conversation.add(exchange)
            if batch is not None:
                conversation.batches[exchange.id] = batch
            self._requests.to_session(exchange, owner, now)
            return
        if body := self._requests.fitting(message):
            post = self._member.control if message.method == "notifications/cancelled" else self._member.data
            post(owner, now, Envelope(kind=Kind.FRAME, session=session, body=body))
            if self._member.pairs.full(owner):
                self._crowded(conversation)
        if batch is not None:
            self._say(conversation, batch.settle(b""))

    def _exchange(self, conversation: Conversation, now: float) -> Exchange:
        exchange = self._router.new(conversation.link, conversation.server, now)
        exchange.principal, exchange.transport = conversation.principal, conversation.transport
        exchange.caller = conversation.caller
        return exchange

    def _say(self, conversation: Conversation, frame: bytes) -> None:
        if frame:
            self._out.append(Send(conversation.link, frame))
            if conversation.link in self._slow.behind and self._slow.full(conversation.link, len(frame)):
                self.pace(conversation, CLIENT, hold=True)  # who does not take answers is not to ask for more

    # ------------------------------------------------------------ who is not read for a while
    def pace(self, conversation: Conversation, why: str, *, hold: bool) -> None:
        """Read nothing more from a link for this reason, or no longer so."""
        holds = conversation.holds
        before = bool(holds)
        if hold:
            holds.add(why)
        else:
            holds.discard(why)
        if before != bool(holds):
            self._out.append(HoldLink(conversation.link) if holds else ReleaseLink(conversation.link))

    def _crowded(self, conversation: Conversation) -> None:
        """The lane to its session's owner is full: requests are refused then, and notifications wait in their link."""
        if LANE not in conversation.holds:
            self.crowding.setdefault(conversation.owner, []).append(conversation)
            self.pace(conversation, LANE, hold=True)

    def eased(self, owner: str) -> None:
        """A bridge has acknowledged more."""
        if owner in self.crowding and self._member.pairs.roomy(owner):
            for conversation in self.crowding.pop(owner):
                self.pace(conversation, LANE, hold=False)

    # ------------------------------------------------------------ what is said to them
    def answered(self, conversation: Conversation, exchange: Exchange, answer: bytes) -> None:
        """An exchange is over, with this answer or with none."""
        self._say(conversation, conversation.settle(exchange, answer) if conversation.batches else answer)

    def opened(self, conversation: Conversation, exchange: Exchange, answer: bytes, ok: bool, now: float) -> None:
        """Its initialize was answered."""
        conversation.phase = Phase.SESSION if ok else Phase.NEW
        if ok:
            conversation.version = negotiated(answer)
            conversation.session, conversation.owner = exchange.id, exchange.owner
            self.bound[exchange.id] = conversation
        for message in conversation.release():
            self._frame(conversation, message, now)
        self.pace(conversation, OPENING, hold=False)

    # ------------------------------------------------------------ ends
    def unanswered(self, link: str) -> list[Exchange]:
        """What is open on a link and will be answered some day; subscriptions never are."""
        conversation = self.open.get(link)
        if conversation is None:
            return []
        return [exchange for exchange in conversation.open() if exchange.method != "subscriptions/listen"]

    def end(self, conversation: Conversation, reason: str, now: float) -> None:
        """Its session is over, and the link with it."""
        self.bound.pop(conversation.session, None)
        conversation.phase = Phase.ENDED
        for exchange in conversation.open():
            if exchange.session:  # its owner has answered all that reached it before the end
                self._router.close(exchange, b"", Fault(Reason.SESSION_LOST, reason, retryable=True), now)
            else:
                self._router.cancel(exchange, now)
        self._out.append(CloseLink(conversation.link, reason))

    def lost(self, peer: str, now: float) -> None:
        """A bridge is given up: the sessions it ran are over."""
        self.crowding.pop(peer, None)
        for conversation in [bound for bound in self.bound.values() if bound.owner == peer]:
            self.end(conversation, "the bridge that ran this session is gone", now)

    def closed(self, link: str, now: float) -> None:
        """A client left."""
        conversation = self.open.pop(link, None)
        if conversation is None:
            return
        self.bound.pop(conversation.session, None)
        for exchange in conversation.open():
            if exchange.session:
                self._router.exchanges.pop(exchange.id, None)  # it ends with its session
                self._router.deadlines.clear(exchange.id)
            else:
                self._router.cancel(exchange, now)
            self._cancelled(exchange, now)
        if conversation.phase is Phase.SESSION and conversation.owner in self._member.leases.peers:
            self._member.data(conversation.owner, now, Envelope(kind=Kind.END, session=conversation.session))

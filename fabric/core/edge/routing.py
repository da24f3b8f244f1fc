"""How a client's request becomes an exchange: ids swapped, repeatability decided once, and the way it goes chosen."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core import request_state
from fabric.core.edge.correlation import CorrelationRouter, Exchange
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.tool_lists import ToolLists
from fabric.core.peers.announcement import Role
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import CODES, Fault, Reason
from fabric.mcp import jsonrpc, swap
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.mcp.requests import REPEATABLE_METHODS
from fabric.mcp.tools import Catalog

_TOKEN_STARTS = b'"-0123456789'
"""How a progress token begins; what is no string or number is the server's to refuse."""
LITTLE_BYTES = 64 * 1024
"""A request shorter than this always waits for room; a longer one only while not too much waits already."""

Params = tuple[tuple[str, str], ...] | None


class RequestRouting:
    """The way in. `refuse(exchange, fault, now)` answers what is not let in."""

    def __init__(
        self,
        member: Member,
        router: CorrelationRouter,
        directory: ServerDirectory,
        retry_calls: frozenset[str],
        refuse: Callable[[Exchange, Fault, float], None],
    ) -> None:
        self._member = member
        self._router = router
        self._directory = directory
        self._refuse = refuse
        self.tools = ToolLists(router, directory, retry_calls)
        self._waiting: dict[str, list[tuple[Exchange, Message, Params]]] = {}

    def prepare(self, exchange: Exchange, message: Message) -> None:
        """Fill the exchange from its request: towards the server every id and progress token is the exchange's own id.

        Raises InvalidFrame for a request no server could be asked.
        """
        meta = jsonrpc.meta(message)
        exchange.method, exchange.client_id = message.method, message.id
        exchange.target = jsonrpc.text(meta.name) or jsonrpc.text(meta.uri)
        minted = b'"%b"' % exchange.id.encode()
        frame = swap.with_id(message, minted)
        token = bytes(meta.fields.progress_token)
        if token and token[0] in _TOKEN_STARTS:
            exchange.token = token
            frame = swap.with_progress_token(frame, minted)
        exchange.body = frame
        if message.method == "initialize":
            if meta.fields.version:
                reason = f"revisions since {jsonrpc.MODERN_VERSION} have no initialize"
                raise InvalidFrame(jsonrpc.METHOD_NOT_FOUND, reason, message.id)
            if exchange.session:
                raise InvalidFrame(jsonrpc.INVALID_REQUEST, "this session is initialized already", message.id)
            exchange.sent_kind, exchange.opening = Kind.OPEN, message.frame
        elif not exchange.session and not meta.fields.version:
            reason = "neither a session (send initialize first) nor _meta with io.modelcontextprotocol/protocolVersion"
            raise InvalidFrame(jsonrpc.INVALID_PARAMS, reason, message.id)
        exchange.exclusive = bool(meta.fields.log_level)
        if exchange.session or message.method != "tools/call":  # without a session, the tools may have to be listed first
            exchange.repeatable = self._repeatable(exchange, message)
        spans = self._member.identity.spans
        if spans is not None:
            exchange.trace = jsonrpc.text(meta.fields.traceparent) or exchange.carried
            exchange.span = spans(exchange.trace)
            exchange.version = jsonrpc.text(meta.fields.version)

    def route(self, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        """Send a request that belongs to no session on its way. params: its Mcp-Param-* headers, None where there are none."""
        fault = self._oversized(exchange.body) or self._directory.hopeless(exchange.server, now)
        if fault is None and len(exchange.body) >= LITTLE_BYTES:
            fault = self._crowded(exchange)
        if fault is not None:
            self._refuse(exchange, fault, now)
            return
        state = request_state.unwrap(jsonrpc.text(jsonrpc.meta(message).request_state))
        if state:
            self._to_parked(exchange, state[0], now)
        elif message.method == "tools/call":
            self._call(exchange, message, params, now)
        else:
            if exchange.sent_kind is Kind.OPEN:
                self.tools.expect(exchange.server, now)
            self._router.offer(exchange, now)

    def to_session(self, exchange: Exchange, owner: str, now: float) -> None:
        """Send what belongs to a session to the bridge that owns it."""
        fault = self._oversized(exchange.body, len(exchange.client_id) + len(exchange.token))
        if fault is None and exchange.sent_kind is Kind.REQUEST and self._member.pairs.full(owner):
            message = f"the lane to the bridge that serves {exchange.server} is full"
            fault = Fault(Reason.OVERLOADED, message, retryable=True, retry_after=1.0)
        if fault is not None:
            self._refuse(exchange, fault, now)
        elif exchange.method == "notifications/cancelled":
            self._cancel_in_session(exchange, owner, now)
        else:
            if exchange.method == "tools/call":
                self.tools.expect(exchange.server, now)
            self._router.assign(exchange, owner, now)

    def fitting(self, message: Message) -> bytes:
        """A frame that needs no answer; where it is too large for the broker, an error for a response, else nothing."""
        fault = self._oversized(message.frame)
        if fault is None:
            return message.frame
        response = message.kind is MessageKind.RESPONSE
        return jsonrpc.error_frame(message.id, CODES[fault.reason], fault.message) if response else b""

    def _oversized(self, body: bytes, names_bytes: int = 0) -> Fault | None:
        """Why a frame cannot be sent. names_bytes: what a session's request carries of its client's names in its header."""
        size, limit = len(body) + names_bytes, self._member.largest_body_bytes
        if size <= limit:
            return None
        return Fault(Reason.TOO_LARGE, f"a frame of {size} bytes; at most {limit} bytes pass this broker")

    def _crowded(self, exchange: Exchange) -> Fault | None:
        """Why a request of some length is not to wait for room, too."""
        waiting = self._router.crowding_bytes(exchange.server)
        if not waiting or waiting + len(exchange.body) <= self._member.identity.lane_bytes:
            return None
        message = f"{waiting} bytes wait for {exchange.server} already, which has no room for more now"
        return Fault(Reason.OVERLOADED, message, retryable=True, retry_after=1.0)

    def _cancel_in_session(self, exchange: Exchange, owner: str, now: float) -> None:
        """A legacy client's cancel over HTTP: it goes past queued data, and is accepted when it was written."""
        self._router.exchanges[exchange.id] = exchange
        exchange.owner = owner
        self._member.control(
            owner, now, Envelope(kind=Kind.FRAME, exchange=exchange.id, session=exchange.session, body=exchange.body)
        )

    def _to_parked(self, exchange: Exchange, incarnation: str, now: float) -> None:
        bridge = self._member.leases.peers.get(incarnation)
        if bridge is not None and bridge.announcement is not None and bridge.announcement.role is Role.BRIDGE:
            self._router.assign(exchange, incarnation, now)
            return
        message = "the process that asked for this input is gone; the call may have been carried out in part"
        self._refuse(exchange, Fault(Reason.OUTCOME_UNKNOWN, message), now)

    # ------------------------------------------------------------ the tools a server has
    def _call(self, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        catalog = self.tools.catalog(exchange.server, now)
        if catalog is None:
            self._waiting.setdefault(exchange.server, []).append((exchange, message, params))
        else:
            self._judged(catalog, exchange, message, params, now)

    def _judged(self, catalog: Catalog, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        if params is not None:
            mismatch = catalog.mismatch(exchange.target, message, params)
            if mismatch:
                raise InvalidFrame(jsonrpc.HEADER_MISMATCH, f"Header mismatch: {mismatch}", message.id)
        exchange.repeatable = self._repeatable(exchange, message)
        self._router.offer(exchange, now)

    def _repeatable(self, exchange: Exchange, message: Message) -> bool:
        """Whether a request may be run again, in a session or without one."""
        meta = jsonrpc.meta(message)
        if meta.request_state or meta.input_responses:
            return False
        if message.method == "tools/call":
            return self.tools.repeatable(exchange.server, exchange.target)
        return message.method in REPEATABLE_METHODS

    def listed(self, exchange: Exchange, answer: bytes, now: float) -> list[tuple[Exchange, InvalidFrame]]:
        """A page of a tool list came, or will not come. Returns the calls that waited for it and turn out to be wrong."""
        catalog = self.tools.listed(exchange, answer, now)
        if catalog is None:
            return []
        wrong = []
        for waiting, message, params in self._waiting.pop(exchange.server, ()):
            if not waiting.link:
                continue  # its client has left meanwhile
            try:
                self._judged(catalog, waiting, message, params, now)
            except InvalidFrame as error:
                wrong.append((waiting, error))
        return wrong

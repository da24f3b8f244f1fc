"""Makes an exchange of a client's request: swaps its ids, decides whether it is repeatable, and routes it; restores the ids.

Above it: http_requests.py and long_links.py, on behalf of their clients. Below it: correlation.py, which opens what is
routed, the directory of servers and their lists of tools.
"""

from __future__ import annotations

from typing import Protocol

from fabric.caller import Caller
from fabric.core import request_state
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import UNTRACED, Asker, Exchange, Request, TraceContext
from fabric.core.edge.tool_lists import Params, ToolLists
from fabric.core.peers.announcement import Role
from fabric.core.peers.member import Member
from fabric.envelope import Kind
from fabric.errors import InvalidFrame
from fabric.faults import CODES, Fault, Reason, fault_frame
from fabric.mcp import jsonrpc, swap
from fabric.mcp.jsonrpc import Message, MessageKind

_TOKEN_STARTS = b'"-0123456789'
"""The first bytes of valid progress tokens; any other token is left for the server to refuse."""
SMALL_BYTES = 64 * 1024
"""A request shorter than this always waits for room; a longer one only while not too much waits already."""


class Origin(Protocol):
    """The link that a request comes from: a long link, or that of an HTTP request."""

    @property
    def server(self) -> str: ...  # noqa: D102 - as in Request

    @property
    def principal(self) -> str: ...  # noqa: D102

    @property
    def transport(self) -> str: ...  # noqa: D102

    @property
    def caller(self) -> Caller: ...  # noqa: D102


class RequestRouting:
    """Prepares and routes the requests of one edge."""

    def __init__(self, member: Member, router: CorrelationRouter, directory: ServerDirectory, tools: ToolLists) -> None:
        self._member = member
        self._router = router
        self._directory = directory
        self._tools = tools

    def prepare(
        self,
        asker: Asker,
        origin: Origin,
        message: Message,
        now: float,
        *,
        session: str = "",
        carried: str = "",
        bound: bool = False,
        answer_only: bool = False,
    ) -> Exchange:
        """Make an exchange of a request. In the frame for the server, its id and progress token are the exchange's own id.

        carried: the traceparent of its transport. bound, answer_only: see Request. Raises InvalidFrame for a request that can
        be sent to no server.
        """
        meta = jsonrpc.meta(message)
        fields, method = meta.fields, message.method
        id = self._router.mint()
        minted = b'"%b"' % id.encode()
        frame = swap.with_id(message, minted)
        token = bytes(fields.progress_token)
        if token and token[0] in _TOKEN_STARTS:
            frame = swap.with_progress_token(frame, minted)
        else:
            token = b""
        opens = method == "initialize"
        if opens:
            if fields.version:
                reason = f"revisions since {jsonrpc.MODERN_VERSION} have no initialize"
                raise InvalidFrame(jsonrpc.METHOD_NOT_FOUND, reason, message.id)
            if session:
                raise InvalidFrame(jsonrpc.INVALID_REQUEST, "this session is initialized already", message.id)
        elif not session and not fields.version:
            reason = "neither a session (send initialize first) nor _meta with io.modelcontextprotocol/protocolVersion"
            raise InvalidFrame(jsonrpc.INVALID_PARAMS, reason, message.id)
        trace, spans = UNTRACED, self._member.identity.spans
        if spans is not None:
            parent = jsonrpc.text(fields.traceparent) or carried
            trace = TraceContext(carried, parent, spans(parent))
        request = Request(
            kind=Kind.OPEN if opens else Kind.REQUEST,
            server=origin.server,
            arrived=now,
            session=session,
            principal=origin.principal,
            transport=origin.transport,
            caller=origin.caller,
            method=method,
            target=jsonrpc.text(meta.name) or jsonrpc.text(meta.uri),
            version=jsonrpc.text(fields.version) if spans is not None else "",
            client_id=message.id,
            token=token,
            opening=message.frame if opens else b"",
            exclusive=bool(fields.log_level),
            bound=opens and bound,
            answer_only=answer_only,
        )
        exchange = Exchange(id, request, asker, frame, trace)
        if session or method != "tools/call":  # without a session, the tools may have to be listed first
            exchange.repeatable = self._tools.repeatable(request, message)
        return exchange

    def route(self, exchange: Exchange, message: Message, params: Params, now: float) -> None:
        """Route a request that belongs to no session. params: its Mcp-Param-* headers; None if its transport has none."""
        server = exchange.request.server
        fault = self._oversized(exchange.body) or self._directory.hopeless(server, now)
        if fault is None and len(exchange.body) >= SMALL_BYTES:
            fault = self._crowded(exchange)
        if fault is not None:
            self._router.refuse(exchange, fault, now)
            return
        state = request_state.unwrap(jsonrpc.text(jsonrpc.meta(message).request_state))
        if state:
            self._to_parked(exchange, state[0], now)
        elif message.method == "tools/call":
            self._tools.call(exchange, message, params, now)
        else:
            if exchange.request.kind is Kind.OPEN:
                self._tools.expect(server, now)
            self._router.offer(exchange, now)

    def to_session(self, exchange: Exchange, owner: str, now: float) -> None:
        """Send an exchange of a session to the bridge that owns the session."""
        request = exchange.request
        fault = self._oversized(exchange.body, len(request.client_id) + len(request.token))
        if fault is None and request.kind is Kind.REQUEST and self._member.pairs.full(owner):
            message = f"the lane to the bridge that serves {request.server} is full"
            fault = Fault(Reason.OVERLOADED, message, retryable=True, retry_after=1.0)
        if fault is not None:
            self._router.refuse(exchange, fault, now)
        elif request.method == "notifications/cancelled":
            self._router.assign_ahead(exchange, owner, now)
        else:
            if request.method == "tools/call":
                self._tools.expect(request.server, now)
            self._router.assign(exchange, owner, now)

    def fitting(self, message: Message) -> bytes:
        """A frame that needs no answer. If it is too large for the broker: an error in place of a response, else nothing."""
        fault = self._oversized(message.frame)
        if fault is None:
            return message.frame
        response = message.kind is MessageKind.RESPONSE
        return jsonrpc.error_frame(message.id, CODES[fault.reason], fault.message) if response else b""

    def _oversized(self, body: bytes, names_bytes: int = 0) -> Fault | None:
        """Why a frame cannot be sent. names_bytes: the length of client id and token in the header of a session's request."""
        size, limit = len(body) + names_bytes, self._member.largest_body_bytes
        if size <= limit:
            return None
        return Fault(Reason.TOO_LARGE, f"a frame of {size} bytes; at most {limit} bytes pass this broker")

    def _crowded(self, exchange: Exchange) -> Fault | None:
        """Why a long request may not wait for room."""
        server = exchange.request.server
        waiting = self._router.crowding_bytes(server)
        if not waiting or waiting + len(exchange.body) <= self._member.identity.lane_bytes:
            return None
        message = f"{waiting} bytes wait for {server} already, which has no room for more now"
        return Fault(Reason.OVERLOADED, message, retryable=True, retry_after=1.0)

    def _to_parked(self, exchange: Exchange, incarnation: str, now: float) -> None:
        bridge = self._member.leases.peers.get(incarnation)
        announced = bridge.announcement if bridge is not None else None
        if announced is not None and announced.role is Role.BRIDGE and exchange.request.server in announced.serves:
            self._router.assign(exchange, incarnation, now)
            return
        message = "the process that asked for this input is gone; the call may have been carried out in part"
        self._router.refuse(exchange, Fault(Reason.OUTCOME_UNKNOWN, message), now)

    # ------------------------------------------------------------ answers and messages
    def restored_answer(self, exchange: Exchange, answer: bytes, now: float) -> tuple[bytes, bool]:
        """A server's answer with its client's own ids, and whether it is a result."""
        request = exchange.request
        if request.session and request.method == "tools/list":
            self._tools.overhear(request.server, answer, now)
        try:
            frame = swap.with_answer_id(answer, exchange.id, request.client_id or b"null")
            if request.method == "subscriptions/listen":
                frame = swap.with_result_subscription(frame, request.client_id)
            return frame, b'"error"' not in answer or not jsonrpc.parse(answer).error
        except InvalidFrame as error:
            fault = Fault(Reason.INVALID, f"{request.server} sent an answer that cannot be carried: {error}")
            return fault_frame(request.client_id, fault, server=request.server, exchange=exchange.id), False

    def restored_message(self, exchange: Exchange, frame: bytes) -> bytes | None:
        """A server's message before the answer, with its client's own id or token; None if the client may not get it."""
        request = exchange.request
        try:
            if request.method == "subscriptions/listen":
                return swap.with_reference(frame, request.client_id)
            if not request.token or b'"progressToken"' not in frame:
                return frame
            message = jsonrpc.parse(frame)
            if message.method == "notifications/progress":
                return swap.with_reference(frame, request.token) if self._router.rises(exchange, message) else None
            return frame
        except InvalidFrame:
            return None  # its reference to the request cannot be replaced

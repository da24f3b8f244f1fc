"""The state of a client's long link: its phase, its session if it has one, and its open exchanges.

Above it: long_links.py. Below it: the exchange.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from fabric.caller import Caller
from fabric.core.edge.exchange import Exchange
from fabric.errors import InvalidFrame
from fabric.mcp.jsonrpc import INVALID_REQUEST, Message, MessageKind

HELD_FRAMES = 1024
"""How many requests may be pipelined behind an initialize."""
HELD_BYTES = 1024 * 1024
"""How many bytes of frames are read behind an initialize before the link is held until it is answered."""


class Phase(StrEnum):
    """NEW until an initialize. Modern requests do not change it, as each is independent."""

    NEW = "new"
    OPENING = "opening"
    SESSION = "session"
    ENDED = "ended"


class LongLink:
    """The state of one long link."""

    __slots__ = (
        "_by_client_id",
        "_held",
        "_open",
        "caller",
        "half_closed",
        "held_bytes",
        "holds",
        "link",
        "owner",
        "phase",
        "principal",
        "server",
        "session",
        "transport",
        "version",
    )

    def __init__(self, link: str, server: str, principal: str, transport: str, caller: Caller) -> None:
        self.link = link
        self.server = server
        self.principal = principal
        self.transport = transport
        self.caller = caller
        self.phase = Phase.NEW
        self.half_closed = False
        """Whether its client has ended its input."""
        self.session = ""
        """The session that is bound to it; empty for none."""
        self.owner = ""
        """The bridge that owns the session."""
        self.version = ""
        """The revision that the session has negotiated."""
        self.held_bytes = 0
        """Bytes of the frames that are kept behind an initialize."""
        self.holds: set[str] = set()
        """The reasons why it is not read now."""
        self._open: dict[str, Exchange] = {}
        self._by_client_id: dict[bytes, list[Exchange]] = {}
        self._held: deque[Message] = deque()

    def add(self, exchange: Exchange) -> None:
        """An exchange begins. Its client may reuse an id that is still open: each request gets its own answer."""
        self._open[exchange.id] = exchange
        self._by_client_id.setdefault(exchange.request.client_id, []).append(exchange)

    def done(self, exchange: Exchange) -> None:
        """An exchange is over."""
        if self._open.pop(exchange.id, None) is not None:
            client_id = exchange.request.client_id
            same = self._by_client_id[client_id]
            same.remove(exchange)
            if not same:
                del self._by_client_id[client_id]

    def open(self) -> list[Exchange]:
        """The open exchanges, the oldest first."""
        return list(self._open.values())

    @property
    def unanswered_count(self) -> int:
        """How many exchanges are open."""
        return len(self._open)

    @property
    def held_frames(self) -> int:
        """How many frames wait behind an initialize."""
        return len(self._held)

    def newest(self, client_id: bytes) -> Exchange | None:
        """The exchange that a cancel of this id means: the newest."""
        same = self._by_client_id.get(client_id)
        return same[-1] if same else None

    def hold(self, message: Message) -> None:
        """Keep a frame that came behind an initialize. Raises InvalidFrame when there are too many."""
        if len(self._held) >= HELD_FRAMES and message.kind in (MessageKind.REQUEST, MessageKind.BATCH):
            raise InvalidFrame(INVALID_REQUEST, f"more than {HELD_FRAMES} frames behind an unanswered initialize", message.id)
        if len(self._held) < 2 * HELD_FRAMES:
            self._held.append(message)
            self.held_bytes += len(message.frame)

    def release(self) -> list[Message]:
        """Take out the frames that are kept, in order."""
        held, self._held, self.held_bytes = list(self._held), deque(), 0
        return held

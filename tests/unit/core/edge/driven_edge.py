"""DrivenEdge: an edge core that a test drives; it plays clients, the broker, and the bridge `b` that serves `s` and `old`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import Limits
from fabric.core.effects import Completed, Effect, Publish, Send, StatusChanged
from fabric.core.events import BrokerConnected, FrameArrived, LinkOpened, PackArrived, RequestPosted, SessionRef
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from fabric.core.peers.member import Identity
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, single
from fabric.mcp.jsonrpc import parse

META = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
SESSION = SessionRef("session", "b", "s", "p")
"""A session of client `p` that bridge `b` runs."""
INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
_CONTROL = (Kind.TAKEN, Kind.RETURNED, Kind.HOLD, Kind.RELEASE)


def frame(**members: Any) -> bytes:
    """A JSON-RPC frame of these members."""
    return msgspec.json.encode({"jsonrpc": "2.0"} | members)


def request(id: int | str, method: str = "prompts/list", *, modern: bool = False, **params: Any) -> bytes:
    """A request. modern: with the metadata of a request without a session."""
    return frame(id=id, method=method, params=params | (META if modern else {}))


def initialize(id: int | str = 0, version: str = "2025-11-25") -> bytes:
    """An initialize that offers this revision."""
    return request(id, "initialize", protocolVersion=version, capabilities={}, clientInfo={"name": "c", "version": "1"})


class DrivenEdge:
    """An edge core at the moment `now`. Each step returns its effects, except telemetry records and announcements."""

    def __init__(self) -> None:
        identity = Identity(incarnation="e", key="k")
        self.core = EdgeCore(identity, Limits(), frozenset({"s", "old"}), retry_calls=frozenset({"s"}))
        self.now = 0.0
        self.records: list[tuple[str, str]] = []  # method and outcome of each telemetry record
        self._numbers: dict[Lane, Iterator[int]] = {Lane.DATA: count(1), Lane.CONTROL: count(1)}
        self._announcements = count(1)
        self.handle(BrokerConnected(keeps=False, largest_message_bytes=1 << 20))
        self.pass_time(1.0)

    def handle(self, event: Any) -> list[Effect]:
        """Give the core an event now."""
        return self._visible(self.core.handle(event, self.now))

    def pass_time(self, seconds: float, *, bridge_lives: bool = True) -> list[Effect]:
        """Let time pass; the edge receives its own announcements and, if the bridge lives, those of the bridge."""
        effects: list[Effect] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.25, end)
            effects += self._visible(self.core.expire(self.now))
            own = self.core.describe(self.core.member.leases.number, self.now)
            self.announced("e", own)
            if bridge_lives:
                served = {name: Served("d", free=4, health=Health.HEALTHY) for name in ("s", "old")}
                self.announced("b", Announcement(Role.BRIDGE, next(self._announcements), "k", (VERSION,), serves=served))
        return effects

    def announced(self, source: str, content: Announcement) -> None:
        """An announcement of this process comes."""
        envelope = Envelope(kind=Kind.ANNOUNCE, body=announcement.encode(content))
        self.core.handle(PackArrived(single(source, envelope)), self.now)

    def _visible(self, effects: list[Effect]) -> list[Effect]:
        self.records += [(effect.record.method, effect.record.outcome) for effect in effects if isinstance(effect, Completed)]
        return [
            effect
            for effect in effects
            if not isinstance(effect, Completed | StatusChanged)
            and not (isinstance(effect, Publish) and effect.channel.name == "announcements")
        ]

    # ------------------------------------------------------------ clients
    def post(self, body: bytes, *, link: str = "post", session: SessionRef | None = None, **more: Any) -> list[Effect]:
        """A client posts a frame to `s`."""
        return self.handle(RequestPosted(link, "s", "p", parse(body), session, more.pop("params", ()), "http", **more))

    def open_link(self, link: str = "link") -> None:
        """A client opens a long link to `s`."""
        self.handle(LinkOpened(link, "s", "p", "stdio"))

    def write(self, body: bytes, link: str = "link") -> list[Effect]:
        """A client writes a frame on its long link."""
        return self.handle(FrameArrived(link, parse(body)))

    # ------------------------------------------------------------ the bridge
    def bridge_sends(self, kind: Kind, exchange: str = "", *, peer: str = "b", **fields: Any) -> list[Effect]:
        """The bridge posts an envelope on its lane."""
        lane = Lane.CONTROL if kind in _CONTROL else Lane.DATA
        number = next(self._numbers[lane]) if peer == "b" else 1
        envelope = Envelope(kind=kind, exchange=exchange, lane=lane, number=number, **fields)
        return self.handle(PackArrived(Pack(VERSION, peer, 1, 0, 0, (envelope,))))

    def bridge_answers(self, exchange: str, result: object = None, **fields: Any) -> list[Effect]:
        """The bridge sends the answer of a server."""
        attempt = self.core.router.exchanges[exchange].attempt if exchange in self.core.router.exchanges else 1
        body = frame(id=exchange, result=result or {})
        return self.bridge_sends(Kind.ANSWER, exchange, attempt=attempt, body=body, **fields)

    def posted(self, peer: str = "b") -> list[Envelope]:
        """The envelopes that were posted to a bridge since the last call, in both lanes."""
        packs = [effect.pack for effect in self.core.transmit() if isinstance(effect, Publish) and effect.channel.name == peer]
        return [envelope for pack in packs for envelope in pack.envelopes]

    @property
    def open(self) -> list[str]:
        """The open exchanges, oldest first."""
        return list(self.core.router.exchanges)

    def with_session(self, link: str = "link", version: str = "2025-11-25") -> str:
        """Open a long link with a session; returns the session."""
        self.open_link(link)
        self.write(initialize(version=version), link)
        session = self.open[-1]
        self.bridge_sends(Kind.TAKEN, session, attempt=1)
        self.bridge_answers(session, INITIALIZED | {"protocolVersion": version}, session=session)
        self.posted()
        return session


def frames(effects: list[Effect], link: str = "") -> list[Any]:
    """The frames that were sent to clients, or on this link, decoded."""
    return [msgspec.json.decode(effect.frame) for effect in effects if isinstance(effect, Send) and link in ("", effect.link)]

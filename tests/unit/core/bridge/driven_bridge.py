"""DrivenBridge: a bridge core that a test drives; it plays the edge `e`, the broker, and the processes of the server `s`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import msgspec

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.effects import Effect, Publish, StartServer, StatusChanged, Write
from fabric.core.events import BrokerConnected, PackArrived, ServerExited, ServerFrame, ServerStarted, WorkArrived
from fabric.core.peers.member import Identity
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, single
from fabric.mcp.eras import LEGACY, MODERN
from fabric.mcp.jsonrpc import Message, parse

DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"]}
INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
_CONTROL = (Kind.GRANT, Kind.CANCEL, Kind.HOLD, Kind.RELEASE)


def frame(**members: Any) -> bytes:
    """A JSON-RPC frame of these members."""
    return msgspec.json.encode({"jsonrpc": "2.0"} | members)


def notification(method: str, **params: Any) -> bytes:
    """A notification."""
    return frame(method=method, params=params)


def result(id: str | int, **members: Any) -> bytes:
    """A response to the request of this id."""
    return frame(id=id, result=members)


def written(effects: Iterable[Effect], child: str = "") -> list[Message]:
    """The messages that were written to processes, or to this one."""
    return [parse(effect.frame) for effect in effects if isinstance(effect, Write) and child in ("", effect.child)]


class DrivenBridge:
    """A bridge core at the moment `now`, whose server speaks `era`. Each step returns its effects, except packs."""

    def __init__(self, era: str = MODERN, *, largest_message_bytes: int = 1 << 20, **limits: Any) -> None:
        self.core = BridgeCore(Identity(incarnation="b", key="k"), {"s": ServerLimits("d", era=era, **limits)}, 60.0)
        self.now = 0.0
        self.children: list[str] = []  # in the order in which they were started
        self._posted: list[Envelope] = []
        self._received: dict[tuple[str, Lane], int] = {}
        self._numbers: dict[tuple[str, Lane], Iterator[int]] = {}
        self._announced: list[Pack] = []
        self.handle(BrokerConnected(keeps=False, largest_message_bytes=largest_message_bytes))
        (probe,) = written(self.server_starts(self.children[0]))
        self.server_writes(
            self.children[0], frame(id=msgspec.json.decode(probe.id), result=DISCOVERED if era == MODERN else INITIALIZED)
        )
        self.pass_time(1.0)

    # ------------------------------------------------------------ what the runtime does
    def handle(self, event: Any) -> list[Effect]:
        """Give the core an event now."""
        return self._visible(self.core.handle(event, self.now))

    def pass_time(self, seconds: float) -> list[Effect]:
        """Let time pass, with its deadlines; the bridge receives its own announcements, and the edge lives."""
        effects, until = list[Effect](), self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.25)
            announced, self._announced = self._announced, []
            for pack in announced:
                effects += self.handle(PackArrived(pack))
            if "e" in self.core.member.leases.peers:
                effects += self.handle(PackArrived(Pack(VERSION, "e", 1, 0, 0, ())))
            effects += self._visible(self.core.expire(self.now))
        return effects

    def _visible(self, effects: list[Effect]) -> list[Effect]:
        self.children += [effect.child for effect in effects if isinstance(effect, StartServer)]
        for effect in self.core.transmit():
            assert isinstance(effect, Publish)
            for envelope in effect.pack.envelopes:  # an edge drops repeated messages
                place = (effect.channel.name, envelope.lane)
                if envelope.number > self._received.get(place, 0):
                    self._received[place] = envelope.number
                    self._posted.append(envelope)
        self._announced += [effect.pack for effect in effects if isinstance(effect, Publish)]
        return [effect for effect in effects if not isinstance(effect, Publish | StatusChanged)]

    def posted(self, *kinds: Kind) -> list[Envelope]:
        """The envelopes that were posted to edges since the last call, or those of these kinds."""
        posted, self._posted = self._posted, []
        return [envelope for envelope in posted if not kinds or envelope.kind in kinds]

    # ------------------------------------------------------------ what processes do
    def server_starts(self, child: str) -> list[Effect]:
        """A process has started."""
        return self.handle(ServerStarted(child))

    def server_writes(self, child: str, frame: bytes) -> list[Effect]:
        """A process writes a frame."""
        return self.handle(ServerFrame(child, parse(frame)))

    def server_exits(self, child: str, reason: str = "killed", *unsent: str) -> list[Effect]:
        """A process exits by itself. unsent: the requests of which no byte has reached it."""
        return self.handle(ServerExited(child, reason, unsent=frozenset(unsent)))

    # ------------------------------------------------------------ what edges do
    def work(self, exchange: str, *, delivery: int = 0, repeatable: bool = True, **fields: Any) -> list[Effect]:
        """A modern request comes from the queue."""
        body = frame(id=exchange, method="tools/call", params={"name": "t"})
        envelope_fields: dict[str, Any] = {
            "kind": Kind.REQUEST,
            "exchange": exchange,
            "server": "s",
            "attempt": 1,
            "body": body,
        }
        return self.handle(WorkArrived("e", Envelope(repeatable=repeatable, **(envelope_fields | fields)), delivery))

    def send(self, kind: Kind, *, edge: str = "e", urgent: bool = False, **fields: Any) -> list[Effect]:
        """An edge sends an envelope on its lane. urgent: on the control lane, whatever its kind."""
        lane = Lane.CONTROL if urgent or kind in _CONTROL else Lane.DATA
        number = next(self._numbers.setdefault((edge, lane), count(1)))
        envelope = Envelope(kind=kind, lane=lane, number=number, **fields)
        return self.handle(PackArrived(Pack(VERSION, edge, 1, 0, 0, (envelope,))))

    def acknowledge(self) -> list[Effect]:
        """The edge `e` acknowledges every message that was posted to it."""
        pair = self.core.member.pairs.get("e")
        return self.handle(PackArrived(Pack(VERSION, "e", 1, pair.data_out.next - 1, pair.control_out.next - 1, ())))

    def edge_leaves(self, edge: str = "e") -> list[Effect]:
        """An edge says goodbye."""
        return self.handle(PackArrived(single(edge, Envelope(kind=Kind.BYE))))

    def edge_gives_up(self, edge: str = "e") -> list[Effect]:
        """An edge that lives has given this bridge up."""
        return self.handle(PackArrived(Pack(VERSION, edge, 2, 0, 0, ())))

    # ------------------------------------------------------------ sessions
    def initialize(self, session: str, **fields: Any) -> list[Effect]:
        """An initialize comes from the queue, and is granted."""
        body = frame(id=session, method="initialize", params={})
        self.work(session, kind=Kind.OPEN, repeatable=False, body=body, **fields)
        return self.send(Kind.GRANT, exchange=session, attempt=1)

    def session(self, session: str = "session", **fields: Any) -> str:
        """Open a session; returns its process."""
        self.initialize(session, **fields)
        child = self.core.sessions.open[session].child
        self.server_starts(child)
        self.server_writes(child, result(session, **INITIALIZED))
        self.posted()
        return child

    def session_across_eras(self, session: str = "session", **capabilities: Any) -> str:
        """Open a legacy session at a server that is known to speak only the modern revision; returns its process."""
        pool = self.core.pools["s"]
        pool.known = msgspec.structs.replace(pool.known, refused=True)
        self.initialize(session)
        child = self.core.sessions.open[session].child
        self.server_starts(child)
        self.server_writes(child, result(session, **DISCOVERED, capabilities=capabilities))
        self.posted()
        return child

    def request(self, exchange: str, id: int = 1, *, session: str = "session", edge: str = "e", **fields: Any) -> list[Effect]:
        """A request of a session's client comes through an edge. id: the client's."""
        envelope_fields: dict[str, Any] = {
            "exchange": exchange,
            "session": session,
            "server": "s",
            "attempt": 1,
            "client_id": b"%d" % id,
        }
        body = frame(id=exchange, method="tools/call", params={"name": "t"})
        return self.send(Kind.REQUEST, edge=edge, **(envelope_fields | {"body": body} | fields))

    def client_sends(self, frame: bytes, exchange: str = "", *, session: str = "session") -> list[Effect]:
        """A notification or a response of a session's client comes through the edge `e`."""
        return self.send(Kind.FRAME, exchange=exchange, session=session, server="s", body=frame)


__all__ = ["INITIALIZED", "LEGACY", "MODERN", "DrivenBridge", "frame", "notification", "result", "written"]

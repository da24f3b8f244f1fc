"""The bridge core alone: what a server logs without naming a request goes to one client, and never to the next."""

import msgspec

from fabric.core.bridge import BridgeCore
from fabric.core.effects import StartServer, Write
from fabric.core.events import BrokerConnected, PackArrived, ServerFrame, ServerStarted, WorkArrived
from fabric.core.jobs import QUIET_AFTER_CANCEL
from fabric.core.member import Identity
from fabric.core.pool import ServerLimits
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack
from fabric.jsonrpc import parse

DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"]}
LOG = parse(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"secret of the first"}}')


def serving() -> tuple[BridgeCore, str]:
    """A bridge whose one server has answered the probe, and the id of that server's process."""
    core = BridgeCore(Identity(incarnation="b", key="k"), {"s": ServerLimits("d")})
    started = core.handle(BrokerConnected(keeps=False, largest_message_bytes=1 << 20), 0.0)
    child = next(effect.child for effect in started if isinstance(effect, StartServer))
    asked = core.handle(ServerStarted(child), 0.0)
    probe = next(parse(effect.frame).id for effect in asked if isinstance(effect, Write))
    answer = b'{"jsonrpc":"2.0","id":' + probe + b',"result":' + msgspec.json.encode(DISCOVERED) + b"}"
    core.handle(ServerFrame(child, parse(answer)), 0.0)
    return core, child


def told(core: BridgeCore) -> list[str]:
    """The exchanges that a message was posted for."""
    lane = core.member.pairs.get("e").data_out.kept
    return [envelope.exchange for envelope in lane if envelope.kind is Kind.MESSAGE]


def test_what_a_cancelled_request_still_logs_reaches_nobody_else() -> None:
    core, child = serving()
    for exchange in ("first", "second"):
        body = b'{"jsonrpc":"2.0","id":"' + exchange.encode() + b'","method":"tools/call"}'
        asked = Envelope(
            kind=Kind.REQUEST, exchange=exchange, server="s", attempt=1, repeatable=True, exclusive=True, body=body
        )
        core.handle(WorkArrived("e", asked, 0), 1.0)
    core.handle(ServerFrame(child, LOG), 1.0)
    assert told(core) == ["first"]
    cancel = Envelope(kind=Kind.CANCEL, exchange="first", lane=Lane.CONTROL, number=1, attempt=1)
    effects = core.handle(PackArrived(Pack(VERSION, "e", 1, 0, 0, (cancel,))), 2.0)
    assert [parse(effect.frame).method for effect in effects if isinstance(effect, Write)] == [
        "notifications/cancelled",
        "tools/call",
    ]
    core.handle(ServerFrame(child, LOG), 2.5)
    assert told(core) == ["first"]
    core.handle(ServerFrame(child, LOG), 2.0 + QUIET_AFTER_CANCEL)
    assert told(core) == ["first", "second"]

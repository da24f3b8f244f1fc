"""The bridge core: direct work, logs without a request, and requests that a link lost or a server answered without their id."""

import msgspec
import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.speaking.turns import QUIET_AFTER_CANCEL
from fabric.core.effects import Pause, StartServer, Write
from fabric.core.events import BrokerConnected, DrainStarted, PackArrived, ServerFrame, ServerStarted, WorkArrived
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Health
from fabric.core.peers.member import Identity
from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, single
from fabric.faults import Fault, Reason, lost_answer
from fabric.mcp.jsonrpc import Message, parse

DISCOVERED = {"resultType": "complete", "supportedVersions": ["2026-07-28"]}
LOG = parse(b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"secret of the first"}}')


def settled_bridge() -> tuple[BridgeCore, str]:
    """A settled bridge whose only server has answered the probe, and the id of that server's process."""
    core = BridgeCore(Identity(incarnation="b", key="k"), {"s": ServerLimits("d")})
    started = core.handle(BrokerConnected(keeps=False, largest_message_bytes=1 << 20), 0.0)
    child = next(effect.child for effect in started if isinstance(effect, StartServer))
    asked = core.handle(ServerStarted(child), 0.0)
    probe = next(parse(effect.frame).id for effect in asked if isinstance(effect, Write))
    answer = b'{"jsonrpc":"2.0","id":' + probe + b',"result":' + msgspec.json.encode(DISCOVERED) + b"}"
    core.handle(ServerFrame(child, parse(answer)), 0.0)
    own = Envelope(kind=Kind.ANNOUNCE, body=announcement.encode(core.describe(1, 0.0)))
    core.handle(PackArrived(single("b", own)), 0.0)
    core.expire(0.5)
    return core, child


def exchanges_with_messages(core: BridgeCore) -> list[str]:
    """The exchanges for which a message was posted."""
    lane = core.member.pairs.get("e").data_out.kept
    return [envelope.exchange for envelope in lane if envelope.kind is Kind.MESSAGE]


def work(exchange: str) -> Pack:
    body = b'{"jsonrpc":"2.0","id":"' + exchange.encode() + b'","method":"tools/call"}'
    return single("e", Envelope(kind=Kind.REQUEST, exchange=exchange, server="s", attempt=1, repeatable=True, body=body))


def test_work_sent_directly_to_a_bridge_is_taken_once() -> None:
    core, _ = settled_bridge()
    for _ in range(2):
        core.handle(PackArrived(work("x")), 1.0)
    assert [job.exchange for job in core.jobs.open.values()] == ["x"]
    assert core.pools["s"].slots.taken == 1


def test_work_sent_directly_to_a_bridge_that_takes_none_yet_is_returned() -> None:
    core = BridgeCore(Identity(incarnation="b", key="k"), {"s": ServerLimits("d")})
    core.handle(BrokerConnected(keeps=False, largest_message_bytes=1 << 20), 0.0)
    core.handle(PackArrived(work("x")), 0.0)
    assert not core.jobs.open
    assert [envelope.kind for envelope in core.member.pairs.get("e").control_out.kept] == [Kind.RETURNED]
    assert core.served(0.0)["s"].free == 0


def test_logs_of_a_cancelled_request_reach_no_other_client() -> None:
    core, child = settled_bridge()
    for exchange in ("first", "second"):
        body = b'{"jsonrpc":"2.0","id":"' + exchange.encode() + b'","method":"tools/call"}'
        request = Envelope(
            kind=Kind.REQUEST, exchange=exchange, server="s", attempt=1, repeatable=True, exclusive=True, body=body
        )
        core.handle(WorkArrived("e", request, 0), 1.0)
    core.handle(ServerFrame(child, LOG), 1.0)
    assert exchanges_with_messages(core) == ["first"]
    cancel = Envelope(kind=Kind.CANCEL, exchange="first", lane=Lane.CONTROL, number=1, attempt=1)
    effects = core.handle(PackArrived(Pack(VERSION, "e", 1, 0, 0, (cancel,))), 2.0)
    assert [parse(effect.frame).method for effect in effects if isinstance(effect, Write)] == [
        "notifications/cancelled",
        "tools/call",
    ]
    core.handle(ServerFrame(child, LOG), 2.5)
    assert exchanges_with_messages(core) == ["first"]
    core.handle(ServerFrame(child, LOG), 2.0 + QUIET_AFTER_CANCEL)
    assert exchanges_with_messages(core) == ["first", "second"]


@pytest.mark.parametrize(
    ("repeatable", "started", "again", "end"),
    [
        (True, True, True, (Kind.RETURNED, "it broke off")),  # it counts as a start, and runs elsewhere
        (True, False, True, (Kind.RETURNED, "")),
        (False, False, True, (Kind.RETURNED, "")),
        (False, True, True, (Kind.ANSWER, "outcome_unknown")),
        (True, True, False, (Kind.ANSWER, "outcome_unknown")),
        (True, False, False, (Kind.ANSWER, "outcome_unknown")),
    ],
)
def test_a_request_lost_by_its_link_runs_again_only_where_that_is_safe(
    repeatable: bool, started: bool, again: bool, end: tuple[Kind, str]
) -> None:
    core, child = settled_bridge()
    body = b'{"jsonrpc":"2.0","id":"x","method":"tools/call"}'
    request = Envelope(kind=Kind.REQUEST, exchange="x", server="s", attempt=1, repeatable=repeatable, body=body)
    core.handle(WorkArrived("e", request, 0), 1.0)
    if not repeatable:
        grant = Envelope(kind=Kind.GRANT, exchange="x", lane=Lane.CONTROL, number=1, attempt=1)
        core.handle(PackArrived(Pack(VERSION, "e", 1, 0, 0, (grant,))), 1.0)
    fault = Fault(Reason.OUTCOME_UNKNOWN, "it broke off")
    core.handle(ServerFrame(child, lost_answer(b'"x"', fault, started=started, again=again)), 2.0)
    pair = core.member.pairs.get("e")
    (last,) = [each for each in (*pair.data_out.kept, *pair.control_out.kept) if each.kind in (Kind.ANSWER, Kind.RETURNED)]
    if last.kind is Kind.ANSWER:
        data = msgspec.json.decode(last.body)["error"]["data"]
        assert (last.kind, data["reason"]) == end
        assert (data["server"], data["exchange"]) == ("s", "x")
    else:
        assert (last.kind, last.body.decode()) == end
    assert not core.jobs.open
    assert core.pools["s"].condition.health is Health.HEALTHY


CARRIED_OUT = "; the call may have been carried out"
STRAY = "s sent an answer that cannot be passed on: "
PARSE = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}'
UNKNOWN = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found"}}'


@pytest.mark.parametrize(
    ("open", "answer", "ends"),
    [
        (["x"], parse(PARSE), {"x": "Parse error"}),
        (["x", "y"], parse(PARSE), {}),  # it may answer either request
        (["x"], parse(UNKNOWN), {"x": "Method not found"}),
        (["x", "y"], parse(UNKNOWN), {}),
        (
            ["x"],
            parse(b'{"jsonrpc":"2.0","id":7,"result":{}}'),
            {"x": f"{STRAY}it has the id 7, not that of the request{CARRIED_OUT}"},
        ),
        (["x", "y"], parse(b'{"jsonrpc":"2.0","id":7,"result":{}}'), {}),
        (
            ["x"],
            lost_answer(b"", Fault(Reason.INVALID, "not JSON"), started=True, again=False),
            {"x": f"not JSON{CARRIED_OUT}"},
        ),
        (["x", "y"], lost_answer(b"", Fault(Reason.INVALID, "not JSON"), started=True, again=False), {}),
        (
            ["x", "y"],
            lost_answer(b'"y"', Fault(Reason.INVALID, "not JSON"), started=True, again=False),
            {"y": f"not JSON{CARRIED_OUT}"},
        ),
        (["x"], lost_answer(b'"a-1-f"', Fault(Reason.INVALID, "not JSON"), started=True, again=False), {}),  # a late answer
    ],
)
def test_an_answer_that_names_no_request_goes_to_the_only_open_one(
    open: list[str], answer: Message, ends: dict[str, str]
) -> None:
    core, child = settled_bridge()
    for exchange in open:
        body = b'{"jsonrpc":"2.0","id":"' + exchange.encode() + b'","method":"tools/call"}'
        request = Envelope(kind=Kind.REQUEST, exchange=exchange, server="s", attempt=1, repeatable=True, body=body)
        core.handle(WorkArrived("e", request, 0), 1.0)
    core.handle(ServerFrame(child, answer), 2.0)
    answers = [each for each in core.member.pairs.get("e").data_out.kept if each.kind is Kind.ANSWER]
    errors = {each.exchange: msgspec.json.decode(each.body) for each in answers}
    assert {exchange: answer["error"]["message"] for exchange, answer in errors.items()} == ends
    assert all(answer["id"] == exchange for exchange, answer in errors.items())
    assert core.jobs.open.keys() == set(open) - ends.keys()


@pytest.mark.requirement("R07")
def test_a_check_passes_on_any_message_and_fails_at_once_when_its_link_lost_it() -> None:
    core, child = settled_bridge()
    checks, now = core.pools["s"].limits.checks, 0.0

    def asked() -> bytes:
        nonlocal now
        now += 2 * checks.interval
        [id] = [parse(effect.frame).id for effect in core.expire(now) if isinstance(effect, Write)]
        return id

    fault = Fault(Reason.UNAVAILABLE, "nobody listens")
    core.handle(ServerFrame(child, lost_answer(asked(), fault, started=False, again=True)), now)
    assert core.served(now)["s"].health is Health.DEGRADED
    assert core.served(now)["s"].reason == "nobody listens"
    for _ in range(checks.up):
        asked()
        core.handle(ServerFrame(child, parse(b'{"jsonrpc":"2.0","method":"notifications/message"}')), now)
    assert core.served(now)["s"].health is Health.HEALTHY


def test_a_draining_bridge_pauses_its_queues_and_takes_no_work() -> None:
    core, _ = settled_bridge()
    assert Pause("s") in core.handle(DrainStarted(), 1.0)
    assert core.credit("s") == 64  # work that comes all the same is returned
    core.handle(PackArrived(work("x")), 1.0)
    assert not core.jobs.open


def test_a_bridge_that_misses_its_own_announcements_is_not_settled() -> None:
    core, _ = settled_bridge()
    assert core.snapshot(0.5).settled
    assert not core.snapshot(5.0).settled

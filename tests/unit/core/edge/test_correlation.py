"""The router: which bridge may run a request, what proves that no server has begun it, and how it ends."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from fabric.core.edge.correlation import CorrelationRouter, Limits
from fabric.core.edge.detours import Detours
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import Exchange, Request, TraceContext
from fabric.core.edge.sending import RESEND_UNKEPT, ExchangeSender
from fabric.core.edge.stalled import StalledExchanges
from fabric.core.effects import Completed, Effect, Publish
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.envelope import Envelope, Kind
from fabric.faults import CODES, Fault, Reason
from fabric.mcp import jsonrpc


class Client:
    """An Asker that records how its exchanges end."""

    def __init__(self) -> None:
        self.link = "link"
        self.outcomes: list[str] = []
        self.errors: list[bytes] = []

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        self.outcomes.append("message")
        return True

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> bool:
        self.outcomes.append("answered")
        return b'"error"' not in answer

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:
        self.outcomes.append("refused")
        self.errors.append(error)

    def done(self, exchange: Exchange) -> None:
        self.outcomes.append("done")

    def ended(self, exchange: Exchange) -> None:
        self.outcomes.append("ended")


class Edge:
    """The router of an edge, with the parts that it uses."""

    def __init__(self) -> None:
        self.out: list[Effect] = []
        identity = Identity(incarnation="me", key="k")
        self.member = Member(identity, self, self.out)
        directory = ServerDirectory(self.member.leases, frozenset({"s"}))
        self.sender = ExchangeSender(self.member, self.out, Detours(self.member))
        self.router = CorrelationRouter(self.member, self.out, Limits(), self.sender, directory)
        self.stalled = StalledExchanges(self.member, self.router, self.sender, directory)
        self.client = Client()

    def describe(self, number: int, now: float) -> Announcement:
        return announcing(self.member.identity, Role.EDGE, number)

    def lost(self, peer: str, now: float, loss: Loss) -> None: ...

    def recovered(self, now: float) -> None: ...

    def exchange(self, *, repeatable: bool = False, kind: Kind = Kind.REQUEST) -> Exchange:
        request = Request(server="s", arrived=0.0, kind=kind, method="tools/call", client_id=b"7")
        trace = TraceContext(span="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
        return Exchange(self.router.mint(), request, self.client, b"{}", trace, repeatable)

    def offered(self, *, repeatable: bool = False) -> Exchange:
        exchange = self.exchange(repeatable=repeatable)
        self.router.offer(exchange, 0.0)
        return exchange

    def posted(self, peer: str) -> list[Kind]:
        return [envelope.kind for envelope in self.member.pairs.get(peer).control_out.kept]

    def published(self) -> list[int]:
        """The attempts that were published."""
        return [effect.pack.envelopes[0].attempt for effect in self.out if isinstance(effect, Publish)]

    def outcomes(self) -> list[str]:
        """The outcome of each telemetry record."""
        return [effect.record.outcome for effect in self.out if isinstance(effect, Completed)]


def taken(exchange: Exchange, attempt: int = 1) -> Envelope:
    return Envelope(kind=Kind.TAKEN, exchange=exchange.id, attempt=attempt)


def answer(exchange: Exchange, attempt: int = 1) -> Envelope:
    body = b'{"jsonrpc":"2.0","id":"' + exchange.id.encode() + b'","result":{}}'
    return Envelope(kind=Kind.ANSWER, exchange=exchange.id, attempt=attempt, body=body)


# ---------------------------------------------------------------- owners
def test_the_first_bridge_to_take_an_unrepeatable_call_is_granted_it_and_the_second_is_cancelled() -> None:
    edge = Edge()
    exchange = edge.offered()
    assert edge.router.taken("first", taken(exchange), 0.1)
    assert not edge.router.taken("second", taken(exchange), 0.2)
    assert (edge.posted("first"), edge.posted("second")) == ([Kind.GRANT], [Kind.CANCEL])


def test_a_repeatable_call_needs_no_grant() -> None:
    edge = Edge()
    exchange = edge.offered(repeatable=True)
    assert edge.router.taken("first", taken(exchange), 0.1)
    assert edge.posted("first") == []


@pytest.mark.parametrize("ends", ["returned", "lost"])
def test_a_late_taken_message_of_an_ended_attempt_is_ignored(ends: str) -> None:
    edge = Edge()
    exchange = edge.offered()
    edge.router.taken("first", taken(exchange), 0.1)
    if ends == "returned":
        edge.router.returned("first", Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1), 0.2)
        edge.stalled.expired(exchange, 1.0)
    else:
        exchange.granted = False  # as if its grant had not been sent yet
        edge.router.lost("first", 1.0)
    assert edge.published() == [1, 2]
    assert not edge.router.taken("second", taken(exchange), 1.1)
    assert edge.posted("second") == [Kind.CANCEL]
    assert edge.router.taken("third", taken(exchange, 2), 1.2)


def test_the_answer_of_a_bridge_that_does_not_own_the_exchange_is_dropped() -> None:
    edge = Edge()
    exchange = edge.offered()
    edge.router.taken("first", taken(exchange), 0.1)
    edge.router.answered("second", answer(exchange), 0.2)
    assert edge.client.outcomes == []
    edge.router.answered("first", answer(exchange), 0.3)
    assert edge.client.outcomes == ["answered"]


def test_an_answer_counts_as_taken() -> None:
    edge = Edge()
    exchange = edge.offered(repeatable=True)
    edge.router.answered("first", answer(exchange), 0.1)
    assert edge.client.outcomes == ["answered"]


def test_an_answer_that_opens_a_session_without_a_client_ends_the_session() -> None:
    edge = Edge()
    edge.router.answered("b", Envelope(kind=Kind.ANSWER, exchange="over", session="over"), 0.0)
    assert [(envelope.kind, envelope.session) for envelope in edge.member.pairs.get("b").data_out.kept] == [(Kind.END, "over")]


# ---------------------------------------------------------------- attempts
def test_work_that_no_bridge_takes_is_sent_again_as_a_new_attempt() -> None:
    edge = Edge()
    exchange = edge.offered()
    assert edge.sender.deadlines.expired(RESEND_UNKEPT) == [exchange.id]
    edge.stalled.expired(exchange, RESEND_UNKEPT)
    assert edge.published() == [1, 2]


def test_returned_work_is_sent_again_in_order_as_work_of_its_server_ends() -> None:
    edge = Edge()
    first, second, running = edge.offered(), edge.offered(), edge.offered()
    edge.router.taken("b", taken(running), 0.1)
    for exchange in (first, second):
        edge.router.returned("b", Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1), 0.2)
    assert edge.router.crowding_bytes("s") == len(first.body + second.body)
    edge.router.answered("b", answer(running), 0.3)
    assert (first.attempt, second.attempt) == (2, 1)


def test_returned_work_that_was_sent_again_is_not_sent_once_more_when_work_of_its_server_ends() -> None:
    edge = Edge()
    back, running = edge.offered(), edge.offered()
    edge.router.taken("b", taken(running), 0.1)
    edge.router.returned("b", Envelope(kind=Kind.RETURNED, exchange=back.id, attempt=1), 0.2)
    edge.stalled.expired(back, 0.3)
    edge.router.answered("b", answer(running), 0.31)
    assert back.attempt == 2


def test_a_failed_start_is_counted_and_the_call_is_left_to_the_bridge_that_has_it() -> None:
    edge = Edge()
    exchange = edge.offered(repeatable=True)
    edge.stalled.expired(exchange, RESEND_UNKEPT)
    edge.router.taken("owner", taken(exchange, 2), 0.6)
    failed = Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1, repeatable=True, body=b"it died")
    for late in ("a", "b", "c"):  # a broker may deliver one attempt more than once
        edge.router.returned(late, failed, 0.7)
    assert edge.client.outcomes == []
    edge.router.returned("owner", msgspec.structs.replace(failed, attempt=2), 0.8)
    [error] = edge.client.errors
    assert b"failed 4 times" in error


def test_progress_that_does_not_rise_is_not_new() -> None:
    edge = Edge()
    exchange = edge.offered()
    values = [1, 2, 2, 1, 3]
    notifications = [
        jsonrpc.parse(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d}}' % value)
        for value in values
    ]
    rising = [edge.router.rises(exchange, notification) for notification in notifications]
    assert rising == [True, True, False, False, True]


# ---------------------------------------------------------------- proof
def test_an_attempt_that_is_returned_twice_proves_nothing_about_a_later_one() -> None:
    edge = Edge()
    exchange = edge.offered(repeatable=True)
    back = Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1)
    edge.router.returned("bridge", back, 0.1)
    assert exchange.surely_unstarted
    edge.stalled.expired(exchange, 1.0)
    assert exchange.attempt == 2  # a bridge may run this attempt by now
    edge.router.returned("another", back, 1.1)
    assert not exchange.surely_unstarted
    edge.router.give_up(exchange, 400.0)
    [error] = edge.client.errors
    assert b'"retryable":false' in error


@pytest.mark.parametrize(("granted", "retryable"), [(False, b'"retryable":true'), (True, b'"retryable":false')])
def test_a_fault_is_retryable_only_with_proof_of_no_start(granted: bool, retryable: bytes) -> None:
    edge = Edge()
    exchange = edge.offered()
    if granted:
        edge.router.taken("b", taken(exchange), 0.1)
    edge.router.fail(exchange, Fault(Reason.UNAVAILABLE, "so", retryable=True), 0.2)
    [error] = edge.client.errors
    assert retryable in error


# ---------------------------------------------------------------- ends
def test_each_end_of_an_exchange_reaches_its_client_once_and_leaves_no_state() -> None:
    fault = Fault(Reason.DEADLINE, "so")
    ends: dict[str, Callable[[Edge, Exchange], None]] = {
        "answered": lambda edge, exchange: edge.router.answered("b", answer(exchange), 1.0),
        "refused": lambda edge, exchange: edge.router.fail(exchange, fault, 1.0),
        "done": lambda edge, exchange: edge.router.written(exchange, 1.0),
        "ended": lambda edge, exchange: edge.router.ended(exchange, 1.0),
        "cancelled": lambda edge, exchange: edge.router.cancel(exchange, 1.0),
        "forgotten": lambda edge, exchange: edge.router.forget(exchange, 1.0),
    }
    recorded: dict[str, list[str]] = {"answered": ["ok"], "refused": ["deadline"], "done": []}
    for end, happens in ends.items():
        edge = Edge()
        exchange = edge.exchange()
        edge.router.assign(exchange, "b", 0.0)
        happens(edge, exchange)
        assert edge.client.outcomes == ([end] if end in ("answered", "refused", "done", "ended") else [])
        assert edge.outcomes() == recorded.get(end, ["cancelled"])
        counted = {"answered": "ok", "done": "ok", "refused": "deadline"}
        assert edge.router.finished == {("s", counted.get(end, "cancelled")): 1}
        assert not edge.router.exchanges
        assert len(edge.sender.deadlines) == 0
        edge.router.fail(exchange, fault, 2.0)  # an ended exchange does not end again
        edge.router.answered("b", answer(exchange), 2.0)
        assert len(edge.client.outcomes) <= 1
        assert sum(edge.router.finished.values()) == 1


@pytest.mark.parametrize(("code", "outcome"), [(-32602, "error"), (CODES[Reason.OUTCOME_UNKNOWN], "outcome_unknown")])
def test_an_error_counts_by_its_reason_if_it_is_a_fault_of_a_bridge(code: int, outcome: str) -> None:
    edge = Edge()
    exchange = edge.offered()
    body = jsonrpc.error_frame(jsonrpc.quoted(exchange.id), code, "no")
    edge.router.answered("b", Envelope(kind=Kind.ANSWER, exchange=exchange.id, attempt=1, body=body), 1.0)
    assert edge.router.finished == {("s", outcome): 1}


def test_a_request_that_is_refused_before_it_is_opened_is_counted() -> None:
    edge = Edge()
    edge.router.refuse(edge.exchange(), Fault(Reason.NO_WORKER, "no bridge serves s"), 0.0)
    assert edge.router.finished == {("s", "no_worker"): 1}


def test_a_stream_that_its_client_no_longer_reads_has_not_failed() -> None:
    edge = Edge()
    exchange = edge.exchange(kind=Kind.ATTACH)
    edge.router.assign(exchange, "b", 0.0)
    edge.router.forget(exchange, 1.0)
    assert edge.router.finished == {("s", "ok"): 1}


def test_the_owner_is_sent_a_cancel_and_nothing_when_an_exchange_is_forgotten() -> None:
    for end, posted in (("cancel", [Kind.CANCEL]), ("forget", [])):
        edge = Edge()
        exchange = edge.exchange()
        edge.router.assign(exchange, "b", 0.0)
        getattr(edge.router, end)(exchange, 1.0)
        assert edge.posted("b") == posted
        assert edge.client.link == ""


def test_a_promised_session_that_another_bridge_opens_is_lost() -> None:
    edge = Edge()
    exchange = edge.exchange(kind=Kind.OPEN)
    edge.router.offer(exchange, 0.0)
    edge.router.taken("first", taken(exchange), 0.1)
    edge.router.promise(exchange)
    edge.router.returned("first", Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1), 0.2)
    edge.stalled.expired(exchange, 1.0)
    edge.router.taken("second", taken(exchange, 2), 1.1)
    edge.router.answered("second", answer(exchange, 2), 1.2)
    [error] = edge.client.errors
    assert b"session_lost" in error
    assert [envelope.kind for envelope in edge.member.pairs.get("second").data_out.kept] == [Kind.END]

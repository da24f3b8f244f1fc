"""The spans that are made of a record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, format_span_id

from fabric.core import telemetry_record
from fabric.core.telemetry_record import Record, Side
from fabric.faults import CODES, Fault, Reason, fault_frame
from fabric.faults import outcome as outcome_of
from fabric.links.registry import networks
from fabric.mcp import jsonrpc, swap
from fabric.telemetry.spans import MAX_SENDINGS, MAX_TEXT, SpanMaker, context

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT, SPAN = f"00-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE}-ffffffffffffffff-01"
MAKER = SpanMaker(Resource({"service.name": "test"}), "nats", 1_000_000.0, networks())
EDGE = Record(
    side=Side.EDGE, exchange="e-1", server="time", method="tools/call", target="now", transport="http", session="", attempt=1,
    arrived=1.0, begun=2.0, ended=4.0, outcome="ok", trace=CLIENT, span=SPAN, queued=True, sendings=(2.0,), id=b'"7"',
)  # fmt: skip
BRIDGE = msgspec.structs.replace(EDGE, side=Side.BRIDGE, transport="stdio", sendings=(), sent=1.5)


def spans(record: Record, **changes: Any) -> list[ReadableSpan]:
    return list(MAKER.spans(msgspec.structs.replace(record, **changes)))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_span_ids_follow_the_minted_one_and_wrap_at_the_largest() -> None:
    assert telemetry_record.after(SPAN, 2) == f"00-{TRACE}-0000000000000001-01"
    edge, sending = spans(EDGE)
    assert (edge.context.span_id, sending.context.span_id) == ((1 << 64) - 1, 0)


@pytest.mark.parametrize(
    "wrong",
    ["", "x", CLIENT.upper(), CLIENT + "-more", "ff" + CLIENT[2:], f"00-{'0' * 32}-{'1' * 16}-01", f"00-{TRACE}-{'0' * 16}-01"],
)
def test_a_malformed_traceparent_has_no_context(wrong: str) -> None:
    assert context(wrong) is None


def test_a_traceparent_of_a_later_version_is_read_by_its_known_part() -> None:
    later = context("01" + CLIENT[2:] + "-more")
    assert later is not None
    assert later.is_remote


def test_span_times_are_those_of_the_record_in_unix_nanoseconds() -> None:
    edge, sending = spans(EDGE)
    assert (edge.start_time, edge.end_time) == (1_000_001 * 10**9, 1_000_004 * 10**9)
    assert sending.start_time == sending.end_time == 1_000_002 * 10**9


def test_the_span_of_a_wait_never_ends_before_it_begins_though_clocks_differ() -> None:
    wait = spans(BRIDGE, sent=500.0)[0]
    assert wait.start_time == wait.end_time


def test_a_job_that_was_never_written_has_no_server_span() -> None:
    assert [span.kind for span in spans(BRIDGE)] == [SpanKind.CONSUMER, SpanKind.CONSUMER, SpanKind.CLIENT]
    assert [span.kind for span in spans(BRIDGE, begun=0.0)] == [SpanKind.CONSUMER, SpanKind.CONSUMER]


def test_an_exchange_that_was_sent_often_has_spans_of_its_first_and_last_sendings() -> None:
    often = spans(EDGE, sendings=tuple(float(second) for second in range(100)))[1:]
    assert len(often) == MAX_SENDINGS
    assert often[-1].context.span_id == telemetry_record.id_after((1 << 64) - 1, 100)
    assert [format_span_id(link.context.span_id) for link in often[-1].links] == [telemetry_record.after(SPAN, 99)[36:52]]


def test_a_resource_uri_is_an_attribute_without_credentials_and_not_in_the_span_name() -> None:
    edge = spans(EDGE, method="resources/read", target="postgres://me:secret@db/table")[0]
    assert edge.name == "resources/read"
    assert attributes(edge)["mcp.resource.uri"] == "postgres://db/table"
    long = spans(EDGE, method="resources/read", target="db://" + "secret" * 100 + "@db")[0]
    assert "secret" not in str(attributes(long))


def test_texts_of_a_client_are_cut_in_span_attributes() -> None:
    edge = spans(EDGE, method="m" * 1000, target="t" * 1000, id=b'"' + b"i" * 1000 + b'"', version="v" * 1000)[0]
    assert max(len(str(value)) for value in attributes(edge).values()) == MAX_TEXT
    assert len(edge.name) == MAX_TEXT


def test_the_span_of_a_sessions_frame_names_no_inbox() -> None:
    assert spans(EDGE, queued=False, session="s-1")[1].name == "send inbox"


@pytest.mark.parametrize(("outcome", "code", "type"), [("error", -32602, "-32602"), ("no_worker", -31001, "no_worker")])
def test_a_failure_has_a_type_a_code_and_a_status(outcome: str, code: int, type: str) -> None:
    edge, sending = spans(EDGE, outcome=outcome, code=code)
    assert attributes(edge)["error.type"] == type
    assert attributes(edge)["rpc.response.status_code"] == str(code)
    assert edge.status.status_code is StatusCode.ERROR
    assert sending.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (b'{"id":"1","result":{"content":[]}}', "ok", 0),
        (b'{"id":"1","result":{"content":[],"isError":false}}', "ok", 0),
        (b'{"id":"1","result":{"content":[],"isError":true}}', "tool_error", 0),
        (b'{"id":"1","result":{"structured":{"isError":true,"error":{"code":3}}}}', "ok", 0),
        (b'{"id":"1","error":{"code":-32602,"message":"no"}}', "error", -32602),
        (b'{"id":"1","error":{"code":"odd"}}', "ok", 0),
        (fault_frame(b'"1"', Fault(Reason.DEADLINE, "late")), "deadline", CODES[Reason.DEADLINE]),
    ],
)
def test_an_answer_is_judged_by_its_own_members_alone(answer: bytes, outcome: str, code: int) -> None:
    assert outcome_of(answer) == (outcome, code)


def test_a_frame_whose_metadata_is_hard_to_find_stays_unchanged() -> None:
    hidden = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[' + b'{"_meta":{}},' * 5000 + b'1],"_meta":{"b":1}}}'
    assert swap.with_traceparent(jsonrpc.parse(hidden), CLIENT) == hidden
    plain = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"_meta":{}},"_meta":{"b":1}}}'
    carrying = jsonrpc.parse(swap.with_traceparent(jsonrpc.parse(plain), CLIENT))
    assert jsonrpc.text(jsonrpc.meta(carrying).fields.traceparent) == CLIENT

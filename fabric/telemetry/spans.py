"""Spans made of records, after the fact: SDK spans with the ids and times that the exchange already had. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fabric import jsonrpc
from fabric.core import trace
from fabric.core.record import Record, Side
from fabric.telemetry import names

MAX_TEXT = 256
"""Characters kept of what a client named: a method, a tool, a URI, an id."""
MAX_SENDINGS = 16
"""Sendings of one exchange that get a span: the first, and the last ones."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_USERINFO = re.compile(r"//[^/@]*@")
_SCOPE = InstrumentationScope(names.SCOPE)
_FINE = Status(StatusCode.UNSET)

Attributes = dict[str, str | int]


def context(traceparent: str, *, remote: bool) -> SpanContext | None:
    """The span a traceparent names; None for none, and for a malformed one, which W3C Trace Context says to ignore."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    span = SpanContext(int(found[2], 16), int(found[3], 16), is_remote=remote, trace_flags=TraceFlags(int(found[4], 16)))
    return span if span.is_valid else None


class SpanMaker:
    """Makes the spans of one process. system: its broker's, as messaging.system. wall: see core.member.Identity."""

    def __init__(self, resource: Resource, system: str, wall: float) -> None:
        self._resource = resource
        self._system = system
        self._wall = wall

    def spans(self, record: Record) -> Iterator[ReadableSpan]:
        """The spans of a sampled record, parents first."""
        return self._edge(record) if record.side is Side.EDGE else self._bridge(record)

    def _edge(self, record: Record) -> Iterator[ReadableSpan]:
        carried = context(record.carried, remote=True) if record.carried != record.trace else None
        links = [Link(carried)] if carried is not None else []
        parent = context(record.trace, remote=True)
        attributes = _request(record)
        attributes |= {names.REQUEST_ID: _cut(jsonrpc.text(record.id) or record.id.decode())} if record.id else {}
        attributes |= {names.MCP_VERSION: _cut(record.version)} if record.version else {}
        name = names.mcp_span(_cut(record.method), _named(attributes))
        yield self._span(name, SpanKind.SERVER, record.span, parent, record.arrived, record.ended, attributes, record, links)
        own = context(record.span, remote=False)
        count = len(record.sendings)
        for number in range(1, count + 1):
            if 1 < number <= count + 1 - MAX_SENDINGS:
                continue
            span = trace.after(record.span, number)
            before = context(trace.after(record.span, number - 1), remote=False) if number > 1 else None
            links = [Link(before)] if before is not None else []
            sent = record.sendings[number - 1]
            attributes = self._message(record, names.SEND, number)
            yield self._span(self._hop(names.SEND, record), SpanKind.PRODUCER, span, own, sent, sent, attributes, None, links)

    def _bridge(self, record: Record) -> Iterator[ReadableSpan]:
        parent = context(record.trace, remote=True)
        wait, call = trace.after(record.span, trace.WAIT), trace.after(record.span, trace.CALL)
        attributes = self._message(record, names.RECEIVE, record.attempt)
        name = self._hop(names.RECEIVE, record)
        since = min(record.sent, record.arrived)  # another machine's clock may run ahead of ours
        yield self._span(name, SpanKind.CONSUMER, wait, parent, since, record.arrived, attributes, None)
        attributes = self._message(record, names.PROCESS, record.attempt)
        name, parent = self._hop(names.PROCESS, record), context(wait, remote=False)
        yield self._span(name, SpanKind.CONSUMER, record.span, parent, record.arrived, record.ended, attributes, record)
        if record.begun:
            attributes, parent = _request(record), context(record.span, remote=False)
            name = names.mcp_span(_cut(record.method), _named(attributes))
            yield self._span(name, SpanKind.CLIENT, call, parent, record.begun, record.ended, attributes, record)

    def _hop(self, operation: str, record: Record) -> str:
        return names.messaging_span(operation, _destination(record))

    def _message(self, record: Record, operation: str, attempt: int) -> Attributes:
        return {
            names.SYSTEM: self._system,
            names.MESSAGING_OPERATION: operation,
            names.MESSAGING_TYPE: operation,
            names.DESTINATION: _destination(record),
            names.CONVERSATION: record.exchange,
            names.ATTEMPT: attempt,
        }

    def _span(
        self,
        name: str,
        kind: SpanKind,
        span: str,
        parent: SpanContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        judged: Record | None,
        links: Sequence[Link] = (),
    ) -> ReadableSpan:
        """One span. judged: the record whose outcome is this span's; None where the outcome is not the span's own."""
        status = _FINE
        if judged is not None and judged.outcome != "ok":
            attributes[names.ERROR_TYPE] = str(judged.code) if judged.outcome == "error" else judged.outcome
            status = Status(StatusCode.ERROR, judged.outcome)
        if judged is not None and judged.code:
            attributes[names.STATUS_CODE] = str(judged.code)
        return ReadableSpan(
            name,
            context(span, remote=False),
            parent,
            self._resource,
            attributes,
            links=links,
            kind=kind,
            status=status,
            start_time=int((start + self._wall) * 1e9),
            end_time=int((end + self._wall) * 1e9),
            instrumentation_scope=_SCOPE,
        )


def _destination(record: Record) -> str:
    """An inbox bears no name: it lives as long as a process."""
    return f"work/{record.server}" if record.queued else "inbox"


def _request(record: Record) -> Attributes:
    """What both sides say of the MCP request; never its arguments."""
    attributes: Attributes = {names.MCP_METHOD: _cut(record.method), names.SERVER: record.server}
    transport, protocol = names.TRANSPORTS.get(record.transport, ("", ""))
    if transport:
        attributes[names.TRANSPORT] = transport
    if protocol:
        attributes[names.PROTOCOL] = protocol
    if record.session:
        attributes[names.MCP_SESSION] = record.session
    if record.method == "tools/call":
        attributes |= {names.OPERATION: names.EXECUTE_TOOL, names.TOOL: _cut(record.target)}
    elif record.method == "prompts/get":
        attributes[names.PROMPT] = _cut(record.target)
    elif record.method.startswith("resources/") and record.target:
        attributes[names.MCP_RESOURCE] = _cut(_USERINFO.sub("//", record.target))
    return attributes


def _named(attributes: Attributes) -> str:
    return str(attributes.get(names.TOOL) or attributes.get(names.PROMPT) or "")


def _cut(text: str) -> str:
    return text[:MAX_TEXT]

"""Spans made of records, after the fact: SDK spans with the ids and times that the exchange already had. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from fabric.core.telemetry_record import CALL, WAIT, Record, Side, id_after
from fabric.mcp import jsonrpc
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


class _Resource(Resource):
    """A resource that is hashed once: exporters group spans by it, and the SDK's own encodes itself to JSON each time."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def context(traceparent: str) -> SpanContext | None:
    """The remote span a traceparent names; None for none, and for a malformed one, which W3C Trace Context says to ignore."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    span = SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=TraceFlags(int(found[4], 16)))
    return span if span.is_valid else None


class SpanMaker:
    """Makes the spans of one process. system: its broker's, as messaging.system. wall: see core.member.Identity.

    networks: network.transport and network.protocol.name of each transport of Record; empty for neither.
    """

    def __init__(self, resource: Resource, system: str, wall: float, networks: Mapping[str, tuple[str, str]]) -> None:
        self._resource = _Resource(resource)
        self._networks = networks
        self._system = system
        self._wall = wall

    def spans(self, record: Record) -> Iterator[ReadableSpan]:
        """The spans of a record that was sampled, parents first."""
        own = context(record.span)
        if own is None:
            return iter(())
        return self._edge(record, own) if record.side is Side.EDGE else self._bridge(record, own)

    def _edge(self, record: Record, own: SpanContext) -> Iterator[ReadableSpan]:
        attributes, name = self._request(record)
        if record.id:
            attributes[names.REQUEST_ID] = _cut(jsonrpc.text(record.id) or record.id.decode())
        if record.version:
            attributes[names.MCP_VERSION] = _cut(record.version)
        caller = record.caller
        for key, value in ((names.CLIENT, caller.address), (names.SCHEME, caller.scheme), (names.HOST, caller.host)):
            if value:
                attributes[key] = _cut(value)
        carried = context(record.carried) if record.carried != record.trace else None
        links = [Link(carried)] if carried is not None else []
        _judge(attributes, record)
        parent = context(record.trace) if record.trace else None
        yield self._span(name, SpanKind.SERVER, own, parent, record.arrived, record.ended, attributes, _status(record), links)
        name, count = names.messaging_span(names.SEND, _destination(record)), len(record.sendings)
        for number, sent in enumerate(record.sendings, 1):
            if number == 1 or number > count + 1 - MAX_SENDINGS:
                links = [Link(_after(own, number - 1))] if number > 1 else []
                attributes = self._message(record, names.SEND, number)
                yield self._span(name, SpanKind.PRODUCER, _after(own, number), own, sent, sent, attributes, _FINE, links)

    def _bridge(self, record: Record, own: SpanContext) -> Iterator[ReadableSpan]:
        status, destination = _status(record), _destination(record)
        wait = _after(own, WAIT)
        since = min(record.sent, record.arrived)  # another machine's clock may run ahead of ours
        name, attributes = (
            names.messaging_span(names.RECEIVE, destination),
            self._message(record, names.RECEIVE, record.attempt),
        )
        parent = context(record.trace)
        yield self._span(name, SpanKind.CONSUMER, wait, parent, since, record.arrived, attributes, _FINE)
        name, attributes = (
            names.messaging_span(names.PROCESS, destination),
            self._message(record, names.PROCESS, record.attempt),
        )
        _judge(attributes, record)
        yield self._span(name, SpanKind.CONSUMER, own, wait, record.arrived, record.ended, attributes, status)
        if record.begun:
            call = _after(own, CALL)
            attributes, name = self._request(record)
            _judge(attributes, record)
            yield self._span(name, SpanKind.CLIENT, call, own, record.begun, record.ended, attributes, status)

    def _request(self, record: Record) -> tuple[Attributes, str]:
        """What both sides say of the MCP request, never its arguments; and the name of a span for it."""
        method, target = _cut(record.method), _cut(record.target)
        attributes: Attributes = {names.MCP_METHOD: method, names.SERVER: record.server}
        transport, protocol = self._networks.get(record.transport, ("", ""))
        if transport:
            attributes[names.TRANSPORT] = transport
        if protocol:
            attributes[names.PROTOCOL] = protocol
        if record.session:
            attributes[names.MCP_SESSION] = record.session
        if method == "tools/call":
            attributes[names.OPERATION], attributes[names.TOOL] = names.EXECUTE_TOOL, target
        elif method == "prompts/get":
            attributes[names.PROMPT] = target
        else:
            if target:
                attributes[names.MCP_RESOURCE] = _cut(_USERINFO.sub("//", record.target))
            target = ""  # a name of few values: what a URI names is in its attribute
        return attributes, names.mcp_span(method, target)

    def _message(self, record: Record, operation: str, attempt: int) -> Attributes:
        attributes: Attributes = {
            names.SYSTEM: self._system,
            names.MESSAGING_OPERATION: operation,
            names.MESSAGING_TYPE: operation,
            names.DESTINATION: _destination(record),
            names.CONVERSATION: record.exchange,
        }
        if attempt > 1:
            attributes[names.ATTEMPT] = attempt
        return attributes

    def _span(
        self,
        name: str,
        kind: SpanKind,
        span: SpanContext,
        parent: SpanContext | None,
        start: float,
        end: float,
        attributes: Attributes,
        status: Status,
        links: Sequence[Link] = (),
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            span,
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


def _after(span: SpanContext, number: int) -> SpanContext:
    return SpanContext(span.trace_id, id_after(span.span_id, number), is_remote=False, trace_flags=span.trace_flags)


def _destination(record: Record) -> str:
    """An inbox bears no name: it lives as long as a process."""
    return f"work/{record.server}" if record.queued else "inbox"


def _status(record: Record) -> Status:
    return _FINE if record.outcome == "ok" else Status(StatusCode.ERROR, record.outcome)


def _judge(attributes: Attributes, record: Record) -> None:
    """Say what went wrong: a fault's reason, or the code of the server's own error."""
    if record.outcome != "ok":
        attributes[names.ERROR_TYPE] = str(record.code) if record.outcome == "error" else record.outcome
        if record.code:
            attributes[names.STATUS_CODE] = str(record.code)


def _cut(text: str) -> str:
    return text[:MAX_TEXT]

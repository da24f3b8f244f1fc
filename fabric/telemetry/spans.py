"""Makes spans from records of the core, after the fact: SDK spans with the ids and times of the exchange. No I/O."""

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
"""The most characters kept of a name that a client chose: a method, a tool, a URI, an id."""
MAX_SENDINGS = 16
"""The most sendings of one exchange that get a span: the first one, and the last ones."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_USERINFO = re.compile(r"//[^/@]*@")
_SCOPE = InstrumentationScope(names.SCOPE)
_UNSET = Status(StatusCode.UNSET)

Attributes = dict[str, str | int]


class _Resource(Resource):
    """A resource that is hashed once: exporters group spans by it, and the SDK's class encodes itself to JSON for each hash."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def context(traceparent: str) -> SpanContext | None:
    """The remote span that a traceparent names; None for none, and for a malformed one, which W3C Trace Context ignores."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    span = SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=TraceFlags(int(match[4], 16)))
    return span if span.is_valid else None


class SpanMaker:
    """Makes the spans of one process."""

    def __init__(self, resource: Resource, system: str, wall: float, networks: Mapping[str, tuple[str, str]]) -> None:
        """system: the broker's messaging.system. wall: see core.member.Identity.

        networks: by `Record.transport`, its network.transport and network.protocol.name, each empty for none.
        """
        self._resource = _Resource(resource)
        self._networks = networks
        self._system = system
        self._wall = wall

    def spans(self, record: Record) -> Iterator[ReadableSpan]:
        """The spans of a sampled record, parents first."""
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
        _add_failure(attributes, record)
        parent = context(record.trace) if record.trace else None
        yield self._span(name, SpanKind.SERVER, own, parent, record.arrived, record.ended, attributes, _status(record), links)
        name, count = names.messaging_span(names.SEND, _destination(record)), len(record.sendings)
        for number, sent in enumerate(record.sendings, 1):
            if number == 1 or number > count + 1 - MAX_SENDINGS:
                links = [Link(_after(own, number - 1))] if number > 1 else []
                attributes = self._message(record, names.SEND, number)
                yield self._span(name, SpanKind.PRODUCER, _after(own, number), own, sent, sent, attributes, _UNSET, links)

    def _bridge(self, record: Record, own: SpanContext) -> Iterator[ReadableSpan]:
        status, destination = _status(record), _destination(record)
        wait = _after(own, WAIT)
        since = min(record.sent, record.arrived)  # another machine's clock may run ahead of ours
        name, attributes = (
            names.messaging_span(names.RECEIVE, destination),
            self._message(record, names.RECEIVE, record.attempt),
        )
        parent = context(record.trace)
        yield self._span(name, SpanKind.CONSUMER, wait, parent, since, record.arrived, attributes, _UNSET)
        name, attributes = (
            names.messaging_span(names.PROCESS, destination),
            self._message(record, names.PROCESS, record.attempt),
        )
        _add_failure(attributes, record)
        yield self._span(name, SpanKind.CONSUMER, own, wait, record.arrived, record.ended, attributes, status)
        if record.begun:
            call = _after(own, CALL)
            attributes, name = self._request(record)
            _add_failure(attributes, record)
            yield self._span(name, SpanKind.CLIENT, call, own, record.begun, record.ended, attributes, status)

    def _request(self, record: Record) -> tuple[Attributes, str]:
        """The attributes of the MCP request, the same on edge and bridge and without its arguments; and its span's name."""
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
            target = ""  # a span's name has few values, so a URI is in an attribute only
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
    """The channel of a record's messages. An inbox is not named: each process has its own, so the names would be many."""
    return f"work/{record.server}" if record.queued else "inbox"


def _status(record: Record) -> Status:
    return _UNSET if record.outcome == "ok" else Status(StatusCode.ERROR, record.outcome)


def _add_failure(attributes: Attributes, record: Record) -> None:
    """Add the reason of a failure: a fault's reason, or the code of the server's error."""
    if record.outcome != "ok":
        attributes[names.ERROR_TYPE] = str(record.code) if record.outcome == "error" else record.outcome
        if record.code:
            attributes[names.STATUS_CODE] = str(record.code)


def _cut(text: str) -> str:
    return text[:MAX_TEXT]

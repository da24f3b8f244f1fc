"""Checks a request against the rules of Streamable HTTP, in both eras. Above it: service.py. Pure.

Modern (2026-07-28, basic/transports/streamable-http): every POST stands alone and mirrors its body in headers. Legacy
(2025-03-26 to 2025-11-25, basic/transports): sessions, GET and DELETE. A request is modern when its `_meta` names a protocol
version, or its MCP-Protocol-Version header names a modern one.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from fabric.errors import InvalidFrame
from fabric.faults import Reason
from fabric.links.http.response import Headers, Response, refuse, too_large
from fabric.links.mcp_headers import NAMED, WRAPPED, decoded
from fabric.mcp import batches, jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

NO_SSE = "HTTP+SSE of revision 2024-11-05, which begins with a GET, is not served: let the client speak Streamable HTTP"
"""The message to clients of that transport."""

_REFUSED = re.compile(rb"q\s*=\s*(0(\.0*)?|\.0+)")

BodyClaims = tuple[MessageKind, str, bytes, bool, bytes]
"""The parts of a message that its head must agree with: its kind and method; the raw version in `_meta`, and whether `_meta`
has capabilities; and the raw name or uri, if Mcp-Name repeats it."""


class Admission(msgspec.Struct, frozen=True, gc=False):
    """The admission of a request. The same head with the same `BodyClaims` gives the same one."""

    modern: bool
    """Whether the request is of the modern era."""
    session: str = ""
    """See LinkInfo.session."""
    version: str = ""
    """See LinkInfo.version."""
    last_event: str = ""
    """See LinkInfo.last_event."""
    params: tuple[tuple[str, str], ...] = ()
    """See LinkInfo.params."""


def is_modern(version: bytes) -> bool:
    """Whether an MCP-Protocol-Version header names a revision without sessions."""
    return version >= jsonrpc.MODERN_VERSION.encode() and version[:1].isdigit()


def check_post(headers: Headers, max_body_bytes: int) -> Response | None:
    """The refusal of a POST by its headers, before its body is read; None if they are in order."""
    encoded = headers.get(b"content-encoding", b"").lower() not in (b"", b"identity")
    if encoded or not _is_json(headers.get(b"content-type", b"")):
        return refuse(415, Reason.INVALID, "a POST's Content-Type is application/json, without a Content-Encoding")
    if not any(accepted(headers)):
        return refuse(406, Reason.INVALID, "answers are JSON or text/event-stream; the Accept header allows neither")
    if int(headers.get(b"content-length", b"0")) > max_body_bytes:  # its digits were checked by the HTTP parser
        return too_large(max_body_bytes)
    return None


def admit_bodiless(method: str, headers: Headers) -> Admission | Response:
    """Check a GET (a session's stream) or a DELETE (its end); both exist in the legacy era only."""
    if is_modern(headers.get(b"mcp-protocol-version", b"")):
        return refuse(405, Reason.INVALID, f"{method} is not part of this protocol version", lines=b"allow: POST, OPTIONS\r\n")
    if method == "GET" and not accepted(headers)[1]:
        return refuse(406, Reason.INVALID, "a GET is answered by text/event-stream, which the Accept header does not allow")
    if method == "GET" and not headers.get(b"mcp-session-id"):
        return refuse(400, Reason.INVALID, f"the Mcp-Session-Id header is missing: a session begins with a POST. {NO_SSE}")
    return _admit_legacy(headers, None)


def read_post(body: bytes) -> tuple[Message, BodyClaims] | Response:
    """Parse a POST's body: its message and claims, or the refusal."""
    try:
        message = jsonrpc.parse(body)
        meta = jsonrpc.meta(message)
    except InvalidFrame as error:
        return _invalid(error)
    fields, by_uri = meta.fields, NAMED.get(message.method)
    target = b"" if by_uri is None else bytes(meta.uri if by_uri else meta.name)
    return message, (message.kind, message.method, bytes(fields.version), bool(fields.capabilities), target)


def admit_post(headers: Headers, message: Message, claims: BodyClaims) -> Admission | Response:
    """Check a POST's headers against its message."""
    claimed = headers.get(b"mcp-protocol-version", b"")
    if message.kind is MessageKind.BATCH and (
        b"mcp-session-id" not in headers or claimed not in (b"", batches.REVISION.encode())
    ):
        return _invalid(InvalidFrame(jsonrpc.INVALID_REQUEST, batches.MISPLACED))
    if message.method == "subscriptions/listen" and not accepted(headers)[1]:
        reason = "a subscription is answered by text/event-stream, which the Accept header does not allow"
        return Response(406, jsonrpc.error_frame(message.id, jsonrpc.INVALID_REQUEST, reason))
    if not (claims[2] or is_modern(claimed)):
        return _admit_legacy(headers, message)
    try:
        return _admit_modern(headers, message, claims, claimed)
    except InvalidFrame as error:
        return _invalid(error)


def _invalid(error: InvalidFrame) -> Response:
    return Response(400, jsonrpc.error_frame(error.id, error.code, error.reason))


def _admit_legacy(headers: Headers, message: Message | None) -> Admission | Response:
    version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
    if version and version not in LEGACY_VERSIONS:  # an absent one is fine: 2025-03-26 had no such header
        known = ", ".join((*LEGACY_VERSIONS, jsonrpc.MODERN_VERSION))
        return refuse(400, Reason.INVALID, f"MCP-Protocol-Version {version!r} is not supported; known are {known}")
    if message is not None and message.method == "initialize":
        return Admission(modern=False, version=version)
    session = headers.get(b"mcp-session-id", b"").decode("latin-1")
    if not session and message is not None and jsonrpc.pings(message):
        return Admission(modern=False, version=version)
    if not session:
        return refuse(400, Reason.INVALID, "the Mcp-Session-Id header is missing: a session begins with initialize")
    last_event = headers.get(b"last-event-id", b"").decode("latin-1") if message is None else ""
    return Admission(modern=False, session=session, version=version, last_event=last_event)


def _admit_modern(headers: Headers, message: Message, claims: BodyClaims, claimed: bytes) -> Admission:
    """Check `_meta` first, then the headers that repeat the body, as the SDKs do. Raises InvalidFrame."""
    kind, _, version, capable, target = claims
    method = headers.get(b"mcp-method")
    params: tuple[tuple[str, str], ...] = ()
    if kind is MessageKind.REQUEST:
        if not (version and capable):
            missing = "protocolVersion" if not version else "clientCapabilities"
            raise InvalidFrame(jsonrpc.INVALID_PARAMS, f"params._meta lacks io.modelcontextprotocol/{missing}", message.id)
        _match("MCP-Protocol-Version", claimed or None, version, message)
        _match_method(method, message)
        if target[:1] == b'"':  # the server refuses a request without one
            _match_name(headers.get(b"mcp-name"), target, message)
        if b"mcp-param-" in b" ".join(headers):
            params = tuple(
                (name[10:].decode(), decoded(name.decode(), value, message))
                for name, value in headers.items()
                if name.startswith(b"mcp-param-")
            )
    elif kind is MessageKind.RESPONSE:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, "clients of this protocol version send no responses")
    elif method is not None:  # a notification: it needs no headers, but a header must be true
        _match_method(method, message)
    return Admission(modern=True, version=claimed.decode("latin-1"), params=params)


def _match_method(value: bytes | None, message: Message) -> None:
    if value is None or value.decode("latin-1") != message.method:
        raise _mismatch("Mcp-Method", value, message.method, message)


def _match(name: str, value: bytes | None, body: bytes, message: Message) -> None:
    """Raise InvalidFrame unless the header has the value that the body has as raw JSON, escaped or not."""
    if value is None or (body != b'"%b"' % value and value != jsonrpc.text(body).encode()):
        raise _mismatch(name, value, jsonrpc.text(body), message)


def _match_name(value: bytes | None, body: bytes, message: Message) -> None:
    if value is None or body != b'"%b"' % value or value.startswith(WRAPPED) or not value.isascii():
        _match("Mcp-Name", value and decoded("Mcp-Name", value, message).encode(), body, message)


def _mismatch(name: str, value: bytes | None, body: str, message: Message) -> InvalidFrame:
    fault = "is missing" if value is None else f"value {value.decode('utf-8', 'replace')!r} does not match body value {body!r}"
    return InvalidFrame(jsonrpc.HEADER_MISMATCH, f"Header mismatch: {name} header {fault}", message.id or b"null")


@lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def accepted(headers: Headers) -> tuple[bool, bool]:
    """Whether a client accepts JSON, and event streams. One without an Accept header accepts both (RFC 9110 12.5.1)."""
    return _accepted(headers.get(b"accept", b""))


@lru_cache(maxsize=64)
def _accepted(accept: bytes) -> tuple[bool, bool]:
    ranges: dict[bytes, bool] = {}
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        if kind:
            ranges[b"*/*" if kind == b"*" else kind] = not any(map(_REFUSED.fullmatch, parameters))

    def accepts(*matching: bytes) -> bool:  # the most specific range counts
        return next((ranges[each] for each in matching if each in ranges), not ranges)

    return accepts(b"application/json", b"application/*", b"*/*"), accepts(b"text/event-stream", b"text/*", b"*/*")

"""What Streamable HTTP asks of a request, in both eras. Pure.

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
"""For clients that begin so, and for the people who read what they show."""

_REFUSED = re.compile(rb"q\s*=\s*(0(\.0*)?|\.0+)")

BodyClaims = tuple[MessageKind, str, bytes, bool, bytes]
"""What a message says that its head must agree with: its kind and method; of `_meta`, the raw version and whether there are
capabilities; and the raw name or uri where Mcp-Name repeats it."""


class Admission(msgspec.Struct, frozen=True, gc=False):
    """An admitted request: what its head says (see LinkInfo). The same head and the same `BodyClaims` give the same."""

    modern: bool
    session: str = ""
    version: str = ""
    last_event: str = ""
    params: tuple[tuple[str, str], ...] = ()


def is_modern(version: bytes) -> bool:
    """Whether an MCP-Protocol-Version header names a revision without sessions."""
    return version >= jsonrpc.MODERN_VERSION.encode() and version[:1].isdigit()


def check_post(headers: Headers, max_body_bytes: int) -> Response | None:
    """What a POST's headers must say before its body is worth reading."""
    encoded = headers.get(b"content-encoding", b"").lower() not in (b"", b"identity")
    if encoded or not _is_json(headers.get(b"content-type", b"")):
        return refuse(415, Reason.INVALID, "a POST's Content-Type is application/json, without a Content-Encoding")
    if not any(accepted(headers)):
        return refuse(406, Reason.INVALID, "an answer is application/json or text/event-stream; the Accept header has neither")
    if int(headers.get(b"content-length", b"0")) > max_body_bytes:  # its digits were checked by the HTTP parser
        return too_large(max_body_bytes)
    return None


def admit_bodiless(method: str, headers: Headers) -> Admission | Response:
    """Check a GET (a session's stream) or a DELETE (its end); both exist in the legacy era only."""
    if is_modern(headers.get(b"mcp-protocol-version", b"")):
        return refuse(405, Reason.INVALID, f"{method} is not part of this protocol version", lines=b"allow: POST, OPTIONS\r\n")
    if method == "GET" and not accepted(headers)[1]:
        return refuse(406, Reason.INVALID, "a GET is answered by text/event-stream, which the Accept header has not")
    if method == "GET" and not headers.get(b"mcp-session-id"):
        return refuse(400, Reason.INVALID, f"the Mcp-Session-Id header is missing: a session begins with a POST. {NO_SSE}")
    return _admit_legacy(headers, None)


def read_post(body: bytes) -> tuple[Message, BodyClaims] | Response:
    """A POST's message."""
    try:
        message = jsonrpc.parse(body)
        meta = jsonrpc.meta(message)
    except InvalidFrame as error:
        return _invalid(error)
    fields, by_uri = meta.fields, NAMED.get(message.method)
    target = b"" if by_uri is None else bytes(meta.uri if by_uri else meta.name)
    return message, (message.kind, message.method, bytes(fields.version), bool(fields.capabilities), target)


def admit_post(headers: Headers, message: Message, claims: BodyClaims) -> Admission | Response:
    """Hold a POST's headers against its message."""
    claimed = headers.get(b"mcp-protocol-version", b"")
    if message.kind is MessageKind.BATCH and (
        b"mcp-session-id" not in headers or claimed not in (b"", batches.REVISION.encode())
    ):
        return _invalid(InvalidFrame(jsonrpc.INVALID_REQUEST, batches.MISPLACED))
    if message.method == "subscriptions/listen" and not accepted(headers)[1]:
        reason = "a subscription is answered by text/event-stream, which the Accept header has not"
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
    """The order is the SDKs': what `_meta` must hold, then the headers that repeat the body. Raises InvalidFrame."""
    kind, _, version, capable, target = claims
    method = headers.get(b"mcp-method")
    params: tuple[tuple[str, str], ...] = ()
    if kind is MessageKind.REQUEST:
        if not (version and capable):
            missing = "protocolVersion" if not version else "clientCapabilities"
            raise InvalidFrame(jsonrpc.INVALID_PARAMS, f"params._meta lacks io.modelcontextprotocol/{missing}", message.id)
        _match("MCP-Protocol-Version", claimed or None, version, message)
        _match_method(method, message)
        if target[:1] == b'"':  # its absence is the server's to say
            _match_name(headers.get(b"mcp-name"), target, message)
        if b"mcp-param-" in b" ".join(headers):
            params = tuple(
                (name[10:].decode(), decoded(name.decode(), value, message))
                for name, value in headers.items()
                if name.startswith(b"mcp-param-")
            )
    elif kind is MessageKind.RESPONSE:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, "clients of this protocol version send no responses")
    elif method is not None:  # a notification: the revision asks no headers of it, but what it claims must be true
        _match_method(method, message)
    return Admission(modern=True, version=claimed.decode("latin-1"), params=params)


def _match_method(value: bytes | None, message: Message) -> None:
    if value is None or value.decode("latin-1") != message.method:
        raise _mismatch("Mcp-Method", value, message.method, message)


def _match(name: str, value: bytes | None, body: bytes, message: Message) -> None:
    """Raise InvalidFrame unless the header is there and says what the body says in raw JSON, escaped or not."""
    if value is None or (body != b'"%b"' % value and value != jsonrpc.text(body).encode()):
        raise _mismatch(name, value, jsonrpc.text(body), message)


def _match_name(value: bytes | None, body: bytes, message: Message) -> None:
    if value is None or body != b'"%b"' % value or value.startswith(WRAPPED) or not value.isascii():
        _match("Mcp-Name", value and decoded("Mcp-Name", value, message).encode(), body, message)


def _mismatch(name: str, value: bytes | None, body: str, message: Message) -> InvalidFrame:
    found = "is missing" if value is None else f"value {value.decode('utf-8', 'replace')!r} does not match body value {body!r}"
    return InvalidFrame(jsonrpc.HEADER_MISMATCH, f"Header mismatch: {name} header {found}", message.id or b"null")


@lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def accepted(headers: Headers) -> tuple[bool, bool]:
    """Whether a client takes JSON, and event streams. A client that says nothing takes anything (RFC 9110 12.5.1)."""
    return _accepted(headers.get(b"accept", b""))


@lru_cache(maxsize=64)
def _accepted(accept: bytes) -> tuple[bool, bool]:
    taken = {}
    for part in accept.lower().split(b","):
        kind, *parameters = (piece.strip() for piece in part.split(b";"))
        if kind:
            taken[b"*/*" if kind == b"*" else kind] = not any(map(_REFUSED.fullmatch, parameters))

    def takes(*ranges: bytes) -> bool:  # the most specific range counts
        return next((taken[each] for each in ranges if each in taken), not taken)

    return takes(b"application/json", b"application/*", b"*/*"), takes(b"text/event-stream", b"text/*", b"*/*")

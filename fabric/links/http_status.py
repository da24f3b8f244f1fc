"""The HTTP status that a JSON-RPC answer leaves with, in both eras. Pure.

The modern revision (2026-07-28, basic/index, basic/transports/streamable-http) gives a status to some errors; the legacy ones
only to a lost session.
"""

from __future__ import annotations

import msgspec

from fabric import jsonrpc, jsonrpc_batch
from fabric.core.faults import CODES, Reason
from fabric.errors import InvalidFrame

# An error status ends more than one call for old clients (mcp 1.30 closes its whole connection on any but 404), so in the
# legacy era an answered request has status 200 wherever no revision says otherwise.
_LEGACY_STATUS = {CODES[Reason.SESSION_LOST]: 404, CODES[Reason.UNAUTHORIZED]: 401, CODES[Reason.FORBIDDEN]: 403}
_MODERN_STATUS = _LEGACY_STATUS | {
    jsonrpc.PARSE_ERROR: 400,
    jsonrpc.INVALID_REQUEST: 400,
    jsonrpc.METHOD_NOT_FOUND: 404,
    jsonrpc.HEADER_MISMATCH: 400,
    jsonrpc.MISSING_CAPABILITY: 400,
    jsonrpc.UNSUPPORTED_VERSION: 400,
    CODES[Reason.UNKNOWN_SERVER]: 404,
    CODES[Reason.TOO_LARGE]: 413,
    CODES[Reason.INVALID]: 400,
    CODES[Reason.OVERLOADED]: 503,
}
_HEAD_BYTES = 256
_EMPTY = msgspec.Raw()


class _Error(msgspec.Struct, gc=False):
    code: int = 0
    data: msgspec.Raw = _EMPTY


class _Advice(msgspec.Struct, gc=False):
    retry_after_ms: int = msgspec.field(default=0, name="retryAfterMs")


_error = msgspec.json.Decoder(_Error)
_advice = msgspec.json.Decoder(_Advice)


def answer_status(frame: bytes, *, modern: bool, otherwise: int) -> tuple[int, bytes]:
    """The HTTP status of a final frame, and header lines that go with it; `otherwise` for an error no rule gives a status.

    A server's own -32602 has none: the spec asks 400 of the missing `_meta` fields alone, which admit_post has refused, and a
    client of both eras takes an unexplained 400 for a legacy server.
    """
    if frame[:1] == b"[":  # a batch's answers: where its session is lost, each of them says so
        frame = jsonrpc_batch.first(frame)
    if frame.find(b'"error"', 0, _HEAD_BYTES) < 0 and (
        len(frame) <= _HEAD_BYTES or frame.find(b'"result":', 0, _HEAD_BYTES) >= 0 or b'"error"' not in frame
    ):
        return 200, b""
    try:
        raw = jsonrpc.parse(frame).error
        if not raw:
            return 200, b""
        error = _error.decode(raw)
        status = (_MODERN_STATUS if modern else _LEGACY_STATUS).get(error.code, otherwise)
        if status != 503 or not error.data:
            return status, b""
        wait = _advice.decode(error.data).retry_after_ms
    except (InvalidFrame, msgspec.DecodeError):
        return otherwise, b""
    return status, b"retry-after: %d\r\n" % max(1, -(-wait // 1000)) if wait else b""

"""The HTTP status that a JSON-RPC answer leaves with, in both eras. Pure.

The modern revision (2026-07-28, basic/index, basic/transports/streamable-http) gives a status to some errors; the legacy ones
only to a lost session.
"""

from __future__ import annotations

from fabric.errors import InvalidFrame
from fabric.faults import CODES, Reason
from fabric.mcp import answers, batches, jsonrpc

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


def answer_status(frame: bytes, *, modern: bool, otherwise: int) -> tuple[int, bytes]:
    """The HTTP status of a final frame, and header lines that go with it; `otherwise` for an error no rule gives a status.

    A server's own -32602 has none: the spec asks 400 of the missing `_meta` fields alone, which admit_post has refused, and a
    client of both eras takes an unexplained 400 for a legacy server.
    """
    if frame[:1] == b"[":  # a batch's answers: where its session is lost, each of them says so
        frame = batches.first(frame)
    if frame.find(b'"error"', 0, _HEAD_BYTES) < 0 and (
        len(frame) <= _HEAD_BYTES or frame.find(b'"result":', 0, _HEAD_BYTES) >= 0 or b'"error"' not in frame
    ):
        return 200, b""
    try:
        answer = jsonrpc.parse(frame)
    except InvalidFrame:
        return otherwise, b""
    if not answer.error:
        return 200, b""
    status = (_MODERN_STATUS if modern else _LEGACY_STATUS).get(answers.error_code(answer), otherwise)
    wait = answers.retry_after_ms(answer) if status == 503 else 0
    return status, b"retry-after: %d\r\n" % max(1, -(-wait // 1000)) if wait else b""

"""Chooses the HTTP status of a JSON-RPC answer, in both eras. Above it: request_link.py. Pure.

The modern revision (2026-07-28, basic/index, basic/transports/streamable-http) gives a status to some errors; the legacy
revisions give one only to a lost session.
"""

from __future__ import annotations

from fabric.errors import InvalidFrame
from fabric.faults import CODES, Reason
from fabric.mcp import answers, batches, jsonrpc

# In the legacy era an answered request has status 200 unless a revision says otherwise: for an old client an error status ends
# more than one call (mcp 1.30 closes its whole connection on any but 404).
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
_FAULTS = frozenset(CODES.values())
_HEAD_BYTES = 256


def answer_status(frame: bytes, *, modern: bool, otherwise: int) -> tuple[int, bytes]:
    """The HTTP status of a final frame, and header lines that go with it; `otherwise` for an error without a rule.

    A fault that advises a pause repeats that in Retry-After, where it has an error status.

    A server's own -32602 has no rule: the spec wants 400 only for missing `_meta` fields, which admit_post has refused before,
    and a client of both eras takes an unexplained 400 to mean a legacy server.
    """
    if frame[:1] == b"[":  # the answers of a batch: if its session is lost, the first one says so
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
    code = answers.error_code(answer)
    status = (_MODERN_STATUS if modern else _LEGACY_STATUS).get(code, otherwise)
    wait = answers.retry_after_ms(answer) if status != 200 and code in _FAULTS else 0
    return status, b"retry-after: %d\r\n" % max(1, -(-wait // 1000)) if wait else b""

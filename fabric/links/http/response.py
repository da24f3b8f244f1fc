"""The answers that the listener gives itself, before a link exists: refusals, preflights, pages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.faults import Fault, Reason, fault_frame

Headers = Mapping[bytes, bytes]
"""Header values by lower-case name, repeated ones joined by commas."""

JSON = b"content-type: application/json\r\n"
SECURE = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
"""Header lines of every answer that is not an event stream."""


class Response(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    """The HTTP status."""
    body: bytes
    """The answer's body."""
    lines: bytes = JSON
    """The header lines, each with CR LF at its end."""


def refuse(status: int, reason: Reason, message: str, *, lines: bytes = b"") -> Response:
    """A refusal before a JSON-RPC id was read: its body is a JSON-RPC error with the id null."""
    return Response(status, fault_frame(b"null", Fault(reason, message)), JSON + lines)


def too_large(max_body_bytes: int) -> Response:
    """The refusal of a body over the limit."""
    return refuse(413, Reason.TOO_LARGE, f"the body is over the limit of {max_body_bytes} bytes (maxFrameBytes)")

"""What the listener answers by itself, before any link exists: refusals, preflights, pages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.faults import Fault, Reason, fault_frame

Headers = Mapping[bytes, bytes]
"""Header values by lower-case name, repeated ones folded."""

JSON = b"content-type: application/json\r\n"
SECURE = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
"""Header lines of every answer but an event stream's."""


class Response(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    """The HTTP status."""
    body: bytes
    """What follows the head."""
    lines: bytes = JSON
    """Header lines, each ended by CR LF."""


def refuse(status: int, reason: Reason, message: str, *, lines: bytes = b"") -> Response:
    """A refusal in the fabric's own words, before any JSON-RPC id was read."""
    return Response(status, fault_frame(b"null", Fault(reason, message)), JSON + lines)


def too_large(max_body_bytes: int) -> Response:
    """The refusal of a body over the limit."""
    return refuse(413, Reason.TOO_LARGE, f"the body is over the limit of {max_body_bytes} bytes (maxFrameBytes)")

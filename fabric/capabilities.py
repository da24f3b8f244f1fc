"""The capabilities of a transport: one record, which each link and each broker declares for its URL schemes."""

from __future__ import annotations

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one transport, as the fabric uses it."""

    streaming: bool = True
    """Whether a request may get several messages before its answer."""
    multiplexing: bool = True
    """Whether one connection carries many requests at a time."""
    compression: bool = False
    """Whether messages can be compressed."""
    encryption: bool = False
    """Whether messages are encrypted on the way."""
    resumable: bool = False
    """Whether messages missed while a connection was broken are delivered afterwards."""
    server_push: bool = True
    """Whether a server can send messages that answer no request."""
    largest_message_bytes: int | None = None
    """The longest message; None if only a setting limits it: `maxFrameBytes`, or one of the broker's server."""

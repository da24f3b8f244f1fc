"""What a transport can do: one record, which each link and each broker declares for its URL schemes."""

from __future__ import annotations

import msgspec


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Of one transport, as the fabric uses it.

    streaming: a request may get several messages before its answer. multiplexing: many requests at a time on one connection.
    compression: of messages. encryption: nobody on the way can read. resumable: what was missed while a connection was broken
    can be had. server_push: a server may speak unasked. largest_message_bytes: of one message, None where only settings limit
    it: `maxFrameBytes`, or what a broker's server was told.
    """

    streaming: bool = True
    multiplexing: bool = True
    compression: bool = False
    encryption: bool = False
    resumable: bool = False
    server_push: bool = True
    largest_message_bytes: int | None = None

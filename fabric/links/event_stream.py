"""Server-Sent Events as bytes: what one event of MCP's streams looks like (HTML standard, "server-sent events")."""

from __future__ import annotations

COMMENT = b":\n\n"
"""Says nothing: it opens a stream, and keeps one open past proxies that hang up on silence."""

_RETRY = b"retry: 1000\n"  # milliseconds to wait before reconnecting; said once, in the event that primes the client for it


def encode_event(frame: bytes, id: str = "") -> bytes:
    """One event that carries `frame`. Without a frame it is a comment, or with an id the event that primes reconnection."""
    if not frame:
        return b"id: " + id.encode() + b"\n" + _RETRY + b"data:\n\n" if id else COMMENT
    if b"\n" in frame or b"\r" in frame:  # a line break outside a string: insignificant in JSON, the end of a field here
        frame = b"\ndata: ".join(frame.splitlines())
    return b"id: " + id.encode() + b"\ndata: " + frame + b"\n\n" if id else b"data: " + frame + b"\n\n"

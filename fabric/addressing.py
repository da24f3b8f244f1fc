"""Where an envelope goes: a channel, and its one name on every broker.

Three kinds of channel exist (Enterprise Integration Patterns' names in brackets): `work` [competing consumers], `inbox`
[return address: one owner], `topic` [publish-subscribe]. A channel belongs to a fabric; two fabrics on one broker never meet.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.errors import InvalidName

MAX_NAME_BYTES = 120
"""Longest escaped name: with the prefix and a fabric name as long, a channel name stays under the 255 bytes AMQP allows."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


class ChannelKind(StrEnum):
    """How the messages of a channel are shared out."""

    WORK = "work"
    INBOX = "inbox"
    TOPIC = "topic"


class Channel(msgspec.Struct, frozen=True):
    """A channel of one fabric: `kind` and `name` (a server, an incarnation, a topic)."""

    kind: ChannelKind
    name: str


ANNOUNCEMENTS = Channel(ChannelKind.TOPIC, "announcements")


def work(server: str) -> Channel:
    """The queue of requests for `server` that have no owner yet."""
    return Channel(ChannelKind.WORK, server)


def inbox(incarnation: str) -> Channel:
    """The inbox of one process's one life."""
    return Channel(ChannelKind.INBOX, incarnation)


def escape(name: str) -> str:
    """One escaping for all brokers: ASCII letters, digits and `-` stay; any other UTF-8 byte becomes `_` and two hex digits.

    Injective, so names never collide, and free of every broker's special characters (`*`, `>`, `.`, `#`, `/`, `:`, space).
    Raises InvalidName for an empty name, a lone surrogate, or more than MAX_NAME_BYTES after escaping.
    """
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidName(f"name {name!r} is not valid unicode") from error
    text = "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in raw)
    if not text:
        raise InvalidName("a name may not be empty")
    if len(text) > MAX_NAME_BYTES:
        raise InvalidName(f"name {name[:40]!r}... takes {len(text)} bytes in a channel name; at most {MAX_NAME_BYTES} fit")
    return text


def channel_name(fabric: str, channel: Channel) -> str:
    """The channel's name on every broker: `mcpf.<fabric>.<kind>.<name>`, parts escaped. Raises InvalidName."""
    return f"mcpf.{escape(fabric)}.{channel.kind}.{escape(channel.name)}"

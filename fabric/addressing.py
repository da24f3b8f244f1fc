"""Channels, to which messages are published, and their names, which are the same on every broker.

Three kinds of channel exist (the names in Enterprise Integration Patterns in brackets): `work` [competing consumers], `inbox`
[return address: one owner], `topic` [publish-subscribe]. A channel belongs to one fabric; two fabrics on a broker share none.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.errors import InvalidName

MAX_NAME_BYTES = 120
"""The longest escaped name. With a fabric name as long and the prefix, a channel name stays under AMQP's limit of 255 bytes."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")


class ChannelKind(StrEnum):
    """Which readers of a channel get a message."""

    WORK = "work"
    """One of its consumers."""
    INBOX = "inbox"
    """Its one owner."""
    TOPIC = "topic"
    """All of its subscribers."""


class Channel(msgspec.Struct, frozen=True):
    """A channel of one fabric."""

    kind: ChannelKind
    """Which readers get a message."""
    name: str
    """A server's name, an incarnation or a topic."""


ANNOUNCEMENTS = Channel(ChannelKind.TOPIC, "announcements")
"""The topic on which processes announce themselves."""


def work(server: str) -> Channel:
    """The queue of requests for `server` that no bridge has taken yet."""
    return Channel(ChannelKind.WORK, server)


def inbox(incarnation: str) -> Channel:
    """The inbox of one incarnation of a process."""
    return Channel(ChannelKind.INBOX, incarnation)


def escape(name: str) -> str:
    """Escape a name for all brokers: ASCII letters, digits and `-` stay; any other UTF-8 byte becomes `_` and two hex digits.

    Different names stay different, and the result has no broker's special characters (`*`, `>`, `.`, `#`, `/`, `:`, space).
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

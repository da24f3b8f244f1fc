"""JSON-RPC batches, which MCP had in its revision 2025-03-26 alone: a frame into its messages, and their answers into one.

Used by the edge's clients (core), by the bridge at run time, and by the links that read a server's HTTP answers.
"""

from __future__ import annotations

import msgspec

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

REVISION = "2025-03-26"
"""The only revision with batches."""

MISPLACED = f"an array of messages belongs into a session of {REVISION}, and into no other"

MOST = 100
"""Messages in one batch."""

ARRAY_BYTES = 4 * 1024 * 1024
"""Answers of one batch wait for each other until they have more bytes than this together; then they leave before the others."""

# What comes behind the last of these fields is passed over: a long array costs its reader no memory.
_Members = msgspec.defstruct(
    "_Members", [(f"m{place}", msgspec.Raw, msgspec.field(default=msgspec.Raw())) for place in range(MOST + 1)], array_like=True
)
_members = msgspec.json.Decoder(_Members)


def split(batch: Message) -> list[Message | InvalidFrame]:
    """The members of a message of the kind BATCH, each as a message of its own or what is wrong with it.

    Raises InvalidFrame for too many.
    """
    raw = [frame for frame in msgspec.structs.astuple(_members.decode(batch.frame)) if frame]
    if len(raw) > MOST:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, f"a batch of more than {MOST} messages")
    return [_member(bytes(frame)) for frame in raw]


def split_in_session(batch: Message, revision: str) -> list[Message | InvalidFrame]:
    """The members of a batch in a session of this revision. Raises InvalidFrame where that has no batches, and for too many."""
    if revision != REVISION:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, MISPLACED)
    return split(batch)


def read(frame: bytes) -> list[Message]:
    """The messages of a frame that may be an array; a member that is no message is left out. Raises InvalidFrame."""
    message = jsonrpc.parse(frame)
    if message.kind is not MessageKind.BATCH:
        return [message]
    return [member for member in split(message) if isinstance(member, Message)]


def asks(members: list[Message | InvalidFrame]) -> bool:
    """Whether a batch of these members has an answer."""
    return any(not isinstance(member, Message) or member.kind is MessageKind.REQUEST for member in members)


def first(array: bytes) -> bytes:
    """The first message of an array."""
    return bytes(msgspec.structs.astuple(_members.decode(array))[0])


def _member(frame: bytes) -> Message | InvalidFrame:
    try:
        message = jsonrpc.parse(frame)
    except InvalidFrame as error:
        return error
    if message.kind is MessageKind.BATCH:
        return InvalidFrame(jsonrpc.INVALID_REQUEST, "a batch holds no batches")
    if message.method == "initialize":
        return InvalidFrame(jsonrpc.INVALID_REQUEST, "initialize is no part of a batch", message.id or b"null")
    return message


class Answers:
    """The answers to one batch, gathered in the order they come until none is `missing`. bytes: of those gathered."""

    __slots__ = ("_frames", "bytes", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.bytes = 0
        self._frames: list[bytes] = []

    def settle(self, frame: bytes) -> bytes:
        """A member is over, with this answer or, empty, with none. Returns the array to send now, empty for nothing."""
        self.missing -= 1
        if frame:
            self._frames.append(frame)
            self.bytes += len(frame)
        if not self._frames or (self.missing and self.bytes <= ARRAY_BYTES):
            return b""
        array = b"[" + b",".join(self._frames) + b"]"
        self._frames, self.bytes = [], 0
        return array

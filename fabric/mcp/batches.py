"""JSON-RPC batches, which only revision 2025-03-26 of MCP has: splits a frame into messages, and joins their answers into one.

Used by the edge's clients (core), by the bridge at run time, and by the links that read a server's HTTP answers.
"""

from __future__ import annotations

import msgspec

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

REVISION = "2025-03-26"
"""The only revision with batches."""

MISPLACED = f"a batch (an array of messages) is allowed only in a session of {REVISION}; send its messages one by one"
"""The reason for the refusal of a batch."""

MOST = 100
"""The most messages in one batch."""

ARRAY_BYTES = 4 * 1024 * 1024
"""The answers of one batch wait for each other until they have more bytes than this; then they leave without the rest."""

# msgspec skips the elements behind the last of these fields, so that a long array takes no memory.
_Members = msgspec.defstruct(
    "_Members", [(f"m{place}", msgspec.Raw, msgspec.field(default=msgspec.Raw())) for place in range(MOST + 1)], array_like=True
)
_members = msgspec.json.Decoder(_Members)


def split(batch: Message) -> list[Message | InvalidFrame]:
    """The members of a message of the kind BATCH: each is a message, or the error that says what is wrong with it.

    Raises InvalidFrame for more than MOST.
    """
    raw = [frame for frame in msgspec.structs.astuple(_members.decode(batch.frame)) if frame]
    if len(raw) > MOST:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, f"a batch of more than {MOST} messages; send smaller ones")
    return [_member(bytes(frame)) for frame in raw]


def split_in_session(batch: Message, revision: str) -> list[Message | InvalidFrame]:
    """The members of a batch in a session of this revision. Raises InvalidFrame if it has no batches, and for too many."""
    if revision != REVISION:
        raise InvalidFrame(jsonrpc.INVALID_REQUEST, MISPLACED)
    return split(batch)


def read(frame: bytes) -> list[Message]:
    """The messages of a frame that may be a batch, without the invalid ones in it. Raises InvalidFrame."""
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
        return InvalidFrame(jsonrpc.INVALID_REQUEST, "a batch must not hold a batch")
    if message.method == "initialize":
        return InvalidFrame(jsonrpc.INVALID_REQUEST, "initialize must not be part of a batch", message.id or b"null")
    return message


class Answers:
    """Gathers the answers to one batch, in the order of arrival."""

    __slots__ = ("_frames", "bytes", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        """How many members are not over."""
        self.bytes = 0
        """The length of the gathered answers."""
        self._frames: list[bytes] = []

    def settle(self, frame: bytes) -> bytes:
        """Take the answer of a member that is over, empty for none. Returns the array to send now, empty for none."""
        self.missing -= 1
        if frame:
            self._frames.append(frame)
            self.bytes += len(frame)
        if not self._frames or (self.missing and self.bytes <= ARRAY_BYTES):
            return b""
        array = b"[" + b",".join(self._frames) + b"]"
        self._frames, self.bytes = [], 0
        return array

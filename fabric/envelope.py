"""Packs and envelopes: the messages between the fabric's processes, and their encoding.

A broker message is a *pack*: the envelopes that one process had for one channel at one moment, and a header with the sender
and the acknowledgements of the pair of processes. Its bytes are msgpack: an array `[version, source, generation, ack_data,
ack_control, [envelope, ...]]`. An envelope is a map of its fields that do not have their default, so that unknown fields are
skipped; its `body` is the raw bytes of the carried frame, never re-encoded. docs/spec/envelope.md is the normative text.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from fabric.errors import InvalidEnvelope

VERSION = 1
"""The pack version this process writes."""

READS = (VERSION,)
"""The pack versions this process reads, and announces. A release that changes the version reads the former one too, so that a
fabric can be upgraded while it runs."""


UPGRADE = "upgrade the fabric one release at a time, all its processes before the next"
"""The remedy for versions that differ, as part of a sentence."""


class Lane(IntEnum):
    """The lane of a pair of processes that numbers a message."""

    NONE = 0
    """No lane: messages of queues and topics have no number."""
    DATA = 1
    """Frames and what goes with them, in order."""
    CONTROL = 2
    """Messages about work, which overtake frames."""


class Kind(StrEnum):
    """The meaning of an envelope. docs/spec/envelope.md lists the sender and the channel of each."""

    # work queue, or data lane to a session's owner
    REQUEST = "request"
    OPEN = "open"  # an initialize: the bridge that takes it owns the session
    # edge to bridge, data lane
    FRAME = "frame"  # a notification or response from a session's client
    ATTACH = "attach"  # a client reads a stream of the session: its own (GET) stream, or one that broke off
    DETACH = "detach"  # the client that read a stream is gone; from the bridge: it reads the stream elsewhere
    END = "end"  # the session is to end
    # edge to bridge, control lane
    GRANT = "grant"  # the bridge may start the call
    CANCEL = "cancel"  # the request is cancelled
    # both ways, control lane
    HOLD = "hold"  # read no more for this stream, link or session: its far end reads more slowly than it is sent
    RELEASE = "release"  # read on: the far end has caught up, or is gone
    # bridge to edge, control lane
    TAKEN = "taken"  # the bridge holds this attempt, and starts one that may not be repeated only after a GRANT
    RETURNED = "returned"  # the bridge gives this attempt back
    # bridge to edge, data lane
    ANSWER = "answer"  # the one response of an exchange
    MESSAGE = "message"  # a frame before the answer, or of a session's own stream
    WRITTEN = "written"  # the FRAME of this exchange was written to the server, or its END is done
    ENDED = "ended"  # the session, or the stream of this exchange, has ended
    # topic
    HELLO = "hello"
    ANNOUNCE = "announce"
    BYE = "bye"


class Envelope(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One message of the fabric. Its lane sets its number when it is posted; nothing else changes it."""

    kind: Kind
    """The meaning of the message."""
    exchange: str = ""
    """The id that the edge gave one client request and all that belongs to it."""
    lane: Lane = Lane.NONE
    """The numbered lane that the message is in."""
    number: int = 0
    """The message's place in its lane, counted from 1; 0 outside any lane."""
    after: int = 0
    """On the control lane, the number of the last message posted on the sender's data lane before this one."""
    server: str = ""
    """The name of the MCP server."""
    session: str = ""
    """The legacy session that the message belongs to."""
    epoch: int = 0
    """How often the session has moved to another owner: always 0 until sessions move (decision 4)."""
    attempt: int = 0
    """The sending of the exchange that the message is, or is about."""
    repeatable: bool = False
    """Whether the request may be run again elsewhere; with RETURNED, whether a server had begun it."""
    exclusive: bool = False
    """Whether messages of the server that name no request are for this request."""
    bound: bool = False
    """Whether the session begins and ends with one long link of the sender."""
    answer_only: bool = False
    """Whether the client of a session's request takes only the answer, and no messages before it."""
    client_id: bytes = b""
    """The id that the client gave a session's request, raw JSON."""
    token: bytes = b""
    """The progress token that the client gave a session's request, raw JSON."""
    event: int = -1
    """The message's number in a resumable stream; -1 for none."""
    principal: str = ""
    """The name of the authenticated caller."""
    trace: str = ""
    """A W3C traceparent; empty if the request is not traced."""
    sent: float = 0.0
    """With `trace`, when the message was sent, in Unix seconds by the sender's clock."""
    encoding: str = ""
    """The compression of `body`; empty for none."""
    body: bytes = b""
    """The carried frame, byte for byte."""


class Pack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One broker message. A pack without envelopes is a bare acknowledgement."""

    version: int
    """The version of the encoding."""
    source: str
    """The incarnation that sends the pack."""
    generation: int
    """The generation of the pair of incarnations; 0 on queues and topics."""
    ack_data: int
    """The highest number received from the addressee without a gap in its data lane."""
    ack_control: int
    """The highest number received from the addressee without a gap in its control lane."""
    envelopes: tuple[Envelope, ...]
    """The envelopes, in the order of sending."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Pack)


HEADER_BYTES = 512
"""The bytes of an envelope besides its body and its client's id and token, rounded up."""


def weight(envelope: Envelope) -> int:
    """The most bytes that the envelope may take in a pack. Only the fields whose size a client chooses are counted exactly."""
    return len(envelope.body) + len(envelope.client_id) + len(envelope.token) + HEADER_BYTES


def single(source: str, envelope: Envelope) -> Pack:
    """A pack of one envelope outside any lane, for a queue or a topic."""
    return Pack(VERSION, source, 0, 0, 0, (envelope,))


def encode(pack: Pack) -> bytes:
    """The pack's bytes."""
    return _encoder.encode(pack)


def decode(data: bytes) -> Pack:
    """The pack that these bytes hold. Raises InvalidEnvelope, which names the version if this process cannot read it."""
    try:
        pack = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidEnvelope(_diagnosis(data, error)) from error
    if pack.version not in READS:
        raise InvalidEnvelope(_unread(pack.version))
    return pack


def _diagnosis(data: bytes, error: msgspec.DecodeError) -> str:
    """Why these bytes are no pack. If they are of another version, the reason names it."""
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(data)} bytes that are not an envelope: {error}"
    if isinstance(value, list) and value and isinstance(value[0], int) and value[0] not in READS:
        return _unread(value[0])
    return f"malformed envelope: {error}"


def _unread(version: int) -> str:
    readable = " and ".join(map(str, READS))
    return f"envelope version {version} from another release; this process reads version {readable}; {UPGRADE}"

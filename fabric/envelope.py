"""The envelope and the pack: what the fabric carries from process to process, and its bytes.

A broker message is a *pack*: the envelopes that one process had for one channel at one moment, under one header that says who
sends and how far the pair of processes has got. Its bytes are msgpack: an array `[version, source, generation, ack_data,
ack_control, [envelope, ...]]`; an envelope is a map of its fields that are not at their default, so fields this version does
not know are skipped, and its `body` is the raw bytes of the carried frame, never re-encoded. docs/spec/envelope.md is the
normative text.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

from fabric.errors import InvalidEnvelope

VERSION = 1
"""The pack version this process writes."""

READS = (VERSION,)
"""The pack versions it reads, and announces. The release after a change reads two, so that a fabric is upgraded in between."""


UPGRADE = "upgrade the fabric one release at a time, all its processes before the next"


class Lane(IntEnum):
    """Which numbered lane of a pair of processes a message travels in; NONE is unnumbered (queues, topics)."""

    NONE = 0
    DATA = 1
    CONTROL = 2


class Kind(StrEnum):
    """What an envelope means; docs/spec/envelope.md lists who sends which where."""

    # work queue, or data lane to a session's owner
    REQUEST = "request"
    OPEN = "open"  # an initialize: the bridge that takes it owns the session from then on
    # edge to bridge, data lane
    FRAME = "frame"  # a notification or response from a session's client
    ATTACH = "attach"  # read a stream of the session: its own (GET) stream, or one that was broken off
    DETACH = "detach"  # the client that read a stream is gone; from the bridge: it reads on elsewhere
    END = "end"  # end the session
    # edge to bridge, control lane
    GRANT = "grant"
    CANCEL = "cancel"
    # both ways, control lane
    HOLD = "hold"  # what goes with this waits: its far end takes less than it is sent
    RELEASE = "release"  # it has caught up
    # bridge to edge, control lane
    TAKEN = "taken"
    RETURNED = "returned"
    # bridge to edge, data lane
    ANSWER = "answer"  # the one response of an exchange
    MESSAGE = "message"  # a frame that comes before the answer, or on a session's own stream
    WRITTEN = "written"  # the FRAME of this exchange was written to the server, or its END was done
    ENDED = "ended"  # the session, or the stream of this exchange, is over
    # topic
    HELLO = "hello"
    ANNOUNCE = "announce"
    BYE = "bye"


class Envelope(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One message of the fabric. Only the lane that it is posted on changes it, to number it before anybody else sees it."""

    kind: Kind
    exchange: str = ""
    """The id that the edge minted for one client request and all that belongs to it."""
    lane: Lane = Lane.NONE
    """The numbered lane in which it travels."""
    number: int = 0
    """Its place in that lane, counted from 1."""
    after: int = 0
    """On the control lane, how far the sender's data lane was when this was posted."""
    server: str = ""
    session: str = ""
    """The legacy session that it belongs to."""
    epoch: int = 0
    """How often that session has moved."""
    attempt: int = 0
    """Which sending of the exchange it is, or speaks of."""
    repeatable: bool = False
    """The request may be run again elsewhere; with RETURNED, a server had begun it."""
    exclusive: bool = False
    """What the server says without naming a request is for this one."""
    bound: bool = False
    """The session lives and dies with one long link of the sender."""
    answer_only: bool = False
    """The client of a session's request takes nothing before the answer."""
    client_id: bytes = b""
    """The id that its client gave a session's request, raw JSON."""
    token: bytes = b""
    """The progress token that its client gave a session's request, raw JSON."""
    event: int = -1
    """Its number in a resumable stream; -1 for none."""
    principal: str = ""
    """Who calls."""
    trace: str = ""
    """A W3C traceparent; empty where the request is not traced."""
    sent: float = 0.0
    """With `trace`, when it was sent, in unix seconds by the sender's clock."""
    encoding: str = ""
    """How `body` is compressed; empty for not at all."""
    body: bytes = b""
    """The carried frame, byte for byte."""


class Pack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One broker message. One without envelopes is a bare acknowledgement."""

    version: int
    source: str
    """The incarnation that sends it."""
    generation: int
    """Of the pair of incarnations; 0 on queues and topics."""
    ack_data: int
    """The highest number received from the addressee without a gap in its data lane."""
    ack_control: int
    """The same of its control lane."""
    envelopes: tuple[Envelope, ...]
    """In sending order."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Pack)


HEADER_BYTES = 512
"""What an envelope may take beside its body and its client's id and token, rounded up."""


def weight(envelope: Envelope) -> int:
    """How many bytes the envelope may take in a pack, rounded up: what a client chose the size of is counted."""
    return len(envelope.body) + len(envelope.client_id) + len(envelope.token) + HEADER_BYTES


def single(source: str, envelope: Envelope) -> Pack:
    """A pack of one envelope outside any lane, for a queue or a topic."""
    return Pack(VERSION, source, 0, 0, 0, (envelope,))


def encode(pack: Pack) -> bytes:
    """The pack's bytes."""
    return _encoder.encode(pack)


def decode(data: bytes) -> Pack:
    """The pack these bytes hold. Raises InvalidEnvelope, which names the version if it is not ours."""
    try:
        pack = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidEnvelope(_diagnosis(data, error)) from error
    if pack.version not in READS:
        raise InvalidEnvelope(_unread(pack.version))
    return pack


def _diagnosis(data: bytes, error: msgspec.DecodeError) -> str:
    """Why these bytes are no pack: another version's layout is worth saying, anything else is only malformed."""
    try:
        found = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(data)} bytes that are not an envelope: {error}"
    if isinstance(found, list) and found and isinstance(found[0], int) and found[0] not in READS:
        return _unread(found[0])
    return f"malformed envelope: {error}"


def _unread(version: int) -> str:
    read = " and ".join(map(str, READS))
    return f"envelope version {version} from another release; this process reads version {read}; {UPGRADE}"

"""What a process announces of itself each second to all others: its state, and the heartbeat that renews leases."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fabric.errors import InvalidEnvelope


class Role(StrEnum):
    """What a process does in the fabric."""

    EDGE = "edge"
    BRIDGE = "bridge"
    OBSERVER = "observer"


class Health(StrEnum):
    """How a bridge judges one of its servers; see core/bridge/processes/health.py."""

    UNKNOWN = "unknown"  # it was sent no request yet
    CHECKING = "checking"  # it was sent its first request
    HEALTHY = "healthy"
    DEGRADED = "degraded"  # it serves, and failed its last check, or has just been brought back
    UNHEALTHY = "unhealthy"  # it gets no work

    @classmethod
    def _missing_(cls, _: object) -> Health:
        return cls.UNKNOWN  # a newer release may have more values


class Restart(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest restart of a server that a bridge was asked for."""

    token: str
    """Names the request for it."""
    done: bool = False
    """Whether it is over: new processes serve, or have failed to."""
    failure: str = ""
    """Why no new process serves; empty if one does."""
    calls: int = 0
    """How many calls old processes still run."""
    sessions: int = 0
    """How many sessions keep their old processes."""


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """One MCP server as one bridge serves it."""

    digest: str
    """The digest of its definition, on which all bridges that serve it have to agree."""
    free: int = 0
    """Slots for requests without an owner."""
    eras: tuple[str, ...] = ()
    """`legacy`, `modern`, both, or none that is known yet."""
    sessions: int = 0
    """How many legacy sessions it has now."""
    children: int = 0
    """How many processes it has now."""
    health: Health = Health.UNKNOWN
    reason: str = ""
    """Why it is not healthy, for people."""
    restart: Restart | None = None
    """The newest restart that was asked for; None for none."""


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """The present state of one process."""

    role: Role
    number: int
    """Counts the announcements of the process, from 1."""
    key: str
    """Fingerprints of the fabric's secret, with commas between."""
    versions: tuple[int, ...]
    """The versions of envelopes that it reads."""
    host: str = ""
    """Machine and process id, for people."""
    address: str = ""
    """Where clients reach an edge."""
    sessions: int = 0
    """How many legacy sessions a bridge has, or long links an edge."""
    serves: dict[str, Served] = {}
    """The servers of a bridge, by name."""
    crowd: int = 0
    """See crowd.py; 0 from a process that has not seen a full lease, and from older releases."""
    restart: dict[str, str] = {}
    """The token of each restart that an observer asks for, by server."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Announcement)


def encode(announcement: Announcement) -> bytes:
    """The body of an ANNOUNCE envelope."""
    return _encoder.encode(announcement)


def decode(body: bytes) -> Announcement:
    """The announcement in such a body. Raises InvalidEnvelope."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidEnvelope(f"malformed announcement: {error}") from error

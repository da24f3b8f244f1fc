"""What a process says of itself each second, to everyone: soft state, and the pulse that leases live on."""

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

    UNKNOWN = "unknown"  # nothing was asked of it yet
    CHECKING = "checking"  # it was asked for the first time
    HEALTHY = "healthy"
    DEGRADED = "degraded"  # it serves, and failed its last check, or has just been brought back
    UNHEALTHY = "unhealthy"  # it is given no work

    @classmethod
    def _missing_(cls, _: object) -> Health:
        return cls.UNKNOWN  # a newer release may have more words


class Restart(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest restart of a server that a bridge was asked for, by this token.

    done: it is over: new processes serve, or they do not for the reason in `failure`. calls, sessions: what old processes still
    run, and those that sessions keep.
    """

    token: str
    done: bool = False
    failure: str = ""
    calls: int = 0
    sessions: int = 0


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """One MCP server as one bridge serves it.

    digest: of its definition. free: slots for requests without an owner. eras: `legacy`, `modern`, both, or none yet.
    sessions, children: how many now. reason: why it is not healthy. restart: the newest that was asked for.
    """

    digest: str
    free: int = 0
    eras: tuple[str, ...] = ()
    sessions: int = 0
    children: int = 0
    health: Health = Health.UNKNOWN
    reason: str = ""
    restart: Restart | None = None


class Announcement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One process, now.

    number: counts them. key: fingerprints of the fabric's secret. versions: of envelopes it reads. host: machine and process
    id, for people. address: where clients reach an edge. crowd: see crowd.py; 0 from a process that has not seen a full
    lease, and from older releases. restart: the servers that an observer wants restarted, each with a token.
    """

    role: Role
    number: int
    key: str
    versions: tuple[int, ...]
    host: str = ""
    address: str = ""
    sessions: int = 0
    serves: dict[str, Served] = {}
    crowd: int = 0
    restart: dict[str, str] = {}


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

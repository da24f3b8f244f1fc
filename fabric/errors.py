"""The error tree: every error the fabric raises, under one base.

    FabricError
    ├── ConfigError            a setting is wrong; names file, key and reason
    ├── InvalidFrame           bytes that are not a JSON-RPC message of MCP
    ├── InvalidEnvelope        bytes that are not an envelope, or of a version we cannot read
    ├── InvalidName            a name no broker channel can carry
    ├── InvalidToken           a session id or request state that this fabric did not seal, or that is over
    └── TransportError                 what carries our messages failed
        ├── LinkError                  a connection to a client or to an MCP server
        │   ├── LinkClosed             we closed it
        │   ├── EndOfLink              the peer closed it
        │   ├── LinkBroken             the world broke it: reset, process exit, a peer that takes nothing
        │   │   ├── LinkProtocolError  the peer does not speak this transport
        │   │   └── LinkUnwritable     what it is to get cannot be written, though it may be there: a full disc
        │   ├── LinkRefused            it could not be opened
        │   │   ├── LinkHandshakeError     the peer is there and will not have us
        │   │   └── LinkCertificateError   we do not trust the peer's certificate
        │   ├── LinkTimeout            it did not open or answer in time
        │   └── LinkOverflow           a frame went over the limit
        └── BrokerError                the message broker
            ├── BrokerUnavailable      it cannot be used now; trying again may help
            │   ├── BrokerRefused      nothing listens there, or it takes no more connections
            │   ├── BrokerReset        the connection was lost
            │   ├── BrokerTimeout      it did not answer in time
            │   ├── BrokerProtocolError    what answers there is not this kind of broker
            │   └── BrokerCertificateError we do not trust its certificate
            ├── BrokerDenied           it refused our credentials, or the right to a channel
            ├── PublishFailed          a publish was not confirmed; says what surely was not sent
            └── BrokerClosed           we closed it

Messages are for people: what happened, where, and what to do. They never hold a secret. docs/spec/errors.md says what provokes
each of the transport's errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class FabricError(Exception):
    """Base of every error the fabric raises."""


class ConfigError(FabricError):
    """A setting is wrong. `where` names the file and key, the message the reason."""

    def __init__(self, reason: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.where = where
        self.reason = reason


class InvalidFrame(FabricError):
    """Bytes that are not one JSON-RPC message; `code` is the JSON-RPC code to answer, `id` the raw id if it was readable."""

    def __init__(self, code: int, reason: str, id: bytes = b"null") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.id = id


class InvalidEnvelope(FabricError):
    """A broker message that is not an envelope of a version this process reads."""


class InvalidName(FabricError):
    """A fabric, server or incarnation name that cannot become a channel name."""


class InvalidToken(FabricError):
    """A session id or a request state that was not sealed by this fabric for its bearer, or has expired."""


class TransportError(FabricError):
    """A link or a broker ended or failed."""

    def anew(self) -> Self:
        """The same, to be raised: one error raised again and again gathers tracebacks, and they hold the frames they name."""
        return type(self)(*self.args)


class LinkError(TransportError):
    """A connection to a client or an MCP server ended or failed."""


class LinkClosed(LinkError):
    """We closed the link."""


class EndOfLink(LinkError):
    """The peer closed the link in an orderly way."""


class LinkBroken(LinkError):
    """The link was lost: reset, process exit, a peer that took nothing of what waited for it for too long."""


class LinkProtocolError(LinkBroken):
    """The peer broke the rules of the transport itself, such as a WebSocket frame that is none."""


class LinkUnwritable(LinkBroken):
    """What the peer is to get cannot be written: a full disc, or a peer that is there and did not take it."""


class LinkRefused(LinkError):
    """The link could not be opened: nothing listens, no such command, access denied."""


class LinkHandshakeError(LinkRefused):
    """Something answers there, and it is not this transport or does not let us in: a status, a subprotocol, no TLS."""


class LinkCertificateError(LinkRefused):
    """The peer's certificate is not one to trust: unknown issuer, another host's name, expired."""


class LinkTimeout(LinkError):
    """The link did not open, or the peer did not react, in time."""


class LinkOverflow(LinkError):
    """A frame was longer than the limit. `head`: how a skipped frame begins."""

    def __init__(self, reason: str, *, head: bytes = b"") -> None:
        super().__init__(reason)
        self.head = head


class BrokerError(TransportError):
    """The message broker failed us."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be used now; trying again may help. Raised as one of its kinds where the kind is known."""


class BrokerRefused(BrokerUnavailable):
    """No connection: nothing listens there, no such host, or the broker takes no more."""


class BrokerReset(BrokerUnavailable):
    """The connection to the broker was lost."""


class BrokerTimeout(BrokerUnavailable):
    """The broker did not answer in time."""


class BrokerProtocolError(BrokerUnavailable):
    """What answers there is not this kind of broker, or wants TLS where we speak none, or the reverse."""


class BrokerCertificateError(BrokerUnavailable):
    """The broker's certificate is not one to trust: unknown issuer, another host's name, expired."""


class BrokerDenied(BrokerError):
    """The broker refused the credentials, or the right to use a channel."""


class BrokerClosed(BrokerError):
    """We closed the broker connection."""


class PublishFailed(BrokerError):
    """Some messages of one publish were not confirmed.

    `unsent` holds the positions, in the published sequence, that surely did not reach the broker; every position in
    `unknown` may or may not have. Positions in neither were confirmed.
    """

    def __init__(self, reason: str, *, unsent: Sequence[int] = (), unknown: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.unsent = tuple(unsent)
        self.unknown = tuple(unknown)

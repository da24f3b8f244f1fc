"""The errors that the fabric raises, in one tree.

    FabricError
    ├── ConfigError            a setting is wrong; names file, key and reason
    ├── InvalidFrame           bytes are not a JSON-RPC message of MCP
    ├── InvalidEnvelope        bytes are not an envelope, or of a version we cannot read
    ├── InvalidName            a name cannot be part of a channel's name
    ├── InvalidToken           a session id or request state was not sealed by this fabric, or has expired
    └── TransportError                 a link or a broker failed
        ├── LinkError                  a connection to a client or to an MCP server
        │   ├── LinkClosed             we closed it
        │   ├── EndOfLink              the peer closed it
        │   ├── LinkBroken             it failed: reset, process exit, a peer that does not read
        │   │   ├── LinkProtocolError  the peer broke the rules of the transport
        │   │   └── LinkUnwritable     frames cannot be written, though the peer may be there: a full disk
        │   ├── LinkRefused            it could not be opened
        │   │   ├── LinkHandshakeError     the peer is there and refuses us, or has another protocol
        │   │   └── LinkCertificateError   we do not trust the peer's certificate
        │   ├── LinkTimeout            it did not open or answer in time
        │   └── LinkOverflow           a frame was over the limit
        └── BrokerError                the message broker
            ├── BrokerUnavailable      it cannot be used now; trying again may help
            │   ├── BrokerRefused      nothing listens there, or the broker takes no more connections
            │   ├── BrokerReset        the connection was lost
            │   ├── BrokerTimeout      it did not answer in time
            │   ├── BrokerProtocolError    the server there is not this kind of broker
            │   └── BrokerCertificateError we do not trust its certificate
            ├── BrokerDenied           it refused our credentials, or the right to a channel
            ├── PublishFailed          messages were not confirmed; it says which were surely not sent
            └── BrokerClosed           we closed it

Messages are for people: they say what happened, where, and what to do. They never hold a secret. docs/spec/errors.md lists the
causes of each TransportError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class FabricError(Exception):
    """Base of every error the fabric raises."""


class ConfigError(FabricError):
    """A setting is wrong."""

    def __init__(self, reason: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.where = where
        """The file and key of the setting; empty if its owner adds them."""
        self.reason = reason


class InvalidFrame(FabricError):
    """Bytes that are not one JSON-RPC message."""

    def __init__(self, code: int, reason: str, id: bytes = b"null") -> None:
        super().__init__(reason)
        self.code = code
        """The JSON-RPC error code to answer with."""
        self.reason = reason
        self.id = id
        """The frame's raw id, `null` if it could not be read."""


class InvalidEnvelope(FabricError):
    """A broker message that is not an envelope of a version this process reads."""


class InvalidName(FabricError):
    """A fabric, server or incarnation name that cannot become a channel name."""


class InvalidToken(FabricError):
    """A session id or a request state that was not sealed by this fabric for its bearer, or has expired."""


class TransportError(FabricError):
    """A link or a broker ended or failed."""

    def anew(self) -> Self:
        """A copy to raise: an error that is raised again and again collects tracebacks, which keep their stack frames alive."""
        return type(self)(*self.args)


class LinkError(TransportError):
    """A connection to a client or an MCP server ended or failed."""


class LinkClosed(LinkError):
    """We closed the link."""


class EndOfLink(LinkError):
    """The peer closed the link in an orderly way."""


class LinkBroken(LinkError):
    """The link failed: reset, process exit, a peer that read nothing of the frames that waited for it for too long."""


class LinkProtocolError(LinkBroken):
    """The peer broke the rules of the transport itself, such as an invalid WebSocket frame."""


class LinkUnwritable(LinkBroken):
    """Frames for the peer cannot be written: a full disk, or a peer that is there and did not read them."""


class LinkRefused(LinkError):
    """The link could not be opened: nothing listens, no such command, access denied."""


class LinkHandshakeError(LinkRefused):
    """The peer answers, but has another protocol or refuses us: an HTTP status, a subprotocol, no TLS."""


class LinkCertificateError(LinkRefused):
    """The peer's certificate is not trusted: unknown issuer, another host's name, expired."""


class LinkTimeout(LinkError):
    """The link did not open, or the peer did not react, in time."""


class LinkOverflow(LinkError):
    """A frame was longer than the limit, and was skipped."""

    def __init__(self, reason: str, *, head: bytes = b"") -> None:
        super().__init__(reason)
        self.head = head
        """The beginning of the skipped frame."""


class BrokerError(TransportError):
    """The message broker failed."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be used now; trying again may help. Raised as one of its kinds where the kind is known."""


class BrokerRefused(BrokerUnavailable):
    """No connection: nothing listens there, no such host, or the broker takes no more."""


class BrokerReset(BrokerUnavailable):
    """The connection to the broker was lost."""


class BrokerTimeout(BrokerUnavailable):
    """The broker did not answer in time."""


class BrokerProtocolError(BrokerUnavailable):
    """The server there is not this kind of broker, or only one of us uses TLS."""


class BrokerCertificateError(BrokerUnavailable):
    """The broker's certificate is not trusted: unknown issuer, another host's name, expired."""


class BrokerDenied(BrokerError):
    """The broker refused the credentials, or the right to use a channel."""


class BrokerClosed(BrokerError):
    """We closed the broker connection."""


class PublishFailed(BrokerError):
    """Some messages of one publish were not confirmed. Those at positions in neither `unsent` nor `unknown` were."""

    def __init__(self, reason: str, *, unsent: Sequence[int] = (), unknown: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.unsent = tuple(unsent)
        """The positions, in the published sequence, of messages that surely did not reach the broker."""
        self.unknown = tuple(unknown)
        """The positions of messages that may or may not have reached it."""

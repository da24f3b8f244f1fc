"""The error tree: every error the fabric raises, under one base.

    FabricError
    ├── ConfigError            a setting is wrong; names file, key and reason
    ├── InvalidFrame           bytes that are not a JSON-RPC message of MCP
    ├── InvalidEnvelope        bytes that are not an envelope, or of a version we cannot read
    ├── InvalidName            a name no broker channel can carry
    ├── InvalidToken           a session id or request state that this fabric did not seal, or that is over
    ├── LinkError              a connection to a client or to an MCP server
    │   ├── LinkClosed         we closed it
    │   ├── EndOfLink          the peer closed it
    │   ├── LinkBroken         the world broke it (reset, exit, garbage)
    │   ├── LinkRefused        it could not be opened
    │   ├── LinkTimeout        it did not open or answer in time
    │   └── LinkOverflow       a frame or a buffer went over its limit
    └── BrokerError            the message broker
        ├── BrokerUnavailable  cannot be reached, or the connection was lost
        ├── BrokerDenied       it refused our credentials or rights
        ├── PublishFailed      a publish was not confirmed; says what surely was not sent
        └── BrokerClosed       we closed it

Messages are for people: what happened, where, and what to do. They never hold a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


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


class LinkError(FabricError):
    """A connection to a client or an MCP server ended or failed."""


class LinkClosed(LinkError):
    """We closed the link."""


class EndOfLink(LinkError):
    """The peer closed the link in an orderly way."""


class LinkBroken(LinkError):
    """The link was lost: reset, process exit, undecodable bytes."""


class LinkRefused(LinkError):
    """The link could not be opened: nothing listens, no such command, access denied."""


class LinkTimeout(LinkError):
    """The link did not open, or the peer did not react, in time."""


class LinkOverflow(LinkError):
    """A frame was longer than the limit, or a slow peer let its buffer fill. `head`: how a skipped frame begins."""

    def __init__(self, reason: str, *, head: bytes = b"") -> None:
        super().__init__(reason)
        self.head = head


class BrokerError(FabricError):
    """The message broker failed us."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached or the connection to it was lost."""


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

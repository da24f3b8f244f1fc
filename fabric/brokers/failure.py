"""Maps the errors of sockets, TLS and client libraries to errors of the broker family, whose messages name a remedy."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator

from fabric.errors import (
    BrokerCertificateError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
    BrokerUnavailable,
)

_STUMBLES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, struct.error)
"""The errors that a library raises by accident for an unexpected greeting; their messages are about its own code."""


def unreachable(where: str, error: BaseException, *, timeout: float, speaks: str) -> BrokerUnavailable:
    """The error for a failed attempt to connect to `where`. error: any that the library raised.

    timeout: the seconds that the attempt had. speaks: the protocol that should answer there, such as `NATS`.
    """
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return BrokerCertificateError(
                    f"{where}: its certificate is not trusted: {cause.verify_message}; "
                    "give the file of its authority as ?ca=FILE, and the host by a name the certificate has"
                )
            case ssl.SSLError():
                reason = cause.reason or cause.strerror or "the handshake failed"
                return BrokerProtocolError(
                    f"{where}: the TLS handshake failed ({reason.lower().replace('_', ' ')}); "
                    "use TLS only with a port that speaks it, and in a version that it speaks"
                )
            case TimeoutError():
                return BrokerTimeout(
                    f"{where}: no answer within {timeout:g} s; see that it runs, that no firewall is in between, "
                    f"and that the port speaks {speaks} as the URL's scheme says, with TLS or without"
                )
            case socket.gaierror():
                return BrokerRefused(f"{where}: no such host ({cause.strerror}); correct the name, or its DNS entry")
            case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError() | EOFError():
                return BrokerReset(
                    f"{where}: the connection was closed during its handshake; see the broker's log, and that the port speaks "
                    f"{speaks} as the URL's scheme says, with TLS or without"
                )
            case OSError():
                reason = cause.strerror or str(cause)
                return BrokerRefused(f"{where}: cannot be reached ({reason.lower()}); start it there, or correct host and port")
            case _:
                pass
    if isinstance(error, _STUMBLES) or " object at 0x" in str(error):  # aiormq quotes its own objects
        return stranger(where, "its answer is unreadable", speaks=speaks)
    return stranger(where, str(error) or type(error).__name__, speaks=speaks)


def stranger(where: str, text: str, *, speaks: str) -> BrokerProtocolError:
    """The error for a port with another protocol. text: the sign of that, for people."""
    return BrokerProtocolError(f"{where}: the server there does not speak {speaks} ({text}); correct host, port and scheme")


def denied_credentials(where: str, text: str) -> str:
    """The message of BrokerDenied for credentials that the broker refused for the reason `text`."""
    return f"{where} refused our credentials ({text}); give the right user and password, or token, in the URL"


def denied_right(where: str, right: str, channel: str) -> str:
    """The message of BrokerDenied for a right on a channel that our user lacks, such as `publish to`."""
    return f"{where} does not let our user {right} {channel}; give it the rights that docs/howto/broker-rights.md lists"


def too_long(where: str, largest_bytes: int) -> str:
    """The message of PublishFailed for a message over the limit."""
    return f"{where}: overflow, a message is longer than the broker's {largest_bytes} bytes; raise that limit, or send less"


def full(where: str, queue: str, most: int) -> str:
    """The message of PublishFailed for work beyond the `most` messages that a queue holds."""
    return f"{where}: {queue} is full with {most} messages; start more bridges"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first: a library wraps the errors of sockets in less precise ones."""
    cause: BaseException | None = error
    seen: set[int] = set()  # an error that is raised again while it is handled is in its own chain of contexts
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__

"""Maps what sockets, TLS and client libraries raise to errors of the broker family, each with words that name a remedy."""

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
"""What a library raises that trusted a greeting: its words are about its own code."""


def unreachable(where: str, error: BaseException, *, timeout: float, speaks: str) -> BrokerUnavailable:
    """The error for a failed attempt to connect to `where`, whatever the library raised.

    timeout: the seconds the attempt had. speaks: the protocol that should answer there, such as `NATS`.
    """
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return BrokerCertificateError(
                    f"{where}: its certificate is not to be trusted: {cause.verify_message}; "
                    "give the file of its authority as ?ca=FILE, and the host by a name the certificate has"
                )
            case ssl.SSLError():
                why = cause.reason or cause.strerror or "the handshake failed"
                return BrokerProtocolError(
                    f"{where}: no TLS comes about there ({why.lower().replace('_', ' ')}); "
                    "ask for TLS only at a port that speaks it, and for the version it speaks"
                )
            case TimeoutError():
                return BrokerTimeout(
                    f"{where}: no answer within {timeout:g} s; see that it is not stopped, that no firewall is between, "
                    f"and that the port speaks {speaks} as the URL's scheme says, with TLS or without"
                )
            case socket.gaierror():
                return BrokerRefused(f"{where}: no such host ({cause.strerror}); correct the name, or its DNS entry")
            case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError() | EOFError():
                return BrokerReset(
                    f"{where}: the connection was closed before it was made; see the broker's log, and that the port speaks "
                    f"{speaks} as the URL's scheme says, with TLS or without"
                )
            case OSError():
                why = cause.strerror or str(cause)
                return BrokerRefused(f"{where}: cannot be reached ({why.lower()}); start it there, or correct host and port")
            case _:
                pass
    if isinstance(error, _STUMBLES) or " object at 0x" in str(error):  # which aiormq quotes
        return stranger(where, "what it says makes no sense", speaks=speaks)
    return stranger(where, str(error) or type(error).__name__, speaks=speaks)


def stranger(where: str, text: str, *, speaks: str) -> BrokerProtocolError:
    """The error for a port that speaks another protocol. text: what shows that."""
    return BrokerProtocolError(f"{where}: what answers there does not speak {speaks} ({text}); correct host, port and scheme")


def denied_credentials(where: str, text: str) -> str:
    """The words of BrokerDenied for credentials that the broker refused, for the reason `text`."""
    return f"{where} refused our credentials ({text}); give the right user and password, or token, in the URL"


def denied_right(where: str, right: str, channel: str) -> str:
    """The words of BrokerDenied for a right, such as `publish to`, that our user has not got on a channel."""
    return f"{where} does not let our user {right} {channel}; give it the rights that docs/howto/broker-rights.md lists"


def too_long(where: str, largest_bytes: int) -> str:
    """The words of PublishFailed for a message over the limit."""
    return f"{where}: overflow, a message is longer than the {largest_bytes} bytes it takes; raise its limit, or send less"


def full(where: str, queue: str, most: int) -> str:
    """The words of PublishFailed for work beyond the `most` messages that a queue holds."""
    return f"{where}: {queue} is full with {most} messages; start more bridges"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first: libraries wrap what sockets raise, and say less than sockets do."""
    cause: BaseException | None = error
    seen: set[int] = set()  # an error that is raised again where it is being handled is its own context's context
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__

"""TLS contexts of clients and listeners: TLS 1.2 or later, and server certificates are always checked."""

from __future__ import annotations

import ssl
from functools import lru_cache

import msgspec

from fabric.errors import ConfigError


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates of a client: those it trusts and its own. All are PEM files."""

    ca: str = ""
    """The authorities to trust; empty for the system's."""
    certificate: str = ""
    """Our own certificate, for a server that asks for one."""
    key: str = ""
    """The private key of our certificate; empty if the same file holds it."""


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates of a listener: its own and those of the clients it accepts. All are PEM files."""

    certificate: str
    """The listener's certificate, with its chain."""
    key: str
    """The private key of the certificate."""
    clients: str = ""
    """The authorities whose clients are accepted; empty: clients need no certificate."""


@lru_cache(maxsize=64)
def client_context(trust: Trust) -> ssl.SSLContext:
    """The context to connect with. Raises ConfigError for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=trust.ca or None)
    except OSError as error:
        raise ConfigError(f"cannot read the certificates in {trust.ca}: {_reason(error)}") from error
    if trust.certificate:
        _load_own(context, trust.certificate, trust.key)
    return context


def server_context(certified: Certified) -> ssl.SSLContext:
    """The context to listen with. Raises ConfigError for a file that cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_own(context, certified.certificate, certified.key)
    if certified.clients:
        try:
            context.load_verify_locations(certified.clients)
        except OSError as error:
            raise ConfigError(f"cannot read the certificates in {certified.clients}: {_reason(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_own(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key or None)
    except OSError as error:
        raise ConfigError(f"cannot use the certificate {certificate} with its key: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "it is no PEM file"

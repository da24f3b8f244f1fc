"""TLS contexts: whose certificate is trusted, and which one is shown. TLS 1.2 at least, and certificates are always checked."""

from __future__ import annotations

import ssl
from functools import lru_cache

import msgspec

from fabric.errors import ConfigError


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """How a client judges a server, and what it shows it. All are PEM files.

    ca: the authorities to trust, instead of the system's. certificate, key: our own, where the server asks for one.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """How a server proves itself to its clients, and which clients it accepts. All are PEM files."""

    certificate: str
    """With the chain below it."""
    key: str
    clients: str = ""
    """The authorities whose clients are accepted; empty: all clients are."""


@lru_cache(maxsize=64)
def client_context(trust: Trust) -> ssl.SSLContext:
    """For connecting. Raises ConfigError for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=trust.ca or None)
    except OSError as error:
        raise ConfigError(f"cannot read the certificates in {trust.ca}: {_why(error)}") from error
    if trust.certificate:
        _show(context, trust.certificate, trust.key)
    return context


def server_context(certified: Certified) -> ssl.SSLContext:
    """For listening. Raises ConfigError for a file that cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _show(context, certified.certificate, certified.key)
    if certified.clients:
        try:
            context.load_verify_locations(certified.clients)
        except OSError as error:
            raise ConfigError(f"cannot read the certificates in {certified.clients}: {_why(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key or None)
    except OSError as error:
        raise ConfigError(f"cannot use the certificate {certificate} with its key: {_why(error)}") from error


def _why(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "it is no PEM file"

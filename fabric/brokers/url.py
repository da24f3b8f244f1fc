"""Parses a broker URL, and shows it without its secrets.

`scheme://[user[:password]@]host[:port][/path][?ca=FILE]`, percent-encoded as RFC 3986 says. `ca` is a file of certificates to
trust instead of the system's, for schemes with TLS. OPTIONS lists the options of single schemes.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from fabric.errors import ConfigError

OPTIONS = {scheme: {"work": ("core", "jetstream")} for scheme in ("nats", "tls")}
"""By scheme, the options that it has besides `ca`, and the values of each."""


class BrokerUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a broker URL. Its repr shows neither the password nor the user, which may be a NATS token."""

    scheme: str
    """In lower case."""
    host: str
    """A name or an address, without brackets."""
    port: int
    """The scheme's default port if the URL has none; 0 if the scheme has no ports."""
    path: str = ""
    """With its slash, percent-decoded: a Redis database or an AMQP vhost."""
    user: str | None = None
    """Percent-decoded; None without one."""
    password: str | None = None
    """Percent-decoded; None without one."""
    ca: str | None = None
    """The file of certificates to trust; None for the system's."""
    options: dict[str, str] = {}
    """The options that only this scheme has."""

    @property
    def where(self) -> str:
        """The scheme, host and port, for messages and logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" if self.port else f"{self.scheme}://{host}"

    def __repr__(self) -> str:
        return self.where

    def tls_context(self) -> ssl.SSLContext:
        """A context that checks the broker's certificate and host name. Raises ConfigError for an unreadable `ca`."""
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigError(f"cannot read the certificates in {self.ca}: {error.strerror}", where=self.where) from error


def parse(url: str, *, default_port: int) -> BrokerUrl:
    """The parts of `url`. Raises ConfigError, which never quotes the URL, if it is invalid or has an unknown option."""
    try:
        parts = urlsplit(url)
        port, options = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:  # its message may hold a piece of the password
        raise ConfigError("not a broker URL: scheme://[user:password@]host[:port], special characters %-encoded") from None
    if not parts.hostname:
        raise ConfigError("the broker URL names no host")
    known = OPTIONS.get(parts.scheme, {})
    may = ", ".join(["ca=FILE", *(f"{name}={value}" for name, values in known.items() for value in values)])
    if unknown := options.keys() - {"ca", *known}:
        raise ConfigError(f"unknown option {min(unknown)!r} in the broker URL; it may have {may}")
    if wrong := [name for name, values in known.items() if not set(options.get(name, [])) <= set(values)]:
        raise ConfigError(f"the broker URL's option {wrong[0]} has an unknown value; it may have {may}")
    if parts.scheme in ("redis", "rediss") and parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ConfigError("the path of a Redis URL is not the number of a database; correct it, or leave it out")
    ca = options.get("ca", [None])[-1]
    if ca is not None and not Path(ca).is_file():
        raise ConfigError(f"the broker URL's ca={ca} is not a file")
    return BrokerUrl(
        scheme=parts.scheme,
        host=parts.hostname,
        port=default_port if port is None else port,
        path=unquote(parts.path),
        user=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password) if parts.password is not None else None,
        ca=ca,
        options={name: options[name][-1] for name in known if name in options},
    )


def redacted(url: str) -> str:
    """`url` for logs, without user, password and query. An invalid URL is not shown at all."""
    try:
        return parse(url.partition("?")[0], default_port=0).where
    except ConfigError:
        return "(an unreadable broker URL)"


def masked(url: str) -> str:
    """`url` for commands that a person is to type, with `***` instead of its credentials."""
    where = redacted(url)
    return where if where == url else where.replace("://", "://***@", 1)

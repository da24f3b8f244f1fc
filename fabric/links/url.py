"""Parses the URL of an MCP server, and shows it without its secrets.

tcp://host:port · tls://host:port · unix:///path · ws(s)://, http(s):// and sse+http(s)://host[:port][/path][?query]. User and
password may stand before the host if the transport is HTTP or WebSocket.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from fabric.errors import ConfigError

Form = Literal["URL", "HOST:PORT", "PATH"]
"""What follows a scheme: host, port, path and query as in HTTP's URLs, a host and a port alone, or an absolute path alone."""


class LinkUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a server's URL. Its repr shows no secret."""

    scheme: str
    """In lower case."""
    host: str = ""
    """A name or an address, without brackets; empty for a path."""
    port: int = 0
    """0 for the scheme's default."""
    path: str = ""
    """Percent-decoded if it names a file, raw otherwise."""
    parameters: tuple[str, ...] = ()
    """The names of the query's parameters, without their values."""

    @property
    def where(self) -> str:
        """The server as people may read it: without user, password and the values in the query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        names = "?" + "&".join(self.parameters) if self.parameters else ""
        return f"{self.scheme}://{host}{port}{self.path}{names}"

    def __repr__(self) -> str:
        return self.where


def parse(url: str, form: Form = "URL") -> LinkUrl:
    """The parts of `url`. Raises ConfigError, which never quotes it."""
    if not url.isprintable() or " " in url:
        raise ConfigError("holds a space or a control character; write it as %20 and the like")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("is no URL: a port is a number, and an IPv6 address is in brackets") from None
    scheme, host, path = parts.scheme, parts.hostname or "", parts.path
    if parts.fragment:
        raise ConfigError("has a fragment (#...), which means nothing here")
    if form == "PATH":
        if parts.netloc or not path.startswith("/") or path.endswith("/") or parts.query:
            raise ConfigError(f"is not {scheme}:///PATH, an absolute path after three slashes")
        return LinkUrl(scheme=scheme, path=unquote(path))
    if form == "HOST:PORT" and (not host or not port or path.strip("/") or parts.query or parts.username is not None):
        raise ConfigError(f"is not {scheme}://HOST:PORT, with nothing else")
    if not host:
        raise ConfigError(f"names no host: {scheme}://HOST")
    names = tuple(sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}))
    return LinkUrl(scheme=scheme, host=host, port=port or 0, path="" if form == "HOST:PORT" else path, parameters=names)

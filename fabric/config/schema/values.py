"""Checks single values: a function for each kind returns the value, as it is used from then on, or raises ValueError.

An error says why the value is refused, and never quotes one that may hold a credential.
"""

from __future__ import annotations

import json
import re
import shlex
from ipaddress import ip_network
from typing import Any

from fabric.addressing import escape
from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import parse
from fabric.errors import ConfigError, InvalidName
from fabric.links.registry import CONNECTORS, parse_url, schemes
from fabric.security.auth.registry import VARIABLES as AUTHENTICATION

MODE = "^0?[0-7]{3}$"
"""A file mode, as chmod takes it."""


def is_ours(name: str) -> bool:
    """Whether a variable holds a setting of the fabric: its broker's URL, its secret, its clients' password."""
    return name.startswith("FABRIC_") or name in AUTHENTICATION


def split_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 host in brackets, or of PORT alone, at 127.0.0.1. Raises ValueError."""
    host, colon, port = (f"127.0.0.1:{text}" if text.isdecimal() else text).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare) != (bare is not host) or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not PORT or HOST:PORT, such as 8080, 127.0.0.1:8080 or [::1]:0")
    return bare, int(port)


def split_listener(entry: str) -> tuple[str, str]:
    """Address and server of ADDRESS=SERVER; without one the server is empty."""
    place, equals, server = entry.rpartition("=")
    return (place, server) if equals else (entry, "")


def plain(text: str) -> str:
    """Text that can be an argument, a path or a variable of a child process."""
    if "\0" in text:
        raise ValueError("may not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid unicode") from None
    return text


def variable(name: str) -> str:
    """The name of an environment variable."""
    if not name or "=" in name:
        raise ValueError("is not a name an environment variable can have")
    return plain(name)


def inherited(name: str) -> str:
    """The name of a variable that servers may be given."""
    if is_ours(name):
        raise ValueError("is a setting of the fabric, which servers are not given")
    return variable(name)


def scalar(value: Any) -> Any:
    """A text, also where hosts write a number or a boolean for it."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def port(value: Any) -> Any:
    """The text of an address, also where a port alone is written as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def listeners(value: Any) -> Any:
    """A list of addresses, or one; each may be the number of a port."""
    value = listed(port(value))
    return [port(each) for each in value] if isinstance(value, list) else value


def listed(value: Any) -> Any:
    """A list. It may be written with commas, as in an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def command_line(text: str) -> str:
    """A command that a shell could split into words."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is not a command line: {error}") from None
    if not words:
        raise ValueError("is empty")
    return text


def number(value: Any) -> Any:
    """A number. A boolean is refused, though it is one in Python."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def channel_part(name: str) -> str:
    """The name of a fabric or a server, which can be part of a channel's name."""
    try:
        escape(name)
    except InvalidName as error:
        raise ValueError(str(error)) from None
    return name


def address(text: str) -> str:
    """HOST:PORT, or PORT."""
    split_address(text)
    return text


def listener(text: str) -> str:
    """HOST:PORT=SERVER, or without either host or server."""
    place, server = split_listener(text)
    split_address(place)
    if place != text:
        channel_part(server)
    return text


def socket_listener(text: str) -> str:
    """PATH=SERVER, or PATH."""
    place, server = split_listener(text)
    if not place:
        raise ValueError(f"{text!r} is not PATH=SERVER, such as time.sock=time")
    if place != text:
        channel_part(server)
    return plain(text)


def mode(value: Any) -> Any:
    """A file mode, octal and in quotes: a number would be decimal."""
    if not isinstance(value, str):
        raise ValueError('should be an octal file mode in quotes, such as "0600"')
    if not re.fullmatch(MODE, value):
        raise ValueError("should be an octal file mode such as 0600")
    return value


def network(text: str) -> str:
    """An IP address or network."""
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"is not an address or network: {error}") from None
    return text


def path_prefix(path: str) -> str:
    """The prefix of the paths of URLs: empty, or without a slash at the end."""
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or {".", ".."} & set(path.split("/")):
        raise ValueError("is not a path prefix, such as /tools")
    return path


def public_url(url: str) -> str:
    """The URL of an edge, without a slash at the end."""
    url = url.rstrip("/")
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*", url):
        raise ValueError("is not a URL such as https://mcp.example or https://mcp.example/tools")
    return url


def broker_url(url: str) -> str:
    """The URL of a broker that has an adapter."""
    scheme, separator, _ = url.partition("://")
    if not separator or not scheme.isalnum():
        raise ValueError("is not a URL, such as nats://127.0.0.1:4222")
    if scheme.lower() not in ADAPTERS:
        raise ValueError(f"{scheme!r} is not the scheme of a broker; known are {', '.join(ADAPTERS)}")
    if not url.isprintable() or " " in url:
        raise ValueError("holds a space or a control character; write it as %20 and the like")
    if scheme.lower() != "memory":
        try:
            parse(url, default_port=0)
        except ConfigError as error:
            raise ValueError(error.reason) from None
    return url


def server_url(url: str) -> str:
    """The URL of an MCP server, of a transport that is known."""
    if url.partition("://")[0] not in CONNECTORS:
        raise ValueError(f"is not the URL of an MCP server; known are docker:IMAGE, {schemes()}")
    try:
        parse_url(url)
    except ConfigError as error:
        raise ValueError(error.reason) from None
    return url


def image(name: str) -> str:
    """The name of a container's image."""
    if not re.fullmatch(r"[A-Za-z0-9][^\s]*", name) or not name.isprintable():
        raise ValueError("is not the name of an image, such as mcp/time or registry.example/time:1.2")
    return name


def volume(text: str) -> str:
    """A volume of a container."""
    source, _, target = text.partition(":")
    if not source or not target.startswith("/"):
        raise ValueError("is not SOURCE:TARGET, with an absolute path in the container, such as ./data:/data:ro")
    return text


def container_port(text: str) -> str:
    """A port to publish."""
    ports = r"[0-9]{1,5}(-[0-9]{1,5})?"
    if not re.fullmatch(rf"(([0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(({ports})?:)?{ports}(/(tcp|udp|sctp))?", text):
        raise ValueError("is not [[ADDRESS:]HOST_PORT:]PORT, such as 127.0.0.1:8080:80")
    return text


def header(name: str) -> str:
    """The name of an HTTP header."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError("is not the name of a header")
    return name


def header_value(value: str) -> str:
    """The value of an HTTP header."""
    if not value.isprintable() or value != value.strip() or not value.isascii():
        raise ValueError("is not the value of a header, which is printable ASCII")
    return value

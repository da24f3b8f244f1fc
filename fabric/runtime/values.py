"""What one value of the configuration file may be: a type for each, which refuses the others and says why.

A refusal never quotes what may hold a credential. schema.py says which key takes which type.
"""

from __future__ import annotations

import json
import re
import shlex
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from fabric.addressing import escape
from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import parse
from fabric.errors import ConfigError, InvalidName
from fabric.links.registry import CONNECTORS
from fabric.links.url import parse as parse_link_url
from fabric.runtime.retry import Failure
from fabric.runtime.variables import is_ours


def split_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 host in brackets, or of PORT alone, at 127.0.0.1. Raises ValueError."""
    host, colon, port = (f"127.0.0.1:{text}" if text.isdecimal() else text).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare) != (bare is not host) or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not PORT or HOST:PORT, such as 8080, 127.0.0.1:8080 or [::1]:0")
    return bare, int(port)


def split_door(entry: str) -> tuple[str, str]:
    """Address and server of ADDRESS=SERVER; without one the server is empty."""
    place, equals, server = entry.rpartition("=")
    return (place, server) if equals else (entry, "")


# ------------------------------------------------------------ what each refuses
def _plain(text: str) -> str:
    """Text that can be an argument, a path or a variable of a child process."""
    if "\0" in text:
        raise ValueError("may not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid unicode") from None
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("is not a name an environment variable can have")
    return _plain(name)


def _inherited(name: str) -> str:
    if is_ours(name):
        raise ValueError("is a setting of the fabric, which servers are not given")
    return _variable(name)


def _scalar(value: Any) -> Any:
    """Hosts write numbers and booleans where a program is given text."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _port(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _doors(value: Any) -> Any:
    value = _listed(_port(value))
    return [_port(each) for each in value] if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    """A list may be written with commas, as it has to be in an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _command_line(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"is no command line: {error}") from None
    if not words:
        raise ValueError("is empty")
    return text


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _channel_part(name: str) -> str:
    try:
        escape(name)
    except InvalidName as error:
        raise ValueError(str(error)) from None
    return name


def _address(text: str) -> str:
    split_address(text)
    return text


def _door(text: str) -> str:
    place, server = split_door(text)
    split_address(place)
    if place != text:
        _channel_part(server)
    return text


def _socket(text: str) -> str:
    place, server = split_door(text)
    if not place:
        raise ValueError(f"{text!r} is not PATH=SERVER, such as time.sock=time")
    if place != text:
        _channel_part(server)
    return _plain(text)


def _mode(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('should be an octal file mode in quotes, such as "0600"')
    if not re.fullmatch(_MODE, value):
        raise ValueError("should be an octal file mode such as 0600")
    return value


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"is no address or network: {error}") from None
    return text


def _path_prefix(path: str) -> str:
    path = path.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or {".", ".."} & set(path.split("/")):
        raise ValueError("is no path prefix, such as /tools")
    return path


def _public_url(url: str) -> str:
    url = url.rstrip("/")
    if not re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*", url):
        raise ValueError("is no URL of this kind: https://mcp.example or https://mcp.example/tools")
    return url


def _broker_url(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator or not scheme.isalnum():
        raise ValueError("is not a URL, such as nats://127.0.0.1:4222")
    if scheme.lower() not in ADAPTERS:
        raise ValueError(f"scheme {scheme!r} is no broker's; known are {', '.join(ADAPTERS)}")
    if not url.isprintable() or " " in url:
        raise ValueError("holds a space or a control character; write it as %20 and the like")
    if scheme.lower() != "memory":
        try:
            parse(url, default_port=0)
        except ConfigError as error:
            raise ValueError(error.reason) from None
    return url


def _server_url(url: str) -> str:
    if url.partition("://")[0] not in CONNECTORS:
        raise ValueError(f"is no MCP server's URL; known are {', '.join(f'{name}://' for name in CONNECTORS)}")
    try:
        parse_link_url(url)
    except ConfigError as error:
        raise ValueError(error.reason) from None
    return url


def _header(name: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError("is no header's name")
    return name


def _header_value(value: str) -> str:
    if not value.isprintable() or value != value.strip() or not value.isascii():
        raise ValueError("is no header's value: printable ASCII")
    return value


# ------------------------------------------------------------ the types
_FLOAT = BeforeValidator(_number, json_schema_input_type=float)
_INT = BeforeValidator(_number, json_schema_input_type=int)
_SCALAR = str | int | float | bool
_MODE = "^0?[0-7]{3}$"
_LIST = BeforeValidator(_listed, json_schema_input_type=tuple[str, ...])

Scalar = Annotated[str, AfterValidator(_plain), BeforeValidator(_scalar, json_schema_input_type=_SCALAR)]
"""Text, also where it is written as a number or a boolean."""
Word = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_listed, json_schema_input_type=tuple[Word, ...])]
Name = Annotated[str, Field(min_length=1), AfterValidator(_channel_part)]
Variable = Annotated[str, AfterValidator(_variable)]
Inherited = Annotated[tuple[Annotated[str, AfterValidator(_inherited)], ...], _LIST]
CommandLine = Annotated[str, AfterValidator(_command_line)]

HostPort = Annotated[str, AfterValidator(_address), BeforeValidator(_port, json_schema_input_type=str | int)]
Doors = Annotated[
    tuple[Annotated[str, AfterValidator(_door)], ...],
    BeforeValidator(_doors, json_schema_input_type=tuple[str | int, ...] | str | int),
]
"""Each HOST:PORT=SERVER or PORT=SERVER, or without the server."""
SocketDoors = Annotated[tuple[Annotated[str, AfterValidator(_socket)], ...], _LIST]
"""Each PATH=SERVER, or without the server."""
Mode = Annotated[str, BeforeValidator(_mode), Field(json_schema_extra={"pattern": _MODE})]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], _LIST]
PathPrefix = Annotated[str, AfterValidator(_path_prefix)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]
HeaderName = Annotated[str, AfterValidator(_header)]
HeaderValue = Annotated[str, AfterValidator(_header_value), BeforeValidator(_scalar, json_schema_input_type=_SCALAR)]
Failures = Annotated[tuple[Failure, ...], BeforeValidator(_listed, json_schema_input_type=tuple[Failure, ...])]

Seconds = Annotated[float, _FLOAT, Field(gt=0)]
Grace = Annotated[float, _FLOAT, Field(ge=0)]
Factor = Annotated[float, _FLOAT, Field(ge=1)]
Share = Annotated[float, _FLOAT, Field(ge=0, le=1)]
Lease = Annotated[float, _FLOAT, Field(ge=2)]
Count = Annotated[int, _INT, Field(ge=0)]
Positive = Annotated[int, _INT, Field(ge=1)]
Port = Annotated[int, _INT, Field(ge=0, le=65535)]
Size = Annotated[int, _INT, Field(ge=1024)]

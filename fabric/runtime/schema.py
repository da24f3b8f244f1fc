"""The configuration file as it may be written: its keys, their types, bounds and meaning.

An ordinary `mcpServers` file as MCP hosts have it, with a `fabric` key and mcp-server-runner's `defaultServer`, `host` and
`port`. Unknown keys are refused. docs/config.schema.json is made from these models; config.py turns a file into settings.
"""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from fabric.addressing import escape
from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import parse
from fabric.errors import ConfigError, InvalidName


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


def split_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 host in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare) != (bare is not host) or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8080 or [::1]:0")
    return bare, int(port)


def _address(text: str) -> str:
    split_address(text)
    return text


def _broker_url(url: str) -> str:
    """A URL that an adapter takes; a refusal does not quote it, as it may hold a password."""
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


Text = Annotated[str, AfterValidator(_plain)]
Word = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_listed, json_schema_input_type=tuple[Word, ...])]
Name = Annotated[str, Field(min_length=1), AfterValidator(_channel_part)]
HostPort = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[float, BeforeValidator(_number, json_schema_input_type=float), Field(gt=0)]
Grace = Annotated[float, BeforeValidator(_number, json_schema_input_type=float), Field(ge=0)]
Lease = Annotated[float, BeforeValidator(_number, json_schema_input_type=float), Field(ge=2)]
Count = Annotated[int, BeforeValidator(_number, json_schema_input_type=int), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_number, json_schema_input_type=int), Field(ge=1)]
Port = Annotated[int, BeforeValidator(_number, json_schema_input_type=int), Field(ge=0, le=65535)]
Size = Annotated[int, BeforeValidator(_number, json_schema_input_type=int), Field(ge=1024)]


class _Section(BaseModel):
    """What all sections share: camelCase keys, no unknown ones, no infinities."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ServerSection(_Section):
    """One MCP server: a command that speaks MCP on its stdin and stdout."""

    command: Word
    """The program: a name to find on PATH, or a path, relative to the folder of this file."""
    args: tuple[Text, ...] = ()
    """Its arguments, taken literally."""
    env: dict[Annotated[str, AfterValidator(_variable)], Text] = {}
    """Environment variables, taken literally, on top of PATH, HOME and the locale; it inherits no others."""
    cwd: Word | None = None
    """Its working directory, relative to the folder of this file, which is the default."""
    type: Literal["stdio"] = "stdio"
    """Accepted because hosts write it."""
    disabled: bool = False
    """Leave this server out."""
    max_in_flight: Positive = 64
    """Requests in progress at once at one bridge; a bridge without a free slot gives work back."""
    warm: Count = 1
    """Processes kept started and idle, ready for the next session."""
    max_processes: Positive = 64
    """Processes at once at one bridge."""
    retry_calls: bool = False
    """Its tools may be called again when an outcome is unknown: each call is repeatable."""
    grace: Grace = 5.0
    """Seconds between closing its stdin and TERM, and between TERM and KILL, when it is stopped."""
    sessions: Literal["separate"] = "separate"
    """Each legacy session has a process of its own."""


class FabricSection(_Section):
    """How the fabric runs. Each key is also an environment variable, `maxFrameBytes` as FABRIC_MAX_FRAME_BYTES."""

    name: Name = "default"
    """The fabric's name; fabrics of different names on one broker never meet."""
    broker: Annotated[str, AfterValidator(_broker_url)] | None = None
    """The broker's URL; without one, an embedded NATS server that all processes of this user share."""
    http: HostPort | None = None
    """HOST:PORT of the HTTP edge; port 0 picks one. 127.0.0.1:8080 if nothing says otherwise."""
    admin: HostPort | None = None
    """HOST:PORT of the health endpoints; none if absent."""
    allow_unauthenticated: bool = False
    """Allow a listener beyond loopback without authentication."""
    allowed_hosts: Words = ()
    """Host header values accepted besides loopback and the address listened on."""
    allowed_origins: Words = ()
    """Origin header values accepted besides loopback."""
    max_frame_bytes: Size = 16 * 1024 * 1024
    """The longest message carried."""
    lease: Lease = 3.5
    """Seconds of silence after which a process is given up; all processes announce themselves each second."""
    idle_timeout: Seconds = 300.0
    """Seconds without an answer or progress after which a request is ended."""
    absolute_timeout: Seconds = 3600.0
    """Seconds after which a request is ended whatever its progress."""
    session_lifetime: Seconds = 3600.0
    """Seconds after which a session id is no longer accepted."""
    secret_file: Word | None = None
    """File of the fabric secret, relative to the folder of this file, readable by its owner alone."""
    secret_command: Annotated[str, AfterValidator(_command_line)] | None = None
    """Command that prints the fabric secret, split as a shell would, run without one."""
    state: Word | None = None
    """Folder for the embedded broker's files and its secret, instead of one in XDG_RUNTIME_DIR or ~/.local/state."""

    @model_validator(mode="after")
    def _agrees(self) -> FabricSection:
        if self.secret_file and self.secret_command:
            raise ValueError("secretFile or secretCommand, not both")
        if self.idle_timeout > self.absolute_timeout:
            raise ValueError(f"idleTimeout, {self.idle_timeout:g} s, exceeds absoluteTimeout, {self.absolute_timeout:g} s")
        return self


class ConfigFile(_Section):
    """The whole file."""

    json_schema: Annotated[str | None, Field(alias="$schema")] = None
    """Where editors find this schema."""
    mcp_servers: dict[Name, ServerSection] = {}
    """The MCP servers by name."""
    default_server: Word | None = None
    """The server that /mcp means; the only one, if there is but one."""
    host: Word | None = None
    """Host to listen on, as mcp-server-runner has it; `fabric.http` says the same."""
    port: Port | None = None
    """Port to listen on, as mcp-server-runner has it."""
    fabric: FabricSection = FabricSection()
    """How the fabric runs."""


def json_schema_text() -> str:
    """The JSON Schema of the file, as it is published at docs/config.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ConfigFile.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"

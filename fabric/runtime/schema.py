"""The configuration file as it may be written: its keys, their types, bounds and meaning.

An ordinary `mcpServers` file as MCP hosts have it, with a `fabric` key and mcp-server-runner's `defaultServer`, `host` and
`port`. Keys that only hosts know are gone before it is judged (hosts.py); all other unknown keys are refused.
docs/config.schema.json is made from these models; config.py turns a file into settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from fabric.runtime.retry import Failure, RetryPolicy
from fabric.runtime.settings import DEFAULTS
from fabric.runtime.value_types import (
    BrokerUrl,
    CommandLine,
    Count,
    Doors,
    Factor,
    Failures,
    Grace,
    HeaderName,
    HeaderValue,
    HostPort,
    Inherited,
    Lease,
    Mode,
    Name,
    Networks,
    PathPrefix,
    Port,
    Positive,
    PublicUrl,
    Scalar,
    Seconds,
    ServerUrl,
    Share,
    Size,
    SocketDoors,
    Variable,
    Word,
    Words,
)

# What hosts write as a url's type, and the schemes that go with it.
_SPOKEN = {
    **dict.fromkeys(("stdio", "local"), ()),
    **dict.fromkeys(("http", "streamable-http", "streamable_http", "streamableHttp"), ("http", "https")),
    "sse": ("http", "https", "sse+http", "sse+https"),
    **dict.fromkeys(("ws", "websocket"), ("ws", "wss")),
}
LogLevel = Literal["debug", "info", "warning", "error"]
Spoken = Literal["stdio", "local", "http", "streamable-http", "streamable_http", "streamableHttp", "sse", "ws", "websocket"]

_OF_COMMANDS = {"args", "env", "env_file", "cwd", "grace"}
_OF_URLS = {"headers", "tls"}
_WITH_TLS = ("tls", "wss", "https", "sse+https")
_WITHOUT_HEADERS = ("tcp", "tls", "unix")


class _Section(BaseModel):
    """What all sections share: camelCase keys, no unknown ones, no infinities."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _open(schema: dict[str, Any]) -> None:
    """Hosts' own keys are no mistake to an editor that reads the schema."""
    del schema["additionalProperties"]


def _open_server(schema: dict[str, Any]) -> None:
    _open(schema)
    schema["anyOf"] = [{"required": [key]} for key in ("command", "url", "serverUrl", "httpUrl")]


class HealthSection(_Section):
    """How a server is checked."""

    enabled: bool = True
    """False: it is not checked; whether its processes start and end is seen all the same."""
    interval: Seconds = 30.0
    """Seconds from the end of one check to the next."""
    timeout: Seconds = 5.0
    """Seconds that a check may take."""
    down: Positive = 3
    """Checks failed in a row that make it unhealthy."""
    up: Positive = 2
    """Checks passed in a row that make it healthy again."""
    command: CommandLine | None = None
    """Command that checks it instead of a question to it: split as a shell would, run without one where the server runs."""


class TrustSection(_Section):
    """TLS with a server by URL. All are PEM files, relative to the folder of this file."""

    ca: Word | None = None
    """The authorities whose certificates are trusted, instead of the system's."""
    certificate: Word | None = None
    """Our own certificate, where the server asks for one."""
    key: Word | None = None
    """Its key, unless it is in the same file."""

    @model_validator(mode="after")
    def _agrees(self) -> TrustSection:
        if self.key and not self.certificate:
            raise ValueError("a key goes with a certificate")
        return self


class ServerSection(_Section):
    """One MCP server: a command that speaks MCP on its stdin and stdout, or the URL of one that runs."""

    model_config = ConfigDict(json_schema_extra=_open_server)

    command: Word | None = None
    """The program: a name to find on PATH, or a path, relative to the folder of this file."""
    url: ServerUrl | None = None
    """Where the server listens, instead of a command: http(s)://, sse+http(s)://, ws(s)://, tcp://, tls:// or unix://."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Headers of the requests to a url that is HTTP's or a WebSocket's."""
    tls: TrustSection = TrustSection()
    """TLS with a url of tls://, wss://, https:// or sse+https://."""
    args: tuple[Scalar, ...] = ()
    """Its arguments."""
    env: dict[Variable, Scalar | None] = {}
    """Environment variables, on top of those it inherits: HOME, LOGNAME, PATH, SHELL, TERM, USER, the locale; null for none."""
    env_file: Word | None = None
    """File of further environment variables, NAME=VALUE a line, relative to the folder of this file; `env` wins over it."""
    cwd: Word | None = None
    """Its working directory, relative to the folder of this file, which is the default."""
    type: Spoken | None = None
    """As hosts write it: of a command `stdio`; of a url what is spoken there, which else its scheme says."""
    disabled: bool = False
    """Leave this server out."""
    max_in_flight: Positive = 64
    """Requests in progress at once at one bridge; a bridge without a free slot gives work back."""
    warm: Count = 1
    """Processes kept started and idle, ready for the next session."""
    max_processes: Positive = 64
    """Processes at once at one bridge."""
    max_log_lines: Count = 20
    """Lines on its stderr, and of junk on its stdout, that are logged in a second; of more the number is."""
    retry_calls: bool = False
    """Its tools may be called again when an outcome is unknown: each call is repeatable."""
    start_timeout: Seconds = 120.0
    """Seconds that a new process, or connection, has until its first answer; those who call it wait."""
    era: Literal["modern", "legacy"] | None = None
    """What it speaks, instead of asking it: `modern` is revision 2026-07-28, `legacy` an earlier one, with initialize."""
    grace: Grace = 5.0
    """Seconds between closing its stdin and TERM, and between TERM and KILL, when it is stopped."""
    sessions: Literal["separate"] = "separate"
    """Each legacy session has a process, or a connection, of its own."""
    health: HealthSection = HealthSection()
    """How it is checked."""

    @model_validator(mode="after")
    def _agrees(self) -> ServerSection:
        if self.disabled:
            return self
        if (self.command is None) == (self.url is None):
            raise ValueError("say command, or url, and not both")
        ours, theirs = ("command", _OF_URLS) if self.url is None else ("url", _OF_COMMANDS)
        if given := sorted(key for key in theirs & self.model_fields_set if getattr(self, key)):
            raise ValueError(f"{to_camel(given[0])} does not go with {ours}")
        if self.url is None and self.type not in (None, "stdio", "local"):
            raise ValueError(f"type {self.type} does not go with command")
        if self.url is not None:
            scheme = address(self.url, self.type).partition(":")[0]
            if self.headers and scheme in _WITHOUT_HEADERS:
                raise ValueError(f"{scheme}:// carries no headers")
            if "tls" in self.model_fields_set and scheme not in _WITH_TLS:
                raise ValueError(f"{scheme}:// speaks no TLS; {', '.join(f'{each}://' for each in _WITH_TLS)} do")
        return self


class RetrySection(_Section):
    """How a connection to the broker or to a remote server is tried again when it fails."""

    enabled: bool = DEFAULTS.retry.enabled
    """False: one attempt."""
    initial: Seconds = DEFAULTS.retry.initial
    """Seconds before the second attempt."""
    factor: Factor = DEFAULTS.retry.factor
    """By which each pause is longer than the last."""
    longest: Seconds = DEFAULTS.retry.longest
    """The longest pause."""
    jitter: Share = DEFAULTS.retry.jitter
    """The share of each pause that chance may take off."""
    attempts: Count = DEFAULTS.retry.attempts
    """Attempts until it is given up, and the process ends; 0 for never."""
    on: Failures = get_args(Failure)
    """Failures after which it is tried again."""

    def policy(self) -> RetryPolicy:
        """The same, ready for use."""
        return RetryPolicy(**{**dict(self), "on": frozenset(self.on)})


class FabricSection(_Section):
    """How the fabric runs. Each key is also an environment variable, `maxFrameBytes` as FABRIC_MAX_FRAME_BYTES."""

    name: Name = DEFAULTS.name
    """The fabric's name; fabrics of different names on one broker never meet."""
    broker: BrokerUrl | None = None
    """The broker's URL; without one, an embedded NATS server that all processes of this user share."""
    http: HostPort | None = None
    """HOST:PORT of the HTTP edge, or PORT for 127.0.0.1; port 0 picks one. 127.0.0.1:8080 if nothing says otherwise."""
    tcp: Doors = ()
    """HOST:PORT=SERVER or PORT=SERVER of each TCP listener: newline-delimited JSON-RPC with that server, or the default one."""
    unix: SocketDoors = ()
    """PATH=SERVER of each Unix socket, likewise; a path is relative to the folder of this file."""
    unix_mode: Mode = f"{DEFAULTS.unix_mode:04o}"
    """The mode of the sockets' files: who may connect."""
    unix_remove: bool = DEFAULTS.unix_remove
    """Remove the sockets' files on stop."""
    ws: Doors = ()
    """[HOST:]PORT or [HOST:]PORT=SERVER of each listener of its own for WebSockets, which the HTTP edge accepts too."""
    admin: HostPort | None = None
    """HOST:PORT of the health endpoints, or PORT for 127.0.0.1; none if absent."""
    inherit_env: Inherited = ()
    """Names of further environment variables that servers inherit, such as HTTPS_PROXY; none of the fabric's own."""
    allow_unauthenticated: bool = DEFAULTS.allow_unauthenticated
    """Allow a listener beyond loopback without authentication."""
    allowed_hosts: Words = ()
    """Host header values accepted besides loopback and the address listened on."""
    allowed_origins: Words = ()
    """Origin header values accepted besides loopback."""
    trusted_proxies: Networks = ()
    """Addresses and networks of the reverse proxies whose Forwarded or X-Forwarded-* headers count."""
    path_prefix: PathPrefix = DEFAULTS.path_prefix
    """What the paths of servers begin with: with `/tools`, servers are at /tools/mcp and /tools/{server}/mcp."""
    public_url: PublicUrl | None = None
    """Where clients reach this edge if not where it listens, such as https://mcp.example/tools; its host is accepted."""
    keep_alive: Seconds = DEFAULTS.keep_alive
    """Seconds of silence after which a stream gets a comment, and a WebSocket a ping: proxies hang up on silence."""
    half_closed_timeout: Seconds = DEFAULTS.half_closed_timeout
    """Seconds that what was asked still has to be answered once a client has ended its input: stdin, its side of a socket."""
    ws_compression: bool = DEFAULTS.ws_compression
    """Agree to, and ask for, permessage-deflate on WebSockets; it costs more CPU than small messages are worth."""
    max_frame_bytes: Size = DEFAULTS.max_frame_bytes
    """The longest message carried."""
    stall_timeout: Seconds = DEFAULTS.stall_timeout
    """Seconds for which a client or a server may read nothing of what waits for it; then it is given up."""
    log_level: LogLevel | None = None
    """What is logged: at `debug` the servers' stderr, too. `info` if nothing says otherwise, but `warning` for `connect`."""
    log_format: Literal["text", "json"] = DEFAULTS.log_format
    """A line for people, or a JSON object a line."""
    retry: RetrySection = RetrySection()
    """How connections that fail are tried again. Each key is a variable, too: `attempts` is FABRIC_RETRY_ATTEMPTS."""
    lease: Lease = DEFAULTS.lease
    """Seconds of silence after which a process is given up; all processes announce themselves each second."""
    broker_wait: Seconds = DEFAULTS.broker_wait
    """Seconds for which a request that could not be sent waits for the broker before it is refused."""
    idle_timeout: Seconds = DEFAULTS.idle_timeout
    """Seconds without an answer or progress after which a request is ended."""
    absolute_timeout: Seconds = DEFAULTS.absolute_timeout
    """Seconds after which a request is ended whatever its progress."""
    drain_timeout: Seconds = DEFAULTS.drain_timeout
    """Seconds that running requests have to end when a process with servers is told to stop."""
    session_lifetime: Seconds = DEFAULTS.session_lifetime
    """Seconds after which a session id is no longer accepted."""
    secret_file: Word | None = None
    """File of the fabric secret, relative to the folder of this file, readable by its owner alone."""
    secret_command: CommandLine | None = None
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

    model_config = ConfigDict(json_schema_extra=_open)

    json_schema: str | None = Field(default=None, alias="$schema")
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


def nested(section: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The keys of a section that hold a section of their own."""
    fields = section.model_fields.items()
    return {
        field.alias or name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def leaves(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The names of a section's fields that hold a value, each below those of the sections it is in."""
    within = nested(section)
    for name, field in section.model_fields.items():
        if field.alias in within:
            yield from ((name, *path) for path in leaves(within[field.alias]))
        else:
            yield (name,)


def json_schema_text() -> str:
    """The JSON Schema of the file, as it is published at docs/config.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ConfigFile.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"


def address(url: str, type: str | None) -> str:
    """The URL whose scheme says what is spoken, where a host's config says it by `type`. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    spoken = _SPOKEN.get(type or "", (scheme,))
    if scheme not in spoken:
        raise ValueError(f"type {type} goes with {' and '.join(f'{each}://' for each in spoken)}")
    return f"sse+{scheme}://{rest}" if type == "sse" and scheme in ("http", "https") else url

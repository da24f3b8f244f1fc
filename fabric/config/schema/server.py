"""The section of one MCP server: a command to start, an image to run in a container, or the URL of a server that runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from fabric.config.schema.section import Section, open_to_hosts
from fabric.config.schema.value_types import (
    CommandLine,
    ContainerPort,
    Count,
    Grace,
    HeaderName,
    HeaderValue,
    Image,
    Positive,
    Scalar,
    Seconds,
    ServerUrl,
    Variable,
    Volume,
    Word,
)
from fabric.core.bridge.processes.limits import START_TIMEOUT
from fabric.links.registry import CONNECTORS, schemes

# the schemes that go with each `type` that hosts give a url
_SCHEMES = {
    **dict.fromkeys(("stdio", "local", "docker"), ()),
    **dict.fromkeys(("http", "streamable-http", "streamable_http", "streamableHttp"), ("http", "https")),
    "sse": ("http", "https", "sse+http", "sse+https"),
    **dict.fromkeys(("ws", "websocket"), ("ws", "wss")),
}
HostType = Literal[
    "stdio", "local", "docker", "http", "streamable-http", "streamable_http", "streamableHttp", "sse", "ws", "websocket"
]

# the keys that say how to run a server, by the key that says which one
_KEYS = {
    "command": {"args", "env", "env_file", "cwd", "grace"},
    "image": {"args", "env", "env_file", "grace", "volumes", "ports", "network", "options", "engine"},
    "url": {"headers", "tls"},
}
_TYPES = {"command": (None, "stdio", "local"), "image": (None, "docker", "stdio", "local")}


def _open_server(schema: dict[str, Any]) -> None:
    open_to_hosts(schema)
    schema["anyOf"] = [{"required": [key]} for key in ("command", "image", "url", "serverUrl", "httpUrl")]


class HealthSection(Section):
    """How the health of a server is checked."""

    enabled: bool = True
    """False: it is not checked; only the start and the end of its processes count."""
    interval: Seconds = 30.0
    """Seconds from the end of one check to the next."""
    timeout: Seconds = 5.0
    """Seconds until a check has failed."""
    down: Positive = 3
    """Failed checks in a row that make it unhealthy."""
    up: Positive = 2
    """Passed checks in a row that make it healthy again."""
    command: CommandLine | None = None
    """The command that checks it, instead of a request to it: split as by a shell, run without one in the server's folder."""


class TrustSection(Section):
    """TLS with a server by URL. All are PEM files, relative to the folder of this file."""

    ca: Word | None = None
    """The authorities whose certificates are trusted, instead of the system's."""
    certificate: Word | None = None
    """Our own certificate, for a server that asks for one."""
    key: Word | None = None
    """The key of the certificate, unless it is in the same file."""

    @model_validator(mode="after")
    def _agrees(self) -> TrustSection:
        if self.key and not self.certificate:
            raise ValueError("a key goes with a certificate")
        return self


class ServerSection(Section):
    """One MCP server: a command or an image that speaks MCP on its stdin and stdout, or the URL of a server that runs."""

    model_config = ConfigDict(json_schema_extra=_open_server)

    command: Word | None = None
    """The program: a name to find on PATH, or a path, relative to the folder of this file."""
    url: ServerUrl | None = Field(
        default=None, description=f"Where the server listens, instead of a command: {schemes()}; or docker:IMAGE."
    )
    image: Image | None = None
    """The image of a container to run instead of a command; the engine pulls one that is missing."""
    volumes: tuple[Volume, ...] = ()
    """The container's volumes, SOURCE:TARGET[:OPTIONS] each; a SOURCE that begins with a dot is relative to this file's folder.
    """
    ports: tuple[ContainerPort, ...] = ()
    """The container's published ports, [[ADDRESS:]HOST_PORT:]PORT each."""
    network: Word | None = None
    """The container's network; `none` for a server that needs no network."""
    options: tuple[Scalar, ...] = ()
    """More options of `docker run`, a word each."""
    engine: CommandLine = "docker"
    """The command that runs containers: `docker`, `podman`, or one of them with its own arguments; split as by a shell."""
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """Headers of the requests to a url of HTTP or a WebSocket."""
    tls: TrustSection = Field(default=TrustSection(), description=f"TLS with a url of {schemes(tls=True)}.")
    args: tuple[Scalar, ...] = ()
    """The arguments of the command; with an image, the arguments behind it."""
    env: dict[Variable, Scalar | None] = Field(default={})
    """Environment variables, besides the inherited HOME, LOGNAME, PATH, SHELL, TERM, USER and locale. null removes one."""
    env_file: Word | None = None
    """A file of environment variables, NAME=VALUE on each line, relative to the folder of this file; `env` wins over it."""
    cwd: Word | None = None
    """Its working directory, relative to the folder of this file, which is the default."""
    type: HostType | None = None
    """As hosts write it: `stdio` for a command, `docker` for an image; for a url its transport, known otherwise by its scheme.
    """
    disabled: bool = False
    """True: this server is left out."""
    max_in_flight: Positive = 64
    """Requests in progress at once at one bridge; a bridge without a free slot gives work back."""
    warm: Count = 1
    """Idle processes that are kept for the next sessions."""
    max_processes: Positive = 64
    """Processes at once at one bridge."""
    max_log_lines: Count = 20
    """Lines on its stderr, and of junk on its stdout, that are logged in a second; the others are counted."""
    retry_calls: bool = False
    """True: each call of its tools may be repeated when the outcome is unknown."""
    start_timeout: Seconds = START_TIMEOUT
    """Seconds that a new process, or connection, has until its first answer; until then, callers wait."""
    era: Literal["modern", "legacy"] | None = None
    """The era that it speaks, if it is not to be asked: `modern` is revision 2026-07-28, `legacy` an earlier one."""
    grace: Grace | None = None
    """Seconds between closing its stdin and TERM, and between TERM and KILL, when it is stopped: 5, or 10 for a container."""
    sessions: Literal["separate"] = "separate"
    """Each legacy session has a process, or a connection, of its own."""
    health: HealthSection = HealthSection()
    """How its health is checked."""

    @model_validator(mode="after")
    def _agrees(self) -> ServerSection:
        if self.disabled:
            return self
        kinds = [kind for kind in _KEYS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError("say command, image or url, and only one of them")
        kind = kinds[0]
        others = set[str]().union(*_KEYS.values()) - _KEYS[kind]
        if given := sorted(key for key in others & self.model_fields_set if getattr(self, key)):
            raise ValueError(f"{to_camel(given[0])} does not go with {kind}")
        if self.type not in _TYPES.get(kind, (self.type,)):
            raise ValueError(f"type {self.type} does not go with {kind}")
        if self.url is not None:
            scheme = address(self.url, self.type).partition(":")[0]
            if self.headers and not CONNECTORS[scheme].headers:
                raise ValueError(f"{scheme}:// carries no headers")
            if "tls" in self.model_fields_set and not CONNECTORS[scheme].tls:
                raise ValueError(f"{scheme}:// speaks no TLS; {schemes(tls=True)} do")
        return self


def address(url: str, type: str | None) -> str:
    """The URL with the scheme of its transport, which hosts may give as `type` instead. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    allowed = _SCHEMES.get(type or "", (scheme,))
    if scheme not in allowed:
        raise ValueError(f"type {type} goes with {' and '.join(f'{each}://' for each in allowed)}")
    return f"sse+{scheme}://{rest}" if type == "sse" and scheme in ("http", "https") else url

"""The section of one MCP server: a command to start, or the URL of a server that runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from fabric.config.schema.section import Section, open_to_hosts
from fabric.config.schema.value_types import (
    CommandLine,
    Count,
    Grace,
    HeaderName,
    HeaderValue,
    Positive,
    Scalar,
    Seconds,
    ServerUrl,
    Variable,
    Word,
)
from fabric.core.bridge.processes.limits import START_TIMEOUT
from fabric.links.registry import CONNECTORS, schemes

# the schemes that go with each `type` that hosts give a url
_SCHEMES = {
    **dict.fromkeys(("stdio", "local"), ()),
    **dict.fromkeys(("http", "streamable-http", "streamable_http", "streamableHttp"), ("http", "https")),
    "sse": ("http", "https", "sse+http", "sse+https"),
    **dict.fromkeys(("ws", "websocket"), ("ws", "wss")),
}
HostType = Literal["stdio", "local", "http", "streamable-http", "streamable_http", "streamableHttp", "sse", "ws", "websocket"]

_OF_COMMANDS = {"args", "env", "env_file", "cwd", "grace"}
_OF_URLS = {"headers", "tls"}


def _open_server(schema: dict[str, Any]) -> None:
    open_to_hosts(schema)
    schema["anyOf"] = [{"required": [key]} for key in ("command", "url", "serverUrl", "httpUrl")]


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
    """One MCP server: a command that speaks MCP on its stdin and stdout, or the URL of a server that runs."""

    model_config = ConfigDict(json_schema_extra=_open_server)

    command: Word | None = None
    """The program: a name to find on PATH, or a path, relative to the folder of this file."""
    url: ServerUrl | None = Field(default=None, description=f"Where the server listens, instead of a command: {schemes()}.")
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """Headers of the requests to a url of HTTP or a WebSocket."""
    tls: TrustSection = Field(default=TrustSection(), description=f"TLS with a url of {schemes(tls=True)}.")
    args: tuple[Scalar, ...] = ()
    """The arguments of the command."""
    env: dict[Variable, Scalar | None] = Field(default={})
    """Environment variables, besides the inherited HOME, LOGNAME, PATH, SHELL, TERM, USER and locale. null removes one."""
    env_file: Word | None = None
    """A file of environment variables, NAME=VALUE on each line, relative to the folder of this file; `env` wins over it."""
    cwd: Word | None = None
    """Its working directory, relative to the folder of this file, which is the default."""
    type: HostType | None = None
    """As hosts write it: `stdio` for a command; for a url the transport, which is otherwise known from its scheme."""
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
    grace: Grace = 5.0
    """Seconds between closing its stdin and TERM, and between TERM and KILL, when it is stopped."""
    sessions: Literal["separate"] = "separate"
    """Each legacy session has a process, or a connection, of its own."""
    health: HealthSection = HealthSection()
    """How its health is checked."""

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

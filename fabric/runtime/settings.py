"""Settings: what a process was told, checked and frozen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from fabric.core.bridge.processes.health import Checks
from fabric.errors import ConfigError
from fabric.runtime.retry import RetryPolicy
from fabric.security.tls import Trust, client_context

ENVIRONMENT = "the environment"
COMMAND_LINE = "the command line"
"""Sources of settings that are no file."""


class Address(msgspec.Struct, frozen=True):
    """Where to listen. Port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """A way in beside HTTP. scheme: tcp, ws, or unix, which has a path for an address. server: empty for any a client names."""

    scheme: str
    server: str
    address: Address | None = None
    path: Path | None = None


class ServerDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One MCP server, ready to be started or connected to.

    url: where it listens; empty for one that is started. shown: as in ConnectSettings. command: a name to find on the PATH of
    `env`, or an absolute path. env: its whole environment. cwd: absolute. headers: of requests to its URL. trust: of its
    certificate. check_command: what checks it, empty where that is a question to it. digest: of what it is, however many and
    wherever: equal on machines that were given the same definition. unready: why it cannot be run by this process, a line for
    each variable that is not set; all that would run it is unknown then. era: what it speaks, where that is configured.
    start_timeout, grace: seconds.
    """

    name: str
    url: str
    headers: tuple[tuple[str, str], ...]
    trust: Trust
    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    max_in_flight: int
    warm: int
    max_processes: int
    max_log_lines: int
    retry_calls: bool
    era: str
    start_timeout: float
    grace: float
    checks: Checks
    check_command: tuple[str, ...]
    digest: str
    unready: tuple[str, ...] = ()
    shown: str = ""

    def __repr__(self) -> str:
        return f"ServerDefinition({self.name!r}, digest={self.digest!r})"  # url, headers, args and env may hold credentials


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process, each with its default, which schema.py takes from here. Times are seconds.

    source: the file's name as given, ENVIRONMENT or COMMAND_LINE. broker: None for the embedded one. doors: of a
    process that opens them. public_url: None for where the edge listens. At most one of `secret`, `secret_file` and
    `secret_command` is set. default_server: what /mcp means, if anything. state: the folder of the embedded broker, not yet
    made. auth_user, auth_password: HTTP Basic, empty for none. log_level: None for what suits the command. servers_at: the key
    of the file that holds the servers. passed_over: its keys that only a host knows, each with the servers where it was.
    """

    source: str
    state: Path
    name: str = "default"
    broker: str | None = None
    http: Address = Address("127.0.0.1", 8080)
    doors: tuple[Door, ...] = ()
    unix_mode: int = 0o600
    unix_remove: bool = True
    admin: Address | None = None
    allow_unauthenticated: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    path_prefix: str = ""
    public_url: str | None = None
    keep_alive: float = 15.0
    half_closed_timeout: float = 30.0
    ws_compression: bool = False
    max_frame_bytes: int = 16 * 1024 * 1024
    stall_timeout: float = 60.0
    log_level: str | None = None
    log_format: Literal["text", "json"] = "text"
    retry: RetryPolicy = RetryPolicy()
    lease: float = 3.5
    broker_wait: float = 10.0
    idle_timeout: float = 300.0
    absolute_timeout: float = 3600.0
    drain_timeout: float = 5.0
    session_lifetime: float = 3600.0
    secret: str | None = None
    secret_file: Path | None = None
    secret_command: tuple[str, ...] | None = None
    auth_user: str = ""
    auth_password: str = ""
    servers: Mapping[str, ServerDefinition] = {}
    default_server: str | None = None
    servers_at: str = "mcpServers"
    passed_over: tuple[str, ...] = ()

    @property
    def makes_its_secret(self) -> bool:
        """Whether no secret was given and none has to be: the embedded broker's is made once."""
        given = self.secret or self.secret_file or self.secret_command
        return not given and (self.broker is None or self.broker.startswith("memory:"))

    def __repr__(self) -> str:
        return f"Settings(source={self.source!r}, name={self.name!r}, servers={list(self.servers)})"


DEFAULTS = Settings(source="", state=Path())
"""What holds where nothing was said; but source and state, which depend on the process."""


def refuse_missing_commands(settings: Settings) -> None:
    """Raise ConfigError if a server's command is not on its PATH, its folder is not there, or a variable of it is not set."""
    if unready := [line for server in settings.servers.values() for line in server.unready]:
        raise ConfigError("\n".join(unready))
    for server in settings.servers.values():
        where = f"{settings.source}: {settings.servers_at}.{server.name}"
        if server.url:
            try:
                client_context(server.trust)
            except ConfigError as error:
                raise ConfigError(error.reason, where=f"{where}.tls") from None
            continue
        if not Path(server.cwd).is_dir():
            raise ConfigError(f"no such folder: {server.cwd}", where=f"{where}.cwd")
        if shutil.which(server.command, path=server.env.get("PATH", os.defpath)) is None:
            place = "there is no such program" if os.sep in server.command else "no such program on PATH"
            program = shutil.which((server.command.split() or [""])[0], path=server.env.get("PATH", os.defpath))
            hint = "; arguments go into `args`" if program else ""
            raise ConfigError(f"{place}: {server.command}{hint}", where=f"{where}.command")

"""The settings of one MCP server, which this process can start or connect to; and the source of all servers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.core.bridge.processes.health import Checks
from fabric.links.stdio.container import Container
from fabric.security.tls import Trust

ENVIRONMENT = "the environment"
COMMAND_LINE = "the command line"
"""The names of the sources that are not a file."""


class ConfigSource(msgspec.Struct, frozen=True, kw_only=True):
    """The source of the servers: a file, the environment or the command line."""

    name: str
    """The file's name as it was given, ENVIRONMENT or COMMAND_LINE."""
    servers_at: str = "mcpServers"
    """The key of the file that holds the servers."""
    passed_over: tuple[str, ...] = ()
    """Keys that only a host knows, each with the servers that have it."""


class ServerDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One MCP server, ready to be started or connected to. Times are seconds."""

    name: str
    """The name of the server in the fabric."""
    url: str
    """Where the server listens; empty for a server that is started."""
    headers: tuple[tuple[str, str], ...]
    """Headers of the requests to `url`."""
    trust: Trust
    """Which certificate is accepted at `url`."""
    command: str
    """The program: a name to find on the PATH of `env`, or an absolute path; the engine's for a container."""
    args: tuple[str, ...]
    """The arguments of the program; empty for a container."""
    env: Mapping[str, str]
    """The whole environment of the process."""
    cwd: str
    """The working directory, absolute."""
    max_in_flight: int
    """Requests in progress at once."""
    warm: int
    """Idle processes kept for the next sessions."""
    max_processes: int
    """Processes at once."""
    max_log_lines: int
    """Lines on stderr and junk on stdout that are logged in a second."""
    retry_calls: bool
    """Whether a call may be repeated when its outcome is unknown."""
    era: str
    """The era that the server speaks, if it is configured; empty: the server is asked."""
    start_timeout: float
    """From the start of a process to its first answer."""
    grace: float
    """Between closing stdin and TERM, and between TERM and KILL."""
    checks: Checks
    """How its health is checked."""
    check_command: tuple[str, ...]
    """The command that checks its health; empty if requests to the server do."""
    digest: str
    """A digest that is equal on all machines that have the same definition."""
    container: Container | None = None
    """How to run the container; None for a server without one."""
    unready: tuple[str, ...] = ()
    """A line for each reason why this process cannot run the server, such as a variable that is not set; empty if it can."""
    shown: str = ""
    """The URL for people; see ConnectSettings.shown."""

    def __repr__(self) -> str:
        return f"ServerDefinition({self.name!r}, digest={self.digest!r})"  # url, headers, args and env may hold credentials

"""`fabric.connect`: the connection of one client to an MCP server, through the fabric at a broker or straight to the server.

Above it: programs of users. Below it: the membership of a fabric, the registry of links, and child processes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import BrokerUrl
from fabric.client.connection import Connection
from fabric.config.files import uri
from fabric.config.files.docker_url import DockerUrl
from fabric.errors import ConfigError
from fabric.links import registry
from fabric.links.base import Link, new_link_id
from fabric.links.settings import ConnectSettings
from fabric.links.stdio.command import ServerCommand
from fabric.links.url import LinkUrl

log = logging.getLogger(__name__)


def connect(url: str, server: str = "", *, fabric: str | None = None) -> Connection:
    """The connection of one client, not opened yet: `mcp.Client(fabric.connect("nats://broker.example", "time"))`.

    url: a broker's, for `server` as the fabric there knows it; or, without `server`, that of an MCP server itself, whose scheme
    chooses the transport (`fabric.links.registry.CONNECTORS`), or `stdio:COMMAND` to start one. fabric: the name of the fabric
    at the broker; as for `join`, whose settings apply. Raises ConfigError. Opening raises BrokerError, LinkError, ConfigError.
    """
    scheme = url.partition("://")[0].lower()
    if server:
        if scheme not in ADAPTERS:
            raise ConfigError(f"only a broker's URL is given with the name of a server; {', '.join(ADAPTERS)} are brokers")
        return Connection(lambda: _through_fabric(url, server, fabric))
    match uri.parse(url):
        case ServerCommand() as command:
            return Connection(lambda: _started(command))
        case LinkUrl():
            return Connection(lambda: _connected(url))
        case BrokerUrl():
            raise ConfigError(f"{scheme}:// is a broker; name the server, too")
        case DockerUrl():
            raise ConfigError("a container is started by a bridge, not by a client; serve it in a fabric, and name the server")


@asynccontextmanager
async def _through_fabric(url: str, server: str, fabric: str | None) -> AsyncIterator[Link]:
    from fabric.client.membership import join  # imported here: a link to a server itself needs no edge

    async with join(url, fabric=fabric) as member, member.open_link(server) as link:
        yield link


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Link]:
    link = await registry.connect(url, ConnectSettings(), id=new_link_id("client"))
    try:
        yield link
    finally:
        await link.aclose()


@asynccontextmanager
async def _started(command: ServerCommand) -> AsyncIterator[Link]:
    from fabric.links.stdio.processes import Processes
    from fabric.links.stdio.server import spawn

    def log_lines(lines: Sequence[str], left_out: int) -> None:
        for line in lines:
            log.info("%s: %s", command.command, line)
        if left_out:
            log.info("%s: %d more lines", command.command, left_out)

    def log_noise(line: bytes) -> None:
        log.warning("%s: no JSON-RPC message on its stdout: %r", command.command, line[:200])

    processes = Processes()
    try:
        link = await spawn(
            command,
            id=new_link_id("client"),
            processes=processes,
            inherited=os.environ,
            on_stderr=log_lines,
            on_noise=log_noise,
        )
        try:
            yield link
        finally:
            await link.aclose()
    finally:
        await processes.aclose()

"""Makes a bridge from settings, and starts its servers; for `bridge`, `up`, `connect` and `doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from fabric.config.settings.server import ServerDefinition
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.peers.announcement import Role
from fabric.links import registry
from fabric.links.base import Link
from fabric.links.settings import DEFAULT_STALL_TIMEOUT, ConnectSettings, Redial
from fabric.links.stdio import container
from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from fabric.runtime.bridge import Bridge
from fabric.runtime.retry import Dialer
from fabric.runtime.servers.health_command import run_check
from workers.process.context import WorkerContext
from workers.process.server_log import ServerLog
from workers.process.telemetry import instrumented

T = TypeVar("T")

REMOTE_ATTEMPTS = 5
"""Attempts to reach a remote server before it counts as unhealthy. After that, the core tries again, as with a process."""


def make_bridge(context: WorkerContext) -> Bridge:
    """A bridge, not yet started."""
    settings = context.settings
    instruments = instrumented(context, Role.BRIDGE)
    context.processes.open()
    logs = {name: ServerLog(name, server.max_log_lines) for name, server in settings.servers.items()}
    limits = {
        name: ServerLimits(
            server.digest,
            _transport(server),
            slots=server.max_in_flight,
            warm=server.warm,
            max_processes=server.max_processes,
            checks=server.checks,
            era=server.era,
            start_timeout=server.start_timeout,
            last_words=logs[name].last_words,
        )
        for name, server in settings.servers.items()
    }

    labels = {"mcp-fabric.fabric": settings.fabric.name, "mcp-fabric.bridge": instruments.identity.incarnation}
    redials = {name: _redial(instruments.dialer, name) for name in settings.servers}

    async def connect(server: str, id: str) -> Link:
        definition, redial = settings.servers[server], redials[server]
        start = partial(
            start_server,
            definition,
            id,
            context.processes,
            logs[server],
            settings.links.max_frame_bytes,
            stall_timeout=settings.links.stall_timeout,
            compression=settings.links.ws_compression,
            redial=redial,
            labels={**labels, "mcp-fabric.server": server},
        )
        if not definition.url:
            return await instruments.dialer.dial("server", server, start, max_attempts=1)  # the core starts it again
        return await (start() if _transport(definition) == "http" else redial(start))

    async def check(server: str) -> str:
        definition = settings.servers[server]
        return await run_check(
            definition.check_command,
            processes=context.processes,
            cwd=definition.cwd,
            env=definition.env,
            timeout=definition.checks.timeout,
        )

    bridge = Bridge(
        context.url,
        settings.fabric.name,
        instruments.identity,
        servers=limits,
        connect=connect,
        check=check,
        completed=instruments.completed,
        dialer=instruments.dialer,
    )
    instruments.observe(bridge.snapshot)
    return bridge


def _redial(dialer: Dialer, server: str) -> Redial:
    async def redial(connect: Callable[[], Awaitable[T]]) -> T:
        return await dialer.dial("server", server, connect, max_attempts=REMOTE_ATTEMPTS)

    return redial


def _transport(server: ServerDefinition) -> str:
    if server.url:
        return registry.CONNECTORS[server.url.partition("://")[0]].transport
    return "docker" if server.container else "stdio"


async def start_server(
    server: ServerDefinition,
    id: str,
    processes: Processes,
    log: ServerLog,
    max_frame_bytes: int,
    *,
    stall_timeout: float = DEFAULT_STALL_TIMEOUT,
    compression: bool = False,
    redial: Redial | None = None,
    labels: Mapping[str, str],
) -> Link:
    """Start a server's process, or connect to where it listens. Raises LinkRefused or a subclass of it, and LinkTimeout.

    labels: of its container, if it has one.
    """
    if server.url:
        # each session may hold a stream and send one request besides
        connections = server.max_in_flight + 2 * server.max_processes
        settings = ConnectSettings(
            headers=server.headers,
            answer_timeout=server.start_timeout,
            trust=server.trust,
            max_frame_bytes=max_frame_bytes,
            stall_timeout=stall_timeout,
            connections=connections,
            compression=compression,
            redial=redial,
            shown=server.shown,
        )
        return await registry.connect(server.url, settings, id=id)
    if server.container:
        command = container.run_command(server.container, env=server.env, cwd=server.cwd, grace=server.grace, labels=labels)
    else:
        command = ServerCommand(server.command, server.args, server.cwd, dict(server.env), server.grace)
    return await spawn(
        command,
        id=id,
        processes=processes,
        inherited={},  # the definition holds the whole environment
        on_stderr=partial(log.stderr, id),
        on_noise=partial(log.noise, id),
        on_empty=log.empty,
        max_frame_bytes=max_frame_bytes,
        stall_timeout=stall_timeout,
    )

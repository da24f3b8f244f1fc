"""The context of a worker process: its settings, the URL of its broker, its keys and its child processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fabric.brokers.embedded import nats_server
from fabric.config.secret import keyring
from fabric.config.settings.process import Settings
from fabric.config.state_folder import prepare
from fabric.core.peers.member import Identity
from fabric.links.stdio.processes import Processes
from fabric.runtime.identity import make_identity
from fabric.security.secret import Keyring

FLUSH_TIMEOUT = 3.0
"""Seconds to export spans and metrics when the process stops."""


class WorkerContext:
    """The context of one worker process. `worker_context` makes it."""

    def __init__(self, settings: Settings, url: str, keys: Keyring) -> None:
        self.settings = settings
        """The settings of the process."""
        self.url = url
        """The broker's URL."""
        self.keys = keys
        """The keys of the fabric's secret."""
        self.processes = Processes()
        """The child processes. They end before `closing`."""
        self.closing: list[Callable[[float], None]] = []
        """Called at the end, each with a timeout in seconds."""

    def identity(self) -> Identity:
        """A new incarnation; never before a fork."""
        return make_identity(self.keys, self.settings.fabric.lease)


@asynccontextmanager
async def worker_context(settings: Settings) -> AsyncIterator[WorkerContext]:
    """The context of a process, with the broker that was given, or else with the embedded broker for as long as this lasts."""
    keys = keyring(settings)
    if settings.fabric.broker is not None:
        async with _closing(WorkerContext(settings, settings.fabric.broker, keys)) as context:
            yield context
        return
    broker = await nats_server.ensure(prepare(settings.fabric.state))
    try:
        async with _closing(WorkerContext(settings, broker.url, keys)) as context:
            yield context
    finally:
        await broker.aclose()


@asynccontextmanager
async def _closing(context: WorkerContext) -> AsyncIterator[WorkerContext]:
    try:
        yield context
    finally:
        await context.processes.aclose()
        for close in context.closing:
            await asyncio.to_thread(close, FLUSH_TIMEOUT)

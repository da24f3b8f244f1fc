"""`mcp-fabric connect`: a server of the fabric on our own stdin and stdout, for any MCP host to launch."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec

from fabric.config.runnable import refuse_unrunnable_servers
from fabric.config.settings.process import Settings
from fabric.errors import (
    BrokerUnavailable,
    ConfigError,
    FabricError,
    InvalidFrame,
    LinkClosed,
    LinkError,
    LinkOverflow,
    LinkRefused,
    LinkUnwritable,
)
from fabric.faults import Fault, Reason, fault_frame
from fabric.links.stdio.own_streams import own
from fabric.mcp.jsonrpc import MessageKind
from fabric.runtime.edge import Edge
from workers.asking.join import NOT_RUNNING, runs_here, start_commands, unless_stopped, wait_until, why_unserved
from workers.process.context import WorkerContext, worker_context
from workers.process.edge import make_edge
from workers.process.logs import configure_logging
from workers.screen.terminal import complain

REFUSAL_TIMEOUT = 2.0
"""Seconds for which a host that cannot be served gets errors: it may send two kinds of request before it gives up."""


async def run(settings: Settings, name: str | None) -> int:
    """Serve until stdin ends or a signal comes. Returns the exit code."""
    configure_logging(settings, "warning")
    return await unless_stopped(_run(settings, name or settings.default_server or ""), orderly=True)


async def _run(settings: Settings, name: str) -> int:
    if name in settings.servers:
        settings = msgspec.structs.replace(settings, servers={name: settings.servers[name]})  # this process serves no other
    try:
        if settings.fabric.broker is None and name not in settings.servers and not await runs_here(settings):
            raise BrokerUnavailable(NOT_RUNNING)
        async with AsyncExitStack() as stack:
            context = await stack.enter_async_context(worker_context(settings))
            edge = make_edge(context)
            stack.push_async_callback(edge.node.aclose)
            edge.listens_at("stdio")
            edge.node.start()
            name = await _served_name(edge, context, name, stack)
            return await _serve(edge, name, settings)
    except (LinkRefused, LinkUnwritable):
        raise  # there is no way to tell the host
    except FabricError as error:
        with suppress(LinkRefused, LinkUnwritable):
            await _refuse(name, settings, str(error))
        raise


async def _served_name(edge: Edge, context: WorkerContext, name: str, stack: AsyncExitStack) -> str:
    """The name of the server to connect to. If no bridge serves it and its definition was given, this process starts a bridge.

    A given broker that is not there is no error: the edge waits for it, with the requests. Raises BrokerUnavailable and
    ConfigError.
    """
    settings = context.settings
    if not name:
        await wait_until(edge.node, context, lambda: edge.node.ready)
        served = edge.announced_servers()
        if len(served) > 1:
            raise ConfigError(f"name the server to connect to: {', '.join(served)}")
        if not served:
            raise BrokerUnavailable(
                f"nobody serves anything in fabric {settings.fabric.name!r}; start it: {start_commands(settings, 'bridge')}"
            )
        return served[0]
    try:
        reason = await why_unserved(edge, context, name)
    except BrokerUnavailable as error:
        reason = ""
        complain(f"{error}; waiting for it")
    if reason and name not in settings.servers:
        raise BrokerUnavailable(reason)
    if reason:
        from workers.process.bridge import make_bridge  # imported here: most hosts only join, and wait for the imports

        refuse_unrunnable_servers(settings)
        bridge = make_bridge(context)
        stack.push_async_callback(bridge.aclose)
        stack.push_async_callback(bridge.drain, settings.times.drain_timeout)
        bridge.node.start()
    return name


async def _serve(edge: Edge, name: str, settings: Settings) -> int:
    link = await own("stdio", name, max_frame_bytes=settings.links.max_frame_bytes, stall_timeout=settings.links.stall_timeout)
    attending = asyncio.ensure_future(edge.attend(link, linger=settings.links.half_closed_timeout))
    ends: list[asyncio.Future[Any]] = [attending, edge.node.failed]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if edge.node.failed.done():
            edge.node.failed.result()
        if unanswered := attending.result():
            count = f"{len(unanswered)} requests were" if len(unanswered) > 1 else "1 request was"
            methods = ", ".join(f"{method} ({times})" if times > 1 else method for method, times in Counter(unanswered).items())
            waited = f"within {settings.links.half_closed_timeout:g} s of the end of stdin (halfClosedTimeout)"
            complain(f"{count} not answered {waited}: {methods}")
            return 1
        await link.receive()  # raises the reason of the end
    except LinkClosed:
        return 1  # the session is over on the fabric's side; the edge has logged why
    except LinkError:
        return 0
    finally:
        attending.cancel()
        await asyncio.wait([attending])
        await link.aclose()
    raise AssertionError("receive() on a link that has ended raises")


async def _refuse(name: str, settings: Settings, reason: str) -> None:
    """Answer the first requests of the host with this reason. It is printed on stderr, too, as some hosts show no error."""
    fault = Fault(Reason.NO_WORKER, reason, retryable=True)
    link = await own("stdio", name, max_frame_bytes=settings.links.max_frame_bytes, stall_timeout=settings.links.stall_timeout)
    try:
        async with asyncio.timeout(REFUSAL_TIMEOUT):
            while True:
                try:
                    message = await link.receive()
                except (InvalidFrame, LinkOverflow):
                    continue
                if message.kind is MessageKind.REQUEST:
                    link.send(fault_frame(message.id, fault, server=name))
    except (LinkError, TimeoutError):
        pass  # the host has read it, or reads nothing
    finally:
        await link.aclose()

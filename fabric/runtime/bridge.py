"""The bridge at run time: a bridge core, the links to the processes of its MCP servers, and its node.

Above it: workers. Below it: the bridge's core, links and the node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.snapshot import BridgeSnapshot, ServerProcesses
from fabric.core.effects import (
    Ack,
    CheckServer,
    Complain,
    Completed,
    Consume,
    Effect,
    HoldServer,
    Idle,
    Nack,
    Pause,
    ReleaseServer,
    StartServer,
    StopServer,
    Unasked,
    Write,
)
from fabric.core.events import (
    DrainStarted,
    ServerBehind,
    ServerCaughtUp,
    ServerChecked,
    ServerExited,
    ServerFrame,
    ServerStarted,
)
from fabric.core.peers.member import Identity
from fabric.core.telemetry_record import Record
from fabric.errors import ConfigError, InvalidFrame, LinkError, LinkOverflow, LinkRefused, LinkTimeout
from fabric.faults import LostAnswer, Reason
from fabric.links.base import Link
from fabric.links.mending import broken, too_long
from fabric.mcp import answers, batches, jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.runtime.node import Node
from fabric.runtime.pacing import Pacing
from fabric.runtime.retry import Dialer
from fabric.runtime.servers.complaints import Complaints
from fabric.runtime.servers.unasked_messages import READ_PER_WINDOW, UnaskedMessages

log = logging.getLogger(__name__)

Connector = Callable[[str, str], Coroutine[Any, Any, Link]]
"""Opens a link to a server, given the server's name and the id of the link. Raises LinkError, ConfigError."""

Checker = Callable[[str], Coroutine[Any, Any, str]]
"""Runs the command that checks a server, given its name. Returns why the check fails; empty if it passes."""

_FLOOD = (
    f"it writes more than {READ_PER_WINDOW} messages in a second that answer no request, or are pings; "
    "it is read more slowly for that"
)
_NOISE = 3
"""How many invalid messages of one connection are logged each; the others are counted."""


class Bridge:
    """One bridge. It is made, and its `node` started, on a running event loop."""

    def __init__(
        self,
        url: str,
        fabric: str,
        identity: Identity,
        *,
        servers: Mapping[str, ServerLimits],
        connect: Connector,
        check: Checker,
        completed: Callable[[Record], None],
        dialer: Dialer,
    ) -> None:
        self._core = BridgeCore(identity, dict(servers))
        self.node = Node(url, fabric, self._core, self._perform, dialer, self._core.credit)
        self._servers = servers
        self._connect = connect
        self._check = check
        self._completed = completed
        self._idle = asyncio.Event()  # set once it may leave without loss
        self._children: dict[str, Link] = {}
        self._unasked: dict[str, UnaskedMessages] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._pacing = Pacing(self.node.feed, ServerBehind, ServerCaughtUp)
        self._complaints = {server: Complaints() for server in servers}
        self._failed_checks = {server: Complaints() for server in servers}
        self._broken = {server: Complaints() for server in servers}  # answers

    def __repr__(self) -> str:
        return f"<Bridge {self.snapshot()}>"

    def snapshot(self) -> BridgeSnapshot:
        """The state of the bridge now."""
        return self._core.snapshot(self.node.loop.now())

    def servers(self) -> Mapping[str, ServerProcesses]:
        """The state of its servers now, by name."""
        return self.snapshot().servers

    def last_words(self, server: str) -> str:
        """The last lines that processes of a server wrote besides messages: see ServerLimits."""
        return self._servers[server].last_words()

    async def drain(self, timeout: float) -> None:
        """Take no new work, and wait at most `timeout` seconds until the edges have the answers to all that runs."""
        self.node.feed(DrainStarted())
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopping with %d requests unanswered", self.snapshot().jobs)

    async def aclose(self) -> None:
        """Say goodbye, stop the servers, leave the broker."""
        await self.node.flush()
        await self.node.aclose()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._stopping, return_exceptions=True)

    # ------------------------------------------------------------ effects
    def _perform(self, effect: Effect) -> None:
        match effect:
            case Write(child, frame):
                self._write(child, frame)
            case Ack(delivery):
                self.node.bus.settle(delivery, done=True)
            case Nack(delivery):
                self.node.bus.settle(delivery, done=False)
            case StartServer(server, child):
                self._tasks[child] = asyncio.create_task(self._run(server, child))
            case CheckServer(server):
                self._tasks[f"check {server}"] = asyncio.create_task(self._run_check(server))
            case HoldServer(child):
                self._pacing.hold(child)
            case ReleaseServer(child):
                self._pacing.release(child)
            case StopServer(child):
                self._stop(child)
            case Complain(server, reason):
                if self._complaints[server].is_news(reason, self.node.loop.now()):
                    log.error("server %s: %s", server, reason, extra={"server": server})
            case Consume(server):
                log.info("serving %s", server, extra={"server": server})
                self._complaints[server].serving(self.node.loop.now())
                self.node.bus.consume(server)
            case Pause(server):
                log.info("pausing %s", server, extra={"server": server})
                self._complaints[server].paused()
                self.node.bus.pause(server)
            case Completed(record):
                self._completed(record)
            case Unasked(child):
                if child in self._unasked:
                    self._unasked[child].came(self.node.loop.now())
            case Idle():
                self._idle.set()
            case _:
                raise TypeError(f"not an effect of a bridge: {type(effect).__name__}")

    def _write(self, child: str, frame: bytes) -> None:
        link = self._children.get(child)
        if link is None:
            return  # it is being stopped, or has ended and the event of that is under way
        try:
            link.send(frame)
        except LinkError:
            return  # the event of its end is under way, and names this as unsent
        self._pacing.sent(child, link)

    async def _run(self, server: str, child: str) -> None:
        """Start a process, read from it, and report its end."""
        try:
            link = await self._connect(server, child)
        except (LinkError, ConfigError) as error:
            self._tasks.pop(child, None)
            self.node.feed(ServerExited(child, str(error), refused=True))
            return
        self._children[child] = link
        noise, unasked = 0, UnaskedMessages()
        self._unasked[child] = unasked
        try:
            self.node.feed(ServerStarted(child))
            while True:
                if child in self._pacing.held:
                    await self._pacing.held[child].wait()
                try:
                    message = await link.receive()
                except LinkOverflow as error:
                    log.warning("server process %s: %s", child, error)
                    message = too_long(error.head, server, str(error))
                except InvalidFrame as error:
                    noise += 1
                    if noise <= _NOISE:
                        log.warning("server %s: not a JSON-RPC message, skipped: %s", child, error)
                    continue
                for each in _members(server, message) if message.kind is MessageKind.BATCH else (message,):
                    if fault := _fault(each):
                        self._warn(server, fault)
                    self.node.feed(ServerFrame(child, each))
                    if unasked.pause:
                        self._warn(server, _FLOOD)
                        pause, unasked.pause = unasked.pause, 0.0
                        await asyncio.sleep(pause)
        except LinkError as error:
            if self._children.pop(child, None) is not None:
                refused = isinstance(error, LinkRefused | LinkTimeout)
                self.node.feed(ServerExited(child, str(error), refused, _requests(link.unsent)))
        finally:
            if noise > _NOISE:
                log.warning("server %s: %d more messages that are not JSON-RPC, skipped", child, noise - _NOISE)
            if unasked.floods:
                log.warning("server %s: %d messages in all that answered no request, or were pings", child, unasked.count)
            self._children.pop(child, None)
            self._tasks.pop(child, None)
            del self._unasked[child]
            self._pacing.release(child)
            await link.aclose()

    def _warn(self, server: str, reason: str) -> None:
        """Log what is wrong with a server's messages, each reason once."""
        if self._broken[server].is_news(reason, self.node.loop.now()):
            log.warning("server %s: %s", server, reason)

    async def _run_check(self, server: str) -> None:
        """Run the command that checks a server."""
        reason = await self._check(server)
        self._tasks.pop(f"check {server}", None)
        if not reason:
            self._failed_checks[server] = Complaints()
        elif self._failed_checks[server].is_news(reason, self.node.loop.now()):
            log.warning("server %s: %s", server, reason, extra={"server": server})
        self.node.feed(ServerChecked(server, reason))

    def _stop(self, child: str) -> None:
        link = self._children.pop(child, None)
        task = self._tasks.get(child)
        self._pacing.release(child)
        if link is not None:
            closing = asyncio.create_task(link.aclose())
            self._stopping.add(closing)
            closing.add_done_callback(self._stopping.discard)
        elif task is not None:
            task.cancel()  # it has not started yet


def _fault(message: Message) -> str:
    """What is wrong with a server's message, if no caller may get an error for it; empty for nothing."""
    if isinstance(message, LostAnswer):
        return message.fault.message if message.fault.reason is Reason.INVALID else ""
    if message.kind is MessageKind.RESPONSE and message.id[:1] != b'"':  # all ids of ours are strings
        named = f"the id {message.id.decode()}" if message.id else "no id"
        return f"it answered with {named}, which names no request{answers.complaint(message)}"
    return ""


def _members(server: str, batch: Message) -> list[Message]:
    """The messages of a server's batch. A broken one with an id becomes a lost answer to the request of that id."""
    try:
        members = batches.split(batch)
    except InvalidFrame as error:
        return [broken(b"", server, error.reason)]
    messages = [each if isinstance(each, Message) else broken(each.id, server, each.reason) for each in members]
    named = [each for each in messages if not (isinstance(each, LostAnswer) and each.id == b"null")]
    if len(named) < len(messages):
        invalid = len(messages) - len(named)
        log.warning("server %s: %d of a batch of %d are not JSON-RPC messages", server, invalid, len(messages))
    return named


def _requests(frames: Iterable[bytes]) -> frozenset[str]:
    """The ids of the requests among these frames of ours."""
    ids = set()
    for frame in frames:
        with suppress(InvalidFrame):
            message = jsonrpc.parse(frame)
            if message.kind is MessageKind.REQUEST:
                ids.add(jsonrpc.text(message.id))
    return frozenset(ids)

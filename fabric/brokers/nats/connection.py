"""One nats-py connection: opened once, checked by PINGs, its errors mapped to those of the broker family.

This file uses nats-py's connection and switches off the rest: one attempt to connect, no reconnecting, no buffering while down.
Two habits of nats-py shape the code. A PING overtakes queued messages, so it proves something only when none is queued. A
PONG that arrives for a cancelled flush() kills nats-py's reader, so one task, never cancelled while up, sends all PINGs.
Above it: adapter.py.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import suppress
from typing import Protocol

from fabric.brokers.connection_state import ConnectionState
from fabric.brokers.failure import denied_credentials, stranger, unreachable
from fabric.brokers.nats.client import Client, NatsError
from fabric.brokers.url import BrokerUrl
from fabric.errors import (
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
)

PULSE = 2.0
"""Seconds between PINGs while no round_trip() asks for one."""

PULSE_TIMEOUT = 4
"""Seconds until a PING without an answer means that the connection is lost: a stalled broker closes nothing."""

CLOSE_TIMEOUT = 1.0
"""Seconds that aclose() gives the queued messages to leave."""

PERMISSIONS_VIOLATION = re.compile('permissions violation for (publish|subscription) to "([^"]*)"')


class ConnectionOwner(Protocol):
    """The methods that a NatsConnection calls on its owner."""

    def connection_lost(self, error: BrokerError) -> None:
        """The connection is lost, unless its owner closed it; called once."""
        ...

    def subject_refused(self, subject: str) -> None:
        """The server did not let us publish or subscribe to this subject, which it wrote in lower case."""
        ...

    async def before_ping(self) -> None:
        """A PING is about to be sent."""
        ...


class NatsConnection:
    """A connection to a NATS server."""

    def __init__(self, url: BrokerUrl, owner: ConnectionOwner) -> None:
        """Make an unconnected one; `open` connects it."""
        self.where = url.where
        self.client = Client()
        """nats-py's own."""
        self.state = ConnectionState()
        self.denied: set[str] = set()
        """The rights that the server refused, each with its subject in lower case, as `is_denied` looks them up."""
        self._url = url
        self._owner = owner
        self._connected = False
        self._pulse: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def open(self, name: str, timeout: float) -> None:
        """Connect, once, within `timeout` seconds; the broker lists us as `name`. `refusal` maps what it raises."""
        url = self._url
        has_password = url.user is not None and url.password is not None
        try:
            await self.client.connect(
                url.where,
                name=name,
                user=(lambda: self._over_tls(url.user)) if has_password else None,
                password=url.password if has_password else None,
                token=(lambda: self._over_tls(url.user)) if url.user is not None and not has_password else None,
                tls=url.tls_context() if url.ca else None,  # nats-py makes the usual context, which takes time, only if needed
                allow_reconnect=False,
                connect_timeout=math.ceil(timeout),
                pending_size=-1,  # no buffer while down, and no flush inside publish(), which would swallow a cancellation
                skip_subject_validation=True,  # channel_name() leaves nothing to validate
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
            )
        except NatsError as error:
            if "info message" in words(error) and self.client.at_eof:
                raise EOFError from None  # nats-py reports the end of a connection as a wrong greeting
            raise
        self._over_tls("")
        self._connected = True
        self.client.on_reader_done(self._on_reader_done)
        self._pulse = asyncio.create_task(self._beat(), name="nats pulse")

    def is_denied(self, right: str, subject: str) -> bool:
        """Whether the server refused us a right such as `publish to`. nats-py passes on its words in lower case."""
        return f"{right} {subject}".lower() in self.denied

    async def written(self) -> None:
        """Let nats-py write its queued messages; if the socket is full, wait until the broker has read on."""
        await asyncio.sleep(0)
        while self.client.pending_data_size and not self.state.ended.done():
            await self.round_trip()

    async def round_trip(self) -> None:
        """Wait for an answer to a PING sent from now on, or for the connection to be lost."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._asked.set()
        await asyncio.wait((waiter, self.state.ended), return_when=asyncio.FIRST_COMPLETED)

    def lose(self, reason: str, kind: type[BrokerError] = BrokerReset) -> None:
        """Give the connection up for this reason."""
        error = kind(f"{self.where}: {reason}")
        if self.state.lose(error):
            self._owner.connection_lost(error)
            self._asked.set()

    async def aclose(self) -> None:
        """Close the connection; queued messages have CLOSE_TIMEOUT to leave."""
        with suppress(Exception):
            await asyncio.wait_for(self.client.close(), CLOSE_TIMEOUT)
        self.client.abort()  # a stalled broker never reads the queued messages
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.wait([self._pulse])

    async def _beat(self) -> None:
        """Send PINGs: at once for a waiting round_trip(), else each PULSE."""
        while not self.state.ended.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), PULSE)
            self._asked.clear()
            await self._owner.before_ping()
            waiting, self._waiting = self._waiting, []
            try:
                await self.client.flush(PULSE_TIMEOUT)
            except Exception as error:  # any error: without this task a stall would go unnoticed
                stalled = isinstance(error, TimeoutError)
                reason = f"no answer to a ping within {PULSE_TIMEOUT} s" if stalled else words(error)
                self.lose(reason, BrokerTimeout if stalled else BrokerReset)
            for waiter in waiting:
                waiter.set_result(None)

    def _over_tls(self, secret: str | None) -> str:
        """Return `secret`; raise _NoTls if tls:// would send it in the clear, as nats-py does if the server asks for no TLS."""
        if self._url.scheme == "tls" and not self.client.tls_required:
            raise _NoTls
        return secret or ""

    async def _on_error(self, error: Exception) -> None:
        if not self._connected:
            raise error  # or nats-py tries again until it runs out of attempts
        if denied := PERMISSIONS_VIOLATION.search(str(error)):
            self.denied.add(f"{'publish to' if denied[1] == 'publish' else 'subscribe to'} {denied[2]}")
            self._owner.subject_refused(denied[2])

    def _on_reader_done(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        self.lose("the broker closed the connection" if error is None else words(error))

    async def _on_disconnect(self) -> None:
        self.lose(words(self.client.last_error or NatsError("the broker closed the connection")))


class _NoTls(NatsError):
    """The URL says tls:// and the server does not require TLS: nats-py would go on in the clear."""


def refusal(where: str, error: Exception, timeout: float) -> BrokerError:
    """Map what `open` raised within `timeout` seconds to an error of the broker family."""
    text = words(error)
    if isinstance(error, _NoTls):
        return BrokerProtocolError(f"{where}: this server does not require TLS; configure `tls` there, or use nats://")
    if "authorization" in text or "authentication" in text:
        return BrokerDenied(denied_credentials(where, text))
    if "maximum connections" in text:
        return BrokerRefused(f"{where}: the server takes no more connections; raise its max_connections")
    if "info message" in text:
        return stranger(where, "it does not greet as a NATS server does", speaks="NATS")
    return unreachable(where, error, timeout=timeout, speaks="NATS")


def words(error: BaseException) -> str:
    """The text of an error of nats-py or of the server."""
    return str(error).lower().removeprefix("nats: ").strip("'") or type(error).__name__

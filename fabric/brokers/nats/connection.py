"""One plain connection of nats-py's: made once, asked for signs of life, its errors told as the family's.

Of nats-py this uses the connection and switches off the rest: one attempt to connect, no reconnecting, no buffering while down.
Two of its ways shape the code. A PING overtakes what is queued, so it proves something only when nothing is. A PONG that comes
for a cancelled flush() kills its reader, so one task sends all PINGs and nobody cancels it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fabric.brokers.failure import denied_credentials, stranger, unreachable
from fabric.brokers.nats.client import Client, NatsError, TcpTransport
from fabric.brokers.url import BrokerUrl
from fabric.errors import (
    BrokerClosed,
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
)

PULSE = 2.0
"""Seconds between PINGs while nothing else asks for one."""

PULSE_TIMEOUT = 4
"""Seconds until a PING without an answer means that the connection is lost: a stalled broker closes nothing."""

CLOSE_TIMEOUT = 1.0
"""Seconds aclose() gives what is still queued."""

PERMISSIONS_VIOLATION = re.compile('permissions violation for (publish|subscription) to "([^"]*)"')


class NatsConnection:
    """The connection; `client` is nats-py's. `ended` is fulfilled by why it was lost, unless we closed it first.

    lost: told of that, too. refused: told of each subject the server has not let us publish or subscribe to, in lower case.
    beat: awaited before each PING.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        lost: Callable[[BrokerError], None],
        refused: Callable[[str], None],
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        self.where = url.where
        self.client = Client()
        self.ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        self.denied: set[str] = set()  # a right and a subject, as in `is_denied`
        self._url = url
        self._lost = lost
        self._refused = refused
        self._before_ping = beat
        self._connected = self._closed = False
        self._pulse: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def open(self, name: str, timeout: float) -> None:
        """Connect, once, within `timeout` seconds; the broker lists us as `name`. What it raises, `refusal` tells."""
        url = self._url
        has_password = url.user is not None and url.password is not None
        try:
            await self.client.connect(
                url.where,
                name=name,
                user=(lambda: self._over_tls(url.user)) if has_password else None,
                password=url.password if has_password else None,
                token=(lambda: self._over_tls(url.user)) if url.user is not None and not has_password else None,
                tls=url.tls_context() if url.ca else None,  # nats-py makes the usual one, which takes time, where it needs it
                allow_reconnect=False,
                connect_timeout=math.ceil(timeout),
                pending_size=-1,  # no buffering while down, and no blocking flush inside publish(), which swallows cancellation
                skip_subject_validation=True,  # channel_name() leaves nothing to validate
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
            )
        except NatsError as error:
            if "info message" in words(error) and self.client._transport is not None and self.client._transport.at_eof():
                raise EOFError from None  # nats-py takes the end of a connection for a wrong greeting
            raise
        self._over_tls("")
        self._connected = True
        if self.client._reading_task is not None:  # nats-py is silent where its reader ends by an error that it did not foresee
            self.client._reading_task.add_done_callback(self._on_reader_done)
        self._pulse = asyncio.create_task(self._beat(), name="nats pulse")

    def check_open(self) -> None:
        """Raise BrokerClosed once it is closed."""
        if self._closed:
            raise BrokerClosed("the broker connection is closed")

    def check_there(self) -> None:
        """Raise why it was lost, if it was."""
        if self.ended.done():
            raise self.ended.result().anew()

    def is_denied(self, right: str, subject: str) -> bool:
        """Whether the server has said so; nats-py hands on what it says in lower case. right: such as `publish to`."""
        return f"{right} {subject}".lower() in self.denied

    async def written(self) -> None:
        """Let nats-py write what it has queued; where the socket is full, wait until the broker has read on."""
        await asyncio.sleep(0)
        while self.client.pending_data_size and not self.ended.done():
            await self.round_trip()

    async def round_trip(self) -> None:
        """Wait for an answer to a PING sent from now on, or for the connection to be lost."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._asked.set()
        await asyncio.wait((waiter, self.ended), return_when=asyncio.FIRST_COMPLETED)

    def lose(self, reason: str, kind: type[BrokerError] = BrokerReset) -> None:
        """The connection is of no more use, for this reason."""
        if self._closed or self.ended.done():
            return
        error = kind(f"{self.where}: {reason}")
        self.ended.set_result(error)
        self._lost(error)
        self._asked.set()

    def close(self) -> bool:
        """From now on nothing is asked of it but to end. False if that was so before."""
        closed, self._closed = self._closed, True
        return not closed

    async def aclose(self) -> None:
        """End it; what is queued has CLOSE_TIMEOUT to leave."""
        with suppress(Exception):
            await asyncio.wait_for(self.client.close(), CLOSE_TIMEOUT)
        # a stalled broker never takes what is queued, and nothing public of nats-py ends that wait
        transport = self.client._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:
            transport._io_writer.transport.abort()
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.wait([self._pulse])

    async def _beat(self) -> None:
        """Send PINGs: for whoever waits, else each PULSE."""
        while not self.ended.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), PULSE)
            self._asked.clear()
            await self._before_ping()
            waiting, self._waiting = self._waiting, []
            try:
                await self.client.flush(PULSE_TIMEOUT)
            except Exception as error:  # whatever it is, nobody would see a stall any more
                stalled = isinstance(error, TimeoutError)
                reason = f"no answer to a ping within {PULSE_TIMEOUT} s" if stalled else words(error)
                self.lose(reason, BrokerTimeout if stalled else BrokerReset)
            for waiter in waiting:
                waiter.set_result(None)

    def _over_tls(self, secret: str | None) -> str:
        """`secret`, unless it would leave in the clear despite tls://: nats-py encrypts only where the server says so."""
        # no public attribute of nats-py tells what the server said
        if self._url.scheme == "tls" and not self.client._server_info.get("tls_required"):
            raise _NoTls
        return secret or ""

    async def _on_error(self, error: Exception) -> None:
        if not self._connected:
            raise error  # or nats-py tries again until it runs out of attempts
        if denied := PERMISSIONS_VIOLATION.search(str(error)):
            self.denied.add(f"{'publish to' if denied[1] == 'publish' else 'subscribe to'} {denied[2]}")
            self._refused(denied[2])

    def _on_reader_done(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        self.lose("the broker closed the connection" if error is None else words(error))

    async def _on_disconnect(self) -> None:
        self.lose(words(self.client.last_error or NatsError("the broker closed the connection")))


class _NoTls(NatsError):
    """tls:// was asked for, and this server does not require TLS: nats-py would go on in the clear."""


def refusal(where: str, error: Exception, timeout: float) -> BrokerError:
    """Why we are not in, told from what `open` raised. timeout: the seconds it was given."""
    said = words(error)
    if isinstance(error, _NoTls):
        return BrokerProtocolError(f"{where}: this server does not require TLS; give it `tls`, or ask by nats://")
    if "authorization" in said or "authentication" in said:
        return BrokerDenied(denied_credentials(where, said))
    if "maximum connections" in said:
        return BrokerRefused(f"{where}: it takes no more connections; raise its max_connections")
    if "info message" in said:
        return stranger(where, "it does not greet as a NATS server does", speaks="NATS")
    return unreachable(where, error, timeout=timeout, speaks="NATS")


def words(error: BaseException) -> str:
    """What nats-py or the server said."""
    return str(error).lower().removeprefix("nats: ").strip("'") or type(error).__name__

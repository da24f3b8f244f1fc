"""One aio-pika connection: opened and closed in bounded time, watched for silence, its errors mapped to the broker family's.

aio-pika closes a channel whose caller was cancelled in the middle of a request, so each request runs in a task of its own. It
notices a stalled broker after twelve seconds only, so watched_socket.py records when the broker last sent something. Above it:
adapter.py and work_reader.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel
from aio_pika.connection import make_url
from aiormq import abc
from aiormq.channel import EXCEPTION_MAPPING as OF_CHANNELS
from aiormq.connection import EXCEPTION_MAPPING as OF_CONNECTIONS

from fabric.brokers.amqp.watched_socket import WatchedSocket
from fabric.brokers.failure import denied_credentials, denied_right, stranger, unreachable
from fabric.brokers.url import BrokerUrl
from fabric.errors import (
    BrokerClosed,
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerRefused,
    BrokerReset,
    BrokerTimeout,
    BrokerUnavailable,
)

SPEAKS = "AMQP 0-9-1"

HEARTBEAT = 3
"""Seconds. With it the broker sends something at least each 1.5 seconds, and closes a connection silent for nine."""

SILENCE = 4.5
"""Seconds without a byte after which the connection is lost: a stalled broker closes nothing."""

TICK = 0.5
"""Seconds between two checks of the connection."""

ABORTED = 1.0
"""Seconds that the library has to end its tasks once the socket is gone."""

_CODES: dict[type[BaseException], int] = {
    kind: code for mapping in (OF_CHANNELS, OF_CONNECTIONS) for code, kind in mapping.items()
}

T = TypeVar("T")
ChannelStep = tuple[str, Callable[[AbstractChannel], Awaitable[object]]]
"""The right that a request needs, and the request."""


class ConnectionOwner(Protocol):
    """The methods that an AmqpConnection calls on its owner."""

    def connection_lost(self, error: BrokerError) -> None:
        """The connection is lost, unless its owner ended it; called once."""
        ...

    def connection_blocked(self) -> None:
        """The broker takes no publishes for now; called each TICK for as long."""
        ...


class AmqpConnection:
    """A connection to a RabbitMQ broker."""

    def __init__(self, url: BrokerUrl, name: str, owner: ConnectionOwner) -> None:
        """Make an unconnected one; the broker will list it as `name`. Raises ConfigError for unreadable certificates."""
        self.where = url.where
        self.end: BrokerError | None = None
        """Why the connection has ended; None while it is up."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._looked_at = self._loop.time()
        self._tick: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._socket = WatchedSocket(url.host, url.port, url.tls_context() if url.scheme == "amqps" else None)
        user, password = ("guest", "guest") if url.user is None else (url.user, url.password or "")
        vhost = url.path.removeprefix("/") or "/"
        self._connection = aio_pika.Connection(
            make_url(host=url.host, port=url.port, login=user, password=password, virtualhost=vhost, heartbeat=HEARTBEAT),
            client_properties={"product": "mcp-transport-fabric", "connection_name": name},
        )
        self._connection.kwargs["transport_factory"] = self._socket

    async def open(self, *, timeout: float) -> None:
        """Connect and log in, once. timeout: the seconds that the caller allows, for the message. Raises BrokerError."""
        connecting = self.start(self._connection.connect())
        try:
            await asyncio.wait([connecting])
            connecting.result()
        except aiormq.AMQPError as error:
            if self._socket.incoming.strange:
                raise stranger(self.where, "its answer is not an AMQP frame", speaks=SPEAKS) from None
            if isinstance(error, aiormq.ConnectionClosed | aiormq.ProbableAuthenticationError):
                raise self.refusal(error) from None
            if isinstance(error, aiormq.InvalidFrameError) and (close := self._socket.incoming.last_word()):
                raise self.refusal(aiormq.ConnectionClosed(close.reply_code, close.reply_text)) from None
            raise unreachable(self.where, error.__cause__ or error, timeout=timeout, speaks=SPEAKS) from None
        except StopAsyncIteration:  # aiormq's, outside its own error tree, for a connection that ended before it was read
            raise unreachable(self.where, EOFError(), timeout=timeout, speaks=SPEAKS) from None
        except Exception as error:  # a codec's, for bytes that it does not expect
            raise unreachable(self.where, error, timeout=timeout, speaks=SPEAKS) from None
        finally:
            if not connecting.done():
                connecting.cancel()
                if self._socket.transport is not None:
                    self._socket.transport.abort()
                await asyncio.wait([connecting], timeout=ABORTED)
        self._aiormq.closing.add_done_callback(self._ended)
        self._look()

    @property
    def _aiormq(self) -> abc.AbstractConnection:
        if self.end is not None or self._connection.transport is None:
            raise self.end or BrokerClosed("the broker connection is closed")
        return self._connection.transport.connection

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no publishes for now. One step of the library's own wait for that shows it."""
        if self.end is not None:
            return False
        ready = self._aiormq.ready()
        try:
            ready.send(None)
        except StopIteration:
            return False
        ready.close()
        return True

    def start(self, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a request to the library. It may fail without anybody waiting for the task."""
        task = self._loop.create_task(request)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def ask(self, request: Coroutine[Any, Any, T], right: str = "use") -> T:
        """Await a request to the library, which goes on if we are cancelled. Raises BrokerError; BrokerDenied names `right`."""
        task = self.start(request)
        await asyncio.wait([task])
        if task.cancelled():
            raise self.end or BrokerReset(f"{self.where}: the broker closed the connection; see its log")
        try:
            return task.result()
        except BrokerError:
            raise
        except Exception as error:  # aiormq raises RuntimeError and StopAsyncIteration too, and codecs raise any kind
            raise self.end or self.refusal(error, right) from None

    async def channel(self, *, confirms: bool = False) -> aiormq.Channel:
        """Open a channel of aiormq, which costs less for each message than one of aio-pika. Raises BrokerError."""

        async def open_one() -> aiormq.Channel:
            return cast("aiormq.Channel", await self._aiormq.channel(publisher_confirms=confirms))

        return await self.ask(open_one())

    async def do(self, *steps: ChannelStep) -> None:
        """Make requests on a channel of their own, so that a refusal closes nothing else. Raises BrokerError."""

        async def ask_all() -> None:
            if self.end is not None:
                raise self.end
            async with self._connection.channel(publisher_confirms=False) as channel:
                for right, step in steps:
                    try:
                        await step(channel)
                    except aiormq.AMQPError as error:
                        raise self.refusal(error, right) from None

        await self.ask(ask_all())

    def follow(self, channel: aiormq.Channel, right: str) -> None:
        """Give the connection up if the broker closes this channel or ends its consumer."""

        def closed(closing: asyncio.Future[Any]) -> None:
            error = None if closing.cancelled() else closing.exception()
            if isinstance(error, aiormq.ChannelClosed) and _reply(error)[0]:
                self.lose(self.refusal(error, right))

        def cancelled(_: object) -> None:
            self.lose(BrokerUnavailable(f"{self.where}: a queue is gone: somebody deleted it"))

        channel.closing.add_done_callback(closed)
        channel.on_consumer_cancel_callbacks.add(cancelled)

    def refusal(self, error: BaseException | None, right: str = "use") -> BrokerError:
        """Map the end of a channel or of the connection to an error of the broker family."""
        code, text = _reply(error)
        where, url = self.where, "the URL's path names the vhost, /%2F the one called /"
        match code:
            case 403 if "Login" in text:
                return BrokerDenied(denied_credentials(where, text))
            case 403:
                if right == "bind":
                    right = "write" if " to queue " in text else "read"
                return BrokerDenied(denied_right(where, f"{right} this", f"({text})"))
            case 530 if "limit (" in text:
                return BrokerRefused(f"{where}: {text}; raise its limit")
            case 530:
                return BrokerDenied(f"{where}: {text}; let our user in there, or name another: {url}")
            case 0 | 320:
                return BrokerReset(f"{where}: {text or 'the broker closed the connection'}; see its log")
            case 501 | 502 | 503 | 504 | 505:
                return BrokerProtocolError(f"{where}: {text}")
        return BrokerUnavailable(f"{where}: {text}")

    def lose(self, error: BrokerError) -> None:
        """Give the connection up for this reason."""
        if self.end is None:
            self._finish(error)
            self._owner.connection_lost(error)

    def close(self) -> None:
        """End the connection now, without telling the broker."""
        self._finish(BrokerClosed("the broker connection is closed"))

    async def say_goodbye(self, timeout: float) -> None:
        """Close with the broker, which deletes our queues, if it answers within `timeout` seconds; else end the connection."""
        if self.end is None:
            await asyncio.wait([self.start(self._leave())], timeout=timeout)
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ABORTED)

    # ------------------------------------------------------------ internal
    async def _leave(self) -> None:
        """Close with the broker, after opening and closing a channel: by then it has all we sent, even acknowledgements."""
        await self.do()
        self.end = self.end or BrokerClosed("the broker connection is closed")
        await self._connection.close()

    def _finish(self, end: BrokerError) -> None:
        """Abort the socket, so that the library ends its tasks."""
        self.end = self.end or end
        if self._tick is not None:
            self._tick.cancel()
        if self._socket.transport is not None:
            self._socket.transport.abort()
        if not self._connection.is_closed:
            self.start(self._connection.close())

    def _ended(self, closing: asyncio.Future[Any]) -> None:
        if self.end is None:
            self.lose(self.refusal(None if closing.cancelled() else closing.exception()))

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def _look(self) -> None:
        """Check that the broker lives and takes messages. After a stall of our own process its silence proves nothing."""
        if self.end is not None:
            return
        now, incoming = self._loop.time(), self._socket.incoming
        if now > self._looked_at + TICK + 1:
            incoming.last_at = now
        if now > incoming.last_at + SILENCE:
            self.lose(BrokerTimeout(f"{self.where}: silent for {SILENCE:g} s; see that it is not stopped"))
            return
        if self.blocked:
            self._owner.connection_blocked()
        self._looked_at = now
        self._tick = self._loop.call_later(TICK, self._look)


def _reply(error: BaseException | None) -> tuple[int, str]:
    """AMQP's reply code and text. The code is 0 if the broker sent none."""
    match error:
        case aiormq.ProbableAuthenticationError(args=(text,)):
            return 403, str(text)
        case aiormq.ConnectionClosed(args=(code, text)) | aiormq.ChannelClosed(args=(code, text)):
            return code or 0, str(text or "")
        case aiormq.AMQPError(args=(text,)) if type(error) in _CODES:
            return _CODES[type(error)], str(text)
        case None | aiormq.AMQPConnectionError(__cause__=EOFError()):
            return 0, ""
        case _:
            return 0, str(error.__cause__ or error)

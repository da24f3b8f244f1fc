"""One connection to Redis: commands go out in order, replies come back in order, and a loss is noticed at once.

redis-py makes the connection (TLS, login) and reads replies; hiredis packs commands and parses. redis-py's clients are not
used: their pool connects again behind our back, and a cancelled command costs the connection. Here one task writes all commands
that gathered during the last write, one task reads, and the reply to a cancelled caller is thrown away. (Decision 25.)
Above it: adapter.py and the readers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

import hiredis
import msgspec
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from fabric.brokers.failure import denied_credentials, denied_right, stranger, unreachable
from fabric.brokers.url import BrokerUrl
from fabric.errors import BrokerDenied, BrokerError, BrokerRefused

Command = Sequence[bytes | str | int]
Reply = object
"""Bytes, an int, None, a list of replies, or a ResponseError."""
Replies = list[Reply]


class _Plain(Connection):
    """A connection that ends at once, also where redis-py ends it: after a read that failed or was cancelled."""

    async def disconnect(self, *arguments: Any, **named: Any) -> None:
        """Abort first: a stalled broker takes neither queued bytes nor TLS's close_notify, and the socket would stay.

        redis-py has no public name for the socket; test_redis_connection.py fails when it has another private one.
        """
        if self._writer is not None:
            self._writer.transport.abort()
        await super().disconnect(*arguments, **named)


class _Secure(_Plain, SSLConnection):
    """A _Plain with TLS."""


class _Sent(msgspec.Struct):
    """The commands of one send(), which wait for their replies."""

    count: int
    """How many commands there are."""
    replies: Replies
    """The replies that have arrived."""
    result: asyncio.Future[Replies]
    """Fulfilled with all replies, or with fewer than `count` if the connection is lost first."""


class ConnectionOwner(Protocol):
    """The methods that a RedisConnection calls on its owner."""

    def connection_lost(self, reason: str) -> None:
        """The connection is lost, unless its owner closed or dropped it; called once."""
        ...

    def message_published(self, topic: bytes, body: bytes) -> None:
        """A pub/sub message has arrived; called on a connection with `pubsub` only."""
        ...


class RedisConnection:
    """One connection to Redis."""

    def __init__(self, connection: Connection, client: int, owner: ConnectionOwner, *, pubsub: bool) -> None:
        """Take over an open redis-py connection. pubsub: it is for subscriptions."""
        self.client = client
        """The number that Redis gives this connection (CLIENT ID)."""
        self._connection = connection
        self._owner = owner
        self._pubsub = pubsub
        self._ended = False
        self._outbox: list[bytes] = []
        self._filled = asyncio.Event()
        self._awaiting: deque[_Sent] = deque()
        self._tasks = (asyncio.create_task(self._read()), asyncio.create_task(self._write()))

    @classmethod
    async def open(cls, url: BrokerUrl, timeout: float, owner: ConnectionOwner, *, pubsub: bool = False) -> Self:
        """Connect and log in, once, within `timeout` seconds. Raises BrokerDenied, a kind of BrokerUnavailable."""
        settings: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "db": int(url.path.strip("/") or 0),
            "username": url.user or None,
            "password": url.password,
            "socket_timeout": None,  # a blocking read waits for as long as it asked to
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # reply shapes differ
        }
        secure = url.scheme == "rediss"
        connection = _Secure(ssl_ca_certs=url.ca, **settings) if secure else _Plain(**settings)
        try:
            async with asyncio.timeout(timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own, without annotations
                await connection.send_command("CLIENT", "ID")
                client = int(await connection.read_response())
        except Exception as error:  # redis-py's, the socket's, or int's
            await connection.disconnect()
            raise _refusal(url.where, error, timeout) from None
        except BaseException:
            await connection.disconnect()
            raise
        return cls(connection, client, owner, pubsub=pubsub)

    def send(self, commands: Iterable[Command]) -> asyncio.Future[Replies]:
        """Send commands; the result is their replies, fewer if the connection is lost first. Cancelling it does no harm."""
        result: asyncio.Future[Replies] = asyncio.get_running_loop().create_future()
        listed = list(commands)
        if self._ended or not listed:
            result.set_result([])
            return result
        self._outbox += [_packed(command) for command in listed]
        self._awaiting.append(_Sent(len(listed), [], result))
        self._filled.set()
        return result

    def drop(self) -> None:
        """Send nothing more; each waiting send() gets the replies that have come."""
        self._ended = True
        self._outbox.clear()
        while self._awaiting:
            sent = self._awaiting.popleft()
            if not sent.result.done():
                sent.result.set_result(sent.replies)

    async def aclose(self) -> None:
        """Close now."""
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._connection.disconnect()

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            packed, self._outbox = self._outbox, []
            try:
                await self._connection.send_packed_command(packed)
            except Exception as error:  # redis-py's, or the socket's
                self._lose(error)
                return

    async def _read(self) -> None:
        while True:
            reply: Reply
            try:
                reply = await self._connection.read_response(disable_decoding=True)
            except ResponseError as error:
                reply = error
            except Exception as error:  # redis-py's, the socket's, or the parser's
                self._lose(error)
                return
            if self._pubsub and isinstance(reply, list) and reply[:1] == [b"message"] and len(reply) == 3:
                self._owner.message_published(reply[1], reply[2])
                continue
            if self._ended:
                return
            if not self._awaiting:
                self._lose(InvalidResponse("a reply to no command of ours"))
                return
            sent = self._awaiting[0]
            sent.replies.append(reply)
            if len(sent.replies) == sent.count:
                self._awaiting.popleft()
                if not sent.result.done():
                    sent.result.set_result(sent.replies)

    def _lose(self, error: Exception) -> None:
        if not self._ended:
            self.drop()
            self._owner.connection_lost(str(error) or type(error).__name__)


def _refusal(where: str, error: Exception, timeout: float) -> BrokerError:
    """Map what connecting or logging in raised within `timeout` seconds to an error of the broker family."""
    match error:
        case AuthenticationError():
            return BrokerDenied(denied_credentials(where, str(error)))
        case NoPermissionError():
            return BrokerDenied(denied_right(where, "do this", f"({error})"))
        case RedisError() if "max number of clients" in str(error):
            return BrokerRefused(f"{where}: the server takes no more connections; raise its maxclients")
        case BusyLoadingError():
            return BrokerRefused(f"{where}: the server is still loading its data; wait until it has")
        case InvalidResponse():
            return stranger(where, "its answer is not RESP", speaks="Redis")
        case RedisError() if "closed by server" in str(error):
            return unreachable(where, EOFError(), timeout=timeout, speaks="Redis")
        case ResponseError() if "DB index" in str(error):
            return BrokerDenied(f"{where}: the server has no database of this number; correct the path of the URL")
        case ResponseError():
            return stranger(where, str(error), speaks="Redis")
    return unreachable(where, error, timeout=timeout, speaks="Redis")


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub allows one word only
    return packed

"""Redis Streams, `redis://` and `rediss://`: work is kept until acknowledged, an inbox lives while its owner says so.

- work/<server> is a stream with one consumer group; a consumer is named by its incarnation. Entries are acknowledged and
  deleted together, given back as a copy at the end, and claimed from a consumer that has not renewed them for CLAIM_AFTER.
- inbox/<incarnation> is a stream made by its owner, who deletes what he has read. Senders never make it, and it expires
  INBOX_TTL after its owner's last sign of life.
- topic/<name> is pub/sub, with the database's number in its name because pub/sub knows no databases.

An entry's first field is its body, named `b`, or `r` once it was given back; headers follow. Needs Redis 7.0, or any Valkey.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain

from redis.exceptions import NoPermissionError, ResponseError

from fabric.addressing import ANNOUNCEMENTS, Channel, ChannelKind, channel_name, work
from fabric.brokers.base import Broker, BrokerTraits, Delivery, OutgoingMessage, Rights, Subscription
from fabric.brokers.failure import denied_right, full, too_long
from fabric.brokers.listener import Listener
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.redis import scripts
from fabric.brokers.redis.connection import Command, RedisConnection, Replies, Reply
from fabric.brokers.redis.inbox_reader import INBOX_TTL, InboxReader
from fabric.brokers.redis.rights import look
from fabric.brokers.redis.work_reader import GROUP, WORK_TTL, WorkReader, consumers
from fabric.brokers.url import BrokerUrl, parse
from fabric.capabilities import Capabilities
from fabric.errors import BrokerClosed, BrokerDenied, BrokerError, BrokerReset, BrokerTimeout, BrokerUnavailable, PublishFailed

LARGEST_MESSAGE_BYTES = 32 * 1024 * 1024
"""Redis takes 512 MiB, but serves nobody else while it copies."""
CAPABILITIES = {
    "redis": Capabilities(resumable=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
    "rediss": Capabilities(resumable=True, encryption=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
}

MOST_WORK = 10_000
"""Entries of one work stream, waiting or held; a publish beyond fails. (MAXLEN would trim work that nobody has read.)"""

PULSE = 2.0
"""Seconds between signs of life, which renew what we hold."""

PULSE_TIMEOUT = 4.0
"""Seconds until a sign of life without an answer means that the connection is lost: a stalled broker closes nothing."""

SCRIPT_DENIED = ("ACL failure in script", "user executing the script can't")
"""How Redis says it of a command within a script, from 7.2 on and before."""

CLOSE_TIMEOUT = 4.0
"""Seconds aclose() gives the broker to take leave of us."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds; `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS.

    Raises ConfigError, BrokerDenied for refused credentials, and of BrokerUnavailable the kind it is.
    """
    connection = _RedisBroker(parse(url, default_port=6379), fabric, incarnation, timeout)
    await connection.open()
    return connection


class _RedisBroker:
    """One connection: a pipe for commands, one for each stream that is read, one for all topics. See Broker."""

    traits = BrokerTraits(keeps=True, largest_message_bytes=LARGEST_MESSAGE_BYTES)

    def __init__(self, url: BrokerUrl, fabric: str, incarnation: str, timeout: float) -> None:
        self._url = url
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._incarnation = incarnation
        self._timeout = timeout
        self._readers: list[InboxReader | WorkReader] = []
        self._pipes: list[RedisConnection] = []
        self._listeners: defaultdict[bytes, list[Mailbox]] = defaultdict(list)  # by topic
        self._news: RedisConnection | None = None
        self._news_lock = asyncio.Lock()
        self._closed = False
        self._ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Make the first pipe. Raises as connect() does."""
        self._commands = await self._pipe()
        self._pulse = asyncio.create_task(self._beat(), name="redis pulse")

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._check_open()
        commands = [self._publishing(message) for message in messages]
        if self._ended.done():
            raise PublishFailed(str(self._ended.result()), unsent=range(len(commands))) from self._ended.result()
        fitting = [at for at, message in enumerate(messages) if len(message.body) <= LARGEST_MESSAGE_BYTES]
        replies = await self._commands.send([commands[at] for at in fitting])
        where = self._url.where
        reasons = dict.fromkeys(set(range(len(commands))).difference(fitting), too_long(where, LARGEST_MESSAGE_BYTES))
        denial: BrokerDenied | None = None
        for at, reply in zip(fitting, replies, strict=False):
            if (name := self._denial(reply)) is not None:
                denial = BrokerDenied(denied_right(where, "publish to", f"{self._name(messages[at].channel)} ({name})"))
                reasons[at] = str(denial)
            elif isinstance(reply, ResponseError):
                reasons[at] = f"{where}: {reply}"
            elif reply == 0 and messages[at].channel.kind is ChannelKind.WORK:
                reasons[at] = full(where, self._name(messages[at].channel), MOST_WORK)
        unknown = fitting[len(replies) :]
        if unknown or reasons:
            ended = self._ended.result() if unknown and self._ended.done() else None
            reason = str(ended) if ended is not None else reasons[min(reasons)]
            raise PublishFailed(reason, unsent=sorted(reasons), unknown=unknown) from ended or denial

    async def subscribe(self, channel: Channel) -> Subscription:
        self._check_open()
        name = self._name(channel)
        if self._ended.done():
            raise self._ended.result().anew()
        if channel.kind is ChannelKind.TOPIC:
            return await self._listen(self._topic(name))
        reader: InboxReader | WorkReader
        if channel.kind is ChannelKind.INBOX:
            await self._do(name, "EVAL", scripts.OPEN_INBOX, 1, name, INBOX_TTL)
            reader = InboxReader(name, await self._pipe(), self._commands, self._lose)
        else:
            await self._do(name, "EVAL", scripts.JOIN, 2, name, consumers(name), GROUP, self._incarnation, WORK_TTL)
            reader = WorkReader(name, self._incarnation, await self._pipe(), self._commands, self._lose)
        self._readers.append(reader)
        return reader

    async def rights(self) -> Rights:
        """See TellsRights."""
        self._check_open()
        topic = self._name(ANNOUNCEMENTS)
        prefix = topic.removesuffix(f"{ANNOUNCEMENTS.kind}.{ANNOUNCEMENTS.name}")
        return await look(await self._pipe(), prefix, self._topic(topic))

    async def tidy(self, server: str) -> None:
        """See Tidies."""
        self._check_open()
        name = self._name(work(server))
        await self._do(name, "UNLINK", name, consumers(name))

    async def lost(self) -> str:
        return str(await asyncio.shield(self._ended))

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        for mailbox in chain.from_iterable(self._listeners.values()):
            mailbox.clear()
            mailbox.end(BrokerClosed("the broker connection is closed"))
        with suppress(TimeoutError):  # a stalled broker does not answer; what is left there expires
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(reader.aclose() for reader in self._readers))
        self._pulse.cancel()
        await asyncio.wait([self._pulse])
        for pipe in self._pipes:
            await pipe.aclose()

    def _publishing(self, message: OutgoingMessage) -> Command:
        name = self._name(message.channel)
        fields: tuple[str | bytes, ...] = ("b", message.body, *(word for header in message.headers for word in header))
        match message.channel.kind:
            case ChannelKind.WORK:
                return ("EVAL", scripts.PUSH, 1, name, MOST_WORK, WORK_TTL, *fields)
            case ChannelKind.INBOX:
                return ("XADD", name, "NOMKSTREAM", "*", *fields)
            case ChannelKind.TOPIC:
                return ("PUBLISH", self._topic(name), message.body)

    def _topic(self, name: str) -> str:
        database = self._url.path.strip("/")
        return f"{name}@{database}" if database not in ("", "0") else name

    async def _listen(self, name: str) -> Listener:
        channel = name.encode()
        async with self._news_lock:
            self._news = self._news or await self._pipe(self._heard)
        news = self._news

        async def leave(mailbox: Mailbox) -> None:
            if mailbox in self._listeners[channel]:
                self._listeners[channel].remove(mailbox)
            if not self._listeners[channel]:
                del self._listeners[channel]
                news.send([("UNSUBSCRIBE", channel)])

        listener = Listener(leave)
        self._listeners[channel].append(listener.mailbox)
        try:
            self._check(name, await news.send([("SUBSCRIBE", channel)]))
        except BrokerError:
            self._listeners[channel].remove(listener.mailbox)
            raise
        return listener

    def _heard(self, channel: bytes, body: bytes) -> None:
        for mailbox in self._listeners.get(channel, ()):
            mailbox.put(Delivery(body))

    async def _pipe(self, pushed: Callable[[bytes, bytes], None] | None = None) -> RedisConnection:
        pipe = await RedisConnection.open(self._url, self._timeout, self._lose, pushed)
        self._pipes.append(pipe)
        return pipe

    async def _do(self, name: str, *command: bytes | str | int) -> None:
        """One command that prepares a channel. Raises BrokerDenied, BrokerUnavailable."""
        self._check(name, await self._commands.send([command]))

    def _check(self, name: str, replies: Replies) -> None:
        where = self._url.where
        if not replies:
            raise BrokerReset(f"{where}: the connection was lost")
        if (said := self._denial(replies[0])) is not None:
            raise BrokerDenied(denied_right(where, "read", f"{name} ({said})"))
        if isinstance(replies[0], ResponseError):
            raise BrokerUnavailable(f"{where}: {name} cannot be read: {replies[0]}")

    @staticmethod
    def _denial(reply: Reply) -> str | None:
        """What Redis says if it means that we may not."""
        said = str(reply) if isinstance(reply, ResponseError) else ""
        return said if isinstance(reply, NoPermissionError) or any(words in said for words in SCRIPT_DENIED) else None

    async def _beat(self) -> None:
        """Show that we live, and see that the broker does."""
        while not self._ended.done():
            await asyncio.sleep(PULSE)
            readers = self._readers = [reader for reader in self._readers if not reader.ended]
            asked = self._commands.send([("PING",), *(reader.renewal() for reader in readers)])
            await asyncio.wait([asked], timeout=PULSE_TIMEOUT)
            if not asked.done():
                self._lose(f"no answer within {PULSE_TIMEOUT:g} s", kind=BrokerTimeout)
            else:
                for reader, reply in zip(readers, asked.result()[1:], strict=False):
                    reader.renewed(reply)

    def _lose(self, reason: str, reply: Reply = None, kind: type[BrokerError] = BrokerReset) -> None:
        if self._closed or self._ended.done():
            return
        where = self._url.where
        if (said := self._denial(reply)) is not None:
            self._ended.set_result(BrokerDenied(denied_right(where, "do what it has to", f"({reason}: {said})")))
        else:
            self._ended.set_result(kind(f"{where}: {reason}" + (f": {reply}" if reply is not None else "")))
        for reader in (*self._readers, *chain.from_iterable(self._listeners.values())):
            reader.end(self._ended.result())
        for pipe in self._pipes:
            pipe.drop()

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerClosed("the broker connection is closed")

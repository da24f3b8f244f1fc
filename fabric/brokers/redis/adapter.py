"""Redis Streams, `redis://` and `rediss://`: work is kept until acknowledged, an inbox is kept while its owner renews it.

- work/<server> is a stream with one consumer group; a consumer has its incarnation's name. Entries are deleted when they are
  acknowledged, given back as a copy at the end, and claimed from a consumer that has not renewed them for CLAIM_AFTER.
- inbox/<incarnation> is a stream that its owner makes, and whose entries it deletes once they are read. Senders never make it,
  and it expires INBOX_TTL after its owner has last renewed it.
- topic/<name> is pub/sub. Its name has the database's number, because pub/sub does not separate databases.

An entry's first field is its body, named `b`, or `r` once it was given back; headers follow. Needs Redis 7.0, or any Valkey.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain

from redis.exceptions import NoPermissionError, ResponseError

from fabric.addressing import ANNOUNCEMENTS, Channel, ChannelKind, channel_name, work
from fabric.brokers.base import Broker, BrokerTraits, Delivery, OutgoingMessage, Rights, Subscription
from fabric.brokers.connection_state import ConnectionState
from fabric.brokers.failure import denied_right, full, too_long
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.publish_report import PublishReport
from fabric.brokers.redis import scripts
from fabric.brokers.redis.connection import Command, RedisConnection, Replies, Reply
from fabric.brokers.redis.inbox_reader import INBOX_TTL, InboxReader
from fabric.brokers.redis.rights import find_rights
from fabric.brokers.redis.work_reader import GROUP, WORK_TTL, WorkReader, consumers
from fabric.brokers.url import BrokerUrl, parse
from fabric.capabilities import Capabilities
from fabric.errors import BrokerClosed, BrokerDenied, BrokerError, BrokerReset, BrokerTimeout, BrokerUnavailable

LARGEST_MESSAGE_BYTES = 32 * 1024 * 1024
"""Redis takes 512 MiB, but serves no other client while it copies a message."""
CAPABILITIES = {
    "redis": Capabilities(resumable=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
    "rediss": Capabilities(resumable=True, encryption=True, largest_message_bytes=LARGEST_MESSAGE_BYTES),
}

MOST_WORK = 10_000
"""The most entries of one work stream, waiting or held; a publish beyond fails. (MAXLEN would delete unread work.)"""

PULSE = 2.0
"""Seconds between renewals of our inboxes and of the work that we hold."""

PULSE_TIMEOUT = 4.0
"""Seconds until a renewal without an answer means that the connection is lost: a stalled broker closes nothing."""

SCRIPT_DENIED = ("ACL failure in script", "user executing the script can't")
"""Parts of Redis' message for a missing right to a command within a script: from 7.2 on, and before."""

CLOSE_TIMEOUT = 4.0
"""Seconds that aclose() waits for the broker."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Connect within `timeout` seconds; `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS.

    Raises ConfigError, BrokerDenied for refused credentials, and the kind of BrokerUnavailable that fits.
    """
    connection = _RedisBroker(parse(url, default_port=6379), fabric, incarnation, timeout)
    await connection.open()
    return connection


class _RedisBroker:
    """A Broker. It has several connections to Redis: one for commands, one for each stream that is read, one for pub/sub."""

    traits = BrokerTraits(keeps=True, largest_message_bytes=LARGEST_MESSAGE_BYTES)

    def __init__(self, url: BrokerUrl, fabric: str, incarnation: str, timeout: float) -> None:
        self._url = url
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._incarnation = incarnation
        self._timeout = timeout
        self._readers: list[InboxReader | WorkReader] = []
        self._connections: list[RedisConnection] = []
        self._mailboxes: defaultdict[bytes, list[Mailbox]] = defaultdict(list)  # by topic
        self._pubsub: RedisConnection | None = None
        self._pubsub_lock = asyncio.Lock()
        self._state = ConnectionState()

    async def open(self) -> None:
        """Make the connection for commands. Raises as connect() does."""
        self._commands = await self._connect()
        self._pulse = asyncio.create_task(self._beat(), name="redis pulse")

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._state.check_open()
        commands = [self._publishing(message) for message in messages]
        self._state.check_can_publish(len(commands))
        fitting = [at for at, message in enumerate(messages) if len(message.body) <= LARGEST_MESSAGE_BYTES]
        replies = await self._commands.send([commands[at] for at in fitting])
        where = self._url.where
        report = PublishReport()
        for at in set(range(len(commands))).difference(fitting):
            report.refuse(at, too_long(where, LARGEST_MESSAGE_BYTES))
        for at, reply in zip(fitting, replies, strict=False):
            if (denial := self._denial(reply)) is not None:
                channel = f"{self._name(messages[at].channel)} ({denial})"
                report.refuse(at, BrokerDenied(denied_right(where, "publish to", channel)))
            elif isinstance(reply, ResponseError):
                report.refuse(at, f"{where}: {reply}")
            elif reply == 0 and messages[at].channel.kind is ChannelKind.WORK:
                report.refuse(at, full(where, self._name(messages[at].channel), MOST_WORK))
        unanswered = fitting[len(replies) :]
        report.conclude(unanswered, loss=self._state.loss, unconfirmed="the broker connection was closed meanwhile")

    async def subscribe(self, channel: Channel) -> Subscription:
        self._state.check_up()
        name = self._name(channel)
        if channel.kind is ChannelKind.TOPIC:
            return await self._listen(self._topic(name))
        reader: InboxReader | WorkReader
        if channel.kind is ChannelKind.INBOX:
            await self._do(name, "EVAL", scripts.OPEN_INBOX, 1, name, INBOX_TTL)
            reader = InboxReader(name, await self._connect(), self._commands, self._lose)
        else:
            await self._do(name, "EVAL", scripts.JOIN, 2, name, consumers(name), GROUP, self._incarnation, WORK_TTL)
            reader = WorkReader(name, self._incarnation, await self._connect(), self._commands, self._lose)
        self._readers.append(reader)
        return reader

    async def rights(self) -> Rights:
        """See TellsRights."""
        self._state.check_open()
        topic = self._name(ANNOUNCEMENTS)
        prefix = topic.removesuffix(f"{ANNOUNCEMENTS.kind}.{ANNOUNCEMENTS.name}")
        return await find_rights(await self._connect(), prefix, self._topic(topic))

    async def tidy(self, server: str) -> None:
        """See Tidies."""
        self._state.check_open()
        name = self._name(work(server))
        await self._do(name, "UNLINK", name, consumers(name))

    async def lost(self) -> str:
        return await self._state.lost()

    async def aclose(self) -> None:
        if not self._state.close():
            return
        for mailbox in chain.from_iterable(self._mailboxes.values()):
            mailbox.clear()
            mailbox.end(BrokerClosed("the broker connection is closed"))
        with suppress(TimeoutError):  # a stalled broker does not answer; our inboxes and consumers expire there
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*(reader.aclose() for reader in self._readers))
        self._pulse.cancel()
        await asyncio.wait([self._pulse])
        for connection in self._connections:
            await connection.aclose()

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

    async def _listen(self, name: str) -> Mailbox:
        channel = name.encode()
        async with self._pubsub_lock:
            self._pubsub = self._pubsub or await self._connect(pubsub=True)
        pubsub = self._pubsub

        async def leave(mailbox: Mailbox) -> None:
            if mailbox in self._mailboxes[channel]:
                self._mailboxes[channel].remove(mailbox)
            if not self._mailboxes[channel]:
                del self._mailboxes[channel]
                pubsub.send([("UNSUBSCRIBE", channel)])

        mailbox = Mailbox(leave)
        self._mailboxes[channel].append(mailbox)
        try:
            self._check(name, await pubsub.send([("SUBSCRIBE", channel)]))
        except BrokerError:
            self._mailboxes[channel].remove(mailbox)
            raise
        return mailbox

    async def _connect(self, *, pubsub: bool = False) -> RedisConnection:
        connection = await RedisConnection.open(self._url, self._timeout, self, pubsub=pubsub)
        self._connections.append(connection)
        return connection

    async def _do(self, name: str, *command: bytes | str | int) -> None:
        """Send a command that prepares the channel `name`. Raises BrokerDenied, BrokerUnavailable."""
        self._check(name, await self._commands.send([command]))

    def _check(self, name: str, replies: Replies) -> None:
        where = self._url.where
        if not replies:
            raise BrokerReset(f"{where}: the connection was lost")
        if (denial := self._denial(replies[0])) is not None:
            raise BrokerDenied(denied_right(where, "read", f"{name} ({denial})"))
        if isinstance(replies[0], ResponseError):
            raise BrokerUnavailable(f"{where}: {name} cannot be read: {replies[0]}")

    @staticmethod
    def _denial(reply: Reply) -> str | None:
        """The text of a reply that refuses a command because our user lacks a right; None for any other reply."""
        text = str(reply) if isinstance(reply, ResponseError) else ""
        return text if isinstance(reply, NoPermissionError) or any(words in text for words in SCRIPT_DENIED) else None

    async def _beat(self) -> None:
        """Renew the inboxes and the work of our readers, and check that the broker still answers."""
        while self._state.loss is None:
            await asyncio.sleep(PULSE)
            readers = self._readers = [reader for reader in self._readers if not reader.ended]
            replies = self._commands.send([("PING",), *(reader.renewal() for reader in readers)])
            await asyncio.wait([replies], timeout=PULSE_TIMEOUT)
            if not replies.done():
                self._lose(f"no answer within {PULSE_TIMEOUT:g} s", kind=BrokerTimeout)
            else:
                for reader, reply in zip(readers, replies.result()[1:], strict=False):
                    reader.renewed(reply)

    # ------------------------------------------------------------ the owner of connections
    def message_published(self, topic: bytes, body: bytes) -> None:
        """See ConnectionOwner."""
        for mailbox in self._mailboxes.get(topic, ()):
            mailbox.put(Delivery(body))

    def connection_lost(self, reason: str) -> None:
        """See ConnectionOwner."""
        self._lose(reason)

    def _lose(self, reason: str, reply: Reply = None, kind: type[BrokerError] = BrokerReset) -> None:
        where = self._url.where
        if (denial := self._denial(reply)) is not None:
            loss: BrokerError = BrokerDenied(denied_right(where, "do this:", f"{reason} ({denial})"))
        else:
            loss = kind(f"{where}: {reason}" + (f": {reply}" if reply is not None else ""))
        if self._state.lose(loss):
            for reader in (*self._readers, *chain.from_iterable(self._mailboxes.values())):
                reader.end(loss)
            for connection in self._connections:
                connection.drop()

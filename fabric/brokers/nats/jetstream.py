"""The JetStream side of a NATS connection: a stream that keeps a fabric's work, and the replies that say what became of it.

One stream a fabric, a work queue: `mcpf_<fabric>_work` takes `mcpf.<fabric>.work.*` and keeps a message until somebody
acknowledges it. JetStream answers requests and confirms publishes by a reply, on subjects of this connection's own; so all is
sent at once and awaited together. nats-py's own JetStream context would do neither without a task or a subscription for each.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from fabric.addressing import escape
from fabric.brokers.failure import denied_right, full
from fabric.brokers.nats.client import Client, Msg, NatsError, Subscription
from fabric.errors import (
    BrokerDenied,
    BrokerError,
    BrokerProtocolError,
    BrokerReset,
    BrokerTimeout,
    BrokerUnavailable,
    PublishFailed,
)

MOST_WORK = 10_000
"""Messages one server's queue holds, waiting or in somebody's hands; a publish beyond fails."""

WORK_TTL = 600
"""Seconds an unread message is kept: longer than a call waits unless told otherwise."""

REPLY_TIMEOUT = 4.0
"""Seconds JetStream has to answer or to confirm."""

API = "$JS.API"

NO_STREAM, NAME_IN_USE, QUEUE_FULL = 10059, 10058, 10077
"""Codes of JetStream's errors that mean something to us."""

Lose = Callable[[str, type[BrokerError]], None]
"""Ends the connection, for a reason, by an error of that kind."""

TakeReply = Callable[[Msg | BrokerError], None]
"""Takes a reply, or why there will be none."""


class _Problem(msgspec.Struct, frozen=True):
    """Why JetStream refused. code: as in HTTP. err_code: JetStream's own."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _State(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    consumer_count: int = 0


class _Answer(msgspec.Struct, frozen=True):
    """What we read of JetStream's answers."""

    error: _Problem | None = None
    state: _State = _State()


class Inlet(asyncio.Future[Msg]):
    """A future fulfilled by each message of a subscription: the one public way past nats-py's queue and task."""

    def __init__(self, take: Callable[[Msg], object]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Msg) -> None:
        """Take a message; nats-py says it so, each time."""
        self._take(result)


class JetStream:
    """A fabric's stream, over one connection."""

    def __init__(self, client: Client, where: str, fabric: str, lose: Lose) -> None:
        self.client = client
        self.where = where
        self.stream = f"mcpf_{escape(fabric)}_work"
        self.lose = lose
        self._subjects = f"mcpf.{escape(fabric)}.work.*"
        self._replies = f"mcpf.{escape(fabric)}.reply.{secrets.token_hex(8)}"
        self._waiting: dict[str, tuple[str, TakeReply]] = {}
        self._count = 0
        self._gone = self._ended = False
        self._made = False  # by this connection

    async def open(self) -> None:
        """Listen for replies, and see that the stream is there; it is made if it is not. Raises BrokerError."""
        await self.listen("*", self._replied)
        try:
            await self.ask(f"STREAM.INFO.{self.stream}", {})
        except NoSuchStream:
            await self._make()

    async def tidy(self, server: str) -> None:
        """See Tidies. The stream goes only if we made it, and nobody has used it since."""
        name = escape(server)
        with suppress(_Refused):  # there is none
            await self.ask(f"CONSUMER.DELETE.{self.stream}.{name}", {})
        await self.ask(f"STREAM.PURGE.{self.stream}", {"filter": self._subjects.removesuffix("*") + name})
        if self._made:
            state = (await self.ask(f"STREAM.INFO.{self.stream}", {})).state
            if not state.messages and not state.consumer_count:
                await self.ask(f"STREAM.DELETE.{self.stream}", {})

    async def listen(self, tail: str, take: Callable[[Msg], object]) -> Subscription:
        """Take what is sent to this connection's own subjects that end so. Raises BrokerReset."""
        try:
            return await self.client.subscribe(f"{self._replies}.{tail}", future=Inlet(take))
        except NatsError as error:
            raise BrokerReset(f"{self.where}: {error}; see the broker's log") from None

    def subject(self, tail: str) -> str:
        """A subject of this connection's own."""
        return f"{self._replies}.{tail}"

    async def ask(self, what: str, request: Mapping[str, object]) -> _Answer:
        """One request to JetStream's API, and the answer. Raises NoSuchStream, BrokerDenied, a kind of BrokerUnavailable."""
        answer: asyncio.Future[Msg | BrokerError] = asyncio.get_running_loop().create_future()

        def take(said: Msg | BrokerError) -> None:
            if not answer.done():
                answer.set_result(said)

        reply = self._expect(f"{API}.{what}", take)
        try:
            await self.client.publish(f"{API}.{what}", msgspec.json.encode(request), reply)
            async with asyncio.timeout(REPLY_TIMEOUT):
                said = await answer
        except TimeoutError:
            raise BrokerTimeout(f"{self.where}: no answer to {what} within {REPLY_TIMEOUT:g} s; see the broker's log") from None
        except NatsError as error:
            raise BrokerReset(f"{self.where}: {error}; see the broker's log") from None
        finally:
            self._waiting.pop(reply, None)
        if isinstance(said, BrokerError):
            raise said
        try:
            told = msgspec.json.decode(said.data, type=_Answer) if said.data else _Answer(_Problem(code=503))
        except msgspec.DecodeError as error:
            raise BrokerProtocolError(f"{self.where}: JetStream's answer to {what} cannot be read: {error}") from None
        if (problem := told.error) is None:
            return told
        if problem.err_code == NO_STREAM:
            raise NoSuchStream(f"{self.where}: the stream {self.stream} is gone; somebody deleted it")
        if problem.code == 503:
            raise BrokerProtocolError(
                f"{self.where}: it has no JetStream for us; switch that on (`jetstream {{}}` in its configuration), or leave "
                "work=jetstream out of the broker's URL"
            )
        raise _Refused(f"{self.where}: JetStream refused {what}: {problem.description}", problem.err_code)

    def expect(self, subject: str) -> tuple[str, asyncio.Future[BrokerError | None]]:
        """For a publish to `subject`: where its confirmation is to go, and what it was: None, or why it surely is not kept.

        The future is cancelled when that will never be known.
        """
        outcome: asyncio.Future[BrokerError | None] = asyncio.get_running_loop().create_future()

        def confirmed(said: Msg | BrokerError) -> None:
            if outcome.done():
                return
            if isinstance(said, BrokerError) and self._ended:
                outcome.cancel()
                return
            try:
                outcome.set_result(said if isinstance(said, BrokerError) else self._refusal(subject, said))
            except msgspec.DecodeError:
                outcome.cancel()

        return self._expect(subject, confirmed), outcome

    async def confirmed(self, expected: Mapping[int, asyncio.Future[BrokerError | None]]) -> dict[int, BrokerError | None]:
        """The outcomes of publishes, of those that are known in time."""
        done, _ = await asyncio.wait(expected.values(), timeout=REPLY_TIMEOUT)
        if self._gone:
            self.lose(f"the stream {self.stream} is gone: somebody deleted it", BrokerReset)
        return {at: future.result() for at, future in expected.items() if future in done and not future.cancelled()}

    def denied(self, subject: str) -> None:
        """The server did not let us publish or subscribe to this subject, which it wrote in lower case."""
        deaf = subject.startswith(self._replies.lower())
        for reply, (awaited, take) in list(self._waiting.items()):
            if deaf or awaited.lower() == subject:
                del self._waiting[reply]
                said = f"subscribe to {self._replies}.>" if deaf else f"publish to {awaited}"
                take(BrokerDenied(denied_right(self.where, *said.rsplit(" ", 1))))
        for needed in (f"$JS.ACK.{self.stream}.", f"{API}.CONSUMER.MSG.NEXT.{self.stream}."):
            if subject.startswith(needed.lower()):
                self.lose(denied_right(self.where, "publish to", f"{needed}>").removeprefix(f"{self.where} "), BrokerDenied)

    def end(self, error: BrokerError) -> None:
        """The connection is lost: no reply will come."""
        self._ended = True
        waiting, self._waiting = self._waiting, {}
        for _, take in waiting.values():
            take(error.anew())

    async def _make(self) -> None:
        try:
            await self.ask(
                f"STREAM.CREATE.{self.stream}",
                {
                    "name": self.stream,
                    "subjects": [self._subjects],
                    "retention": "workqueue",
                    "storage": "file",
                    "num_replicas": 1,
                    "discard": "new",
                    "discard_new_per_subject": True,
                    "max_msgs_per_subject": MOST_WORK,
                    "max_age": WORK_TTL * 1_000_000_000,
                },
            )
            self._made = True
        except _Refused as refused:
            if refused.code != NAME_IN_USE:  # somebody made it in the same moment, in another way
                raise

    def _expect(self, subject: str, take: TakeReply) -> str:
        self._count += 1
        reply = self.subject(str(self._count))
        self._waiting[reply] = subject, take
        return reply

    def _replied(self, message: Msg) -> None:
        found = self._waiting.pop(message.subject, None)
        if found is not None:
            found[1](message)

    def _refusal(self, subject: str, said: Msg) -> BrokerError | None:
        if not said.data:  # nobody takes it
            self._gone = True
            return BrokerUnavailable(f"{self.where}: no stream takes {subject}; it is made anew with the next connection")
        problem = msgspec.json.decode(said.data, type=_Answer).error
        if problem is None:
            return None
        if problem.err_code == QUEUE_FULL:
            return PublishFailed(full(self.where, subject, MOST_WORK))
        return PublishFailed(f"{self.where}: {subject}: {problem.description}; see the stream {self.stream}")


class NoSuchStream(BrokerUnavailable):
    """The stream is not there."""


class _Refused(BrokerUnavailable):
    """JetStream said no, with a code of its own."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code

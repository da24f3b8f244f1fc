"""JetStream over a NATS connection: the stream that keeps a fabric's work, requests to its API, and confirmed publishes.

A fabric has one stream, a work queue: `mcpf_<fabric>_work` takes `mcpf.<fabric>.work.*` and keeps each message until a reader
acknowledges it. JetStream answers requests and confirms publishes by replies. All of them arrive on subjects of this connection
alone, so that a batch is sent at once and its replies are awaited together. (Decision 24: why not nats-py's JetStream context.)
Above it: adapter.py and work_reader.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from fabric.addressing import escape
from fabric.brokers.failure import denied_right, full
from fabric.brokers.nats.client import Client, Msg, NatsError
from fabric.brokers.nats.replies import Replies
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
"""The most messages of one server's queue, waiting or held by readers; a publish beyond fails."""

WORK_TTL = 600
"""Seconds that an unread message is kept: longer than a call waits by default."""

REPLY_TIMEOUT = 4.0
"""Seconds that JetStream has to answer or to confirm."""

API = "$JS.API"

NO_STREAM, NAME_IN_USE, QUEUE_FULL = 10059, 10058, 10077
"""The error codes of JetStream to which the adapter reacts."""

Lose = Callable[[str, type[BrokerError]], None]
"""Ends the connection for this reason, with an error of this kind."""


class _Problem(msgspec.Struct, frozen=True):
    """Why JetStream refused a request."""

    code: int = 0
    """The error's class, as in HTTP."""
    err_code: int = 0
    """JetStream's own code."""
    description: str = ""
    """The reason, for people."""


class _StreamState(msgspec.Struct, frozen=True):
    """The state of a stream."""

    messages: int = 0
    """How many messages it holds."""
    consumer_count: int = 0
    """How many consumers it has."""


class _ApiAnswer(msgspec.Struct, frozen=True):
    """The parts of JetStream's answers that the adapter reads."""

    error: _Problem | None = None
    """Why the request was refused, if it was."""
    state: _StreamState = _StreamState()
    """The stream's state, in answers about a stream."""


class JetStream:
    """A fabric's stream, over one connection."""

    def __init__(self, client: Client, where: str, fabric: str, lose: Lose) -> None:
        self.client = client
        self.where = where
        self.stream = f"mcpf_{escape(fabric)}_work"
        """The stream's name."""
        self.replies = Replies(client, where, fabric)
        self.lose = lose
        self._subjects = f"mcpf.{escape(fabric)}.work.*"
        self._gone = False
        self._made = False  # whether this connection has made the stream

    async def open(self) -> None:
        """Listen for replies, and make the stream unless it is there. Raises BrokerError."""
        await self.replies.open()
        try:
            await self.ask(f"STREAM.INFO.{self.stream}", {})
        except NoSuchStream:
            await self._make()

    async def tidy(self, server: str) -> None:
        """See Tidies. The stream is deleted only if we made it and it has neither messages nor consumers."""
        name = escape(server)
        with suppress(_Refused):  # there is no consumer
            await self.ask(f"CONSUMER.DELETE.{self.stream}.{name}", {})
        await self.ask(f"STREAM.PURGE.{self.stream}", {"filter": self._subjects.removesuffix("*") + name})
        if self._made:
            state = (await self.ask(f"STREAM.INFO.{self.stream}", {})).state
            if not state.messages and not state.consumer_count:
                await self.ask(f"STREAM.DELETE.{self.stream}", {})

    async def ask(self, request: str, parameters: Mapping[str, object]) -> _ApiAnswer:
        """Make one request to JetStream's API. Raises NoSuchStream, BrokerDenied, a kind of BrokerUnavailable."""
        answer: asyncio.Future[Msg | BrokerError] = asyncio.get_running_loop().create_future()

        def take(reply: Msg | BrokerError) -> None:
            if not answer.done():
                answer.set_result(reply)

        subject = f"{API}.{request}"
        reply_subject = self.replies.expect(subject, take)
        try:
            await self.client.publish(subject, msgspec.json.encode(parameters), reply_subject)
            async with asyncio.timeout(REPLY_TIMEOUT):
                reply = await answer
        except TimeoutError:
            reason = f"{self.where}: no answer to {request} within {REPLY_TIMEOUT:g} s; see the broker's log"
            raise BrokerTimeout(reason) from None
        except NatsError as error:
            raise BrokerReset(f"{self.where}: {error}; see the broker's log") from None
        finally:
            self.replies.forget(reply_subject)
        if isinstance(reply, BrokerError):
            raise reply
        try:
            decoded = msgspec.json.decode(reply.data, type=_ApiAnswer) if reply.data else _ApiAnswer(_Problem(code=503))
        except msgspec.DecodeError as error:
            raise BrokerProtocolError(f"{self.where}: JetStream's answer to {request} cannot be read: {error}") from None
        if (problem := decoded.error) is None:
            return decoded
        if problem.err_code == NO_STREAM:
            raise NoSuchStream(f"{self.where}: the stream {self.stream} is gone; somebody deleted it")
        if problem.code == 503:
            raise BrokerProtocolError(
                f"{self.where}: it has no JetStream for us; switch that on (`jetstream {{}}` in its configuration), or leave "
                "work=jetstream out of the broker's URL"
            )
        raise _Refused(f"{self.where}: JetStream refused {request}: {problem.description}", problem.err_code)

    def expect(self, subject: str) -> tuple[str, asyncio.Future[BrokerError | None]]:
        """The reply subject for a publish to `subject`, and its outcome: None, or why the message surely is not kept.

        The future is cancelled when the outcome will never be known.
        """
        outcome: asyncio.Future[BrokerError | None] = asyncio.get_running_loop().create_future()

        def confirmed(reply: Msg | BrokerError) -> None:
            if outcome.done():
                return
            if isinstance(reply, BrokerError) and self.replies.ended:
                outcome.cancel()
                return
            try:
                outcome.set_result(reply if isinstance(reply, BrokerError) else self._refusal(subject, reply))
            except msgspec.DecodeError:
                outcome.cancel()

        return self.replies.expect(subject, confirmed), outcome

    async def confirmed(self, expected: Mapping[int, asyncio.Future[BrokerError | None]]) -> dict[int, BrokerError | None]:
        """The outcomes of those publishes that become known within REPLY_TIMEOUT."""
        done, _ = await asyncio.wait(expected.values(), timeout=REPLY_TIMEOUT)
        if self._gone:
            self.lose(f"the stream {self.stream} is gone: somebody deleted it", BrokerReset)
        return {at: future.result() for at, future in expected.items() if future in done and not future.cancelled()}

    def denied(self, subject: str) -> None:
        """Handle the denial of a subject, in lower case as the server wrote it. Some subjects are vital to the connection."""
        self.replies.denied(subject)
        for needed in (f"$JS.ACK.{self.stream}.", f"{API}.CONSUMER.MSG.NEXT.{self.stream}."):
            if subject.startswith(needed.lower()):
                self.lose(denied_right(self.where, "publish to", f"{needed}>").removeprefix(f"{self.where} "), BrokerDenied)

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
            if refused.code != NAME_IN_USE:  # another process has made it in the same moment
                raise

    def _refusal(self, subject: str, reply: Msg) -> BrokerError | None:
        if not reply.data:  # no stream takes the subject
            self._gone = True
            return BrokerUnavailable(f"{self.where}: no stream takes {subject}; the next connection makes it again")
        problem = msgspec.json.decode(reply.data, type=_ApiAnswer).error
        if problem is None:
            return None
        if problem.err_code == QUEUE_FULL:
            return PublishFailed(full(self.where, subject, MOST_WORK))
        return PublishFailed(f"{self.where}: {subject}: {problem.description}; see the stream {self.stream}")


class NoSuchStream(BrokerUnavailable):
    """The stream does not exist."""


class _Refused(BrokerUnavailable):
    """JetStream refused a request. `code` is JetStream's own error code."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code

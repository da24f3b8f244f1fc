"""The subjects on which JetStream answers one connection, and the functions that wait for each answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from fabric.addressing import escape
from fabric.brokers.failure import denied_right
from fabric.brokers.nats.client import Client, Inlet, Msg, NatsError, Subscription
from fabric.errors import BrokerDenied, BrokerError, BrokerReset

TakeReply = Callable[[Msg | BrokerError], None]
"""Called with a reply, or with the reason why none will come."""


class Replies:
    """Reply subjects below a random name, which no other connection uses."""

    def __init__(self, client: Client, where: str, fabric: str) -> None:
        self.ended = False
        self._client = client
        self._where = where
        self._prefix = f"mcpf.{escape(fabric)}.reply.{secrets.token_hex(8)}"
        self._waiting: dict[str, tuple[str, TakeReply]] = {}  # by reply subject: the subject that was published to
        self._count = 0

    async def open(self) -> None:
        """Begin to listen for replies. Raises BrokerReset."""
        await self.listen("*", self._arrived)

    async def listen(self, tail: str, take: Callable[[Msg], object]) -> Subscription:
        """Have `take` called with each message to our subject with this tail. Raises BrokerReset."""
        try:
            return await self._client.subscribe(self.subject(tail), future=Inlet(take))
        except NatsError as error:
            raise BrokerReset(f"{self._where}: {error}; see the broker's log") from None

    def subject(self, tail: str) -> str:
        """Our subject with this tail."""
        return f"{self._prefix}.{tail}"

    def expect(self, subject: str, take: TakeReply) -> str:
        """The reply subject for a message to `subject`; `take` is called once with the reply."""
        self._count += 1
        reply = self.subject(str(self._count))
        self._waiting[reply] = subject, take
        return reply

    def forget(self, reply: str) -> None:
        """Wait no longer for a reply on this subject."""
        self._waiting.pop(reply, None)

    def denied(self, subject: str) -> None:
        """End the waits that need this subject, which the server has denied us. It wrote the subject in lower case."""
        replies_denied = subject.startswith(self._prefix.lower())
        for reply, (awaited, take) in list(self._waiting.items()):
            if replies_denied or awaited.lower() == subject:
                del self._waiting[reply]
                right, denied = ("subscribe to", f"{self._prefix}.>") if replies_denied else ("publish to", awaited)
                take(BrokerDenied(denied_right(self._where, right, denied)))

    def end(self, error: BrokerError) -> None:
        """End all waits, because the connection is lost."""
        self.ended = True
        waiting, self._waiting = self._waiting, {}
        for _, take in waiting.values():
            take(error.anew())

    def _arrived(self, message: Msg) -> None:
        wait = self._waiting.pop(message.subject, None)
        if wait is not None:
            wait[1](message)

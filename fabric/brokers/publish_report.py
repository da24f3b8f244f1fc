"""What became of the messages of one publish(): an adapter fills the report in, and PublishFailed is made of it."""

from __future__ import annotations

from collections.abc import Sequence

from fabric.errors import BrokerDenied, BrokerError, PublishFailed


class PublishReport:
    """The messages of one publish() that surely were not sent, by position, and why. The rest is published or unknown."""

    __slots__ = ("_denial", "unsent")

    def __init__(self) -> None:
        self.unsent: dict[int, str] = {}
        self._denial: BrokerDenied | None = None

    def refuse(self, position: int, reason: str | BrokerError) -> None:
        """Note that a message was not sent. A BrokerDenied becomes the cause of the PublishFailed."""
        self.unsent[position] = str(reason)
        if isinstance(reason, BrokerDenied):
            self._denial = reason

    def conclude(self, unknown: Sequence[int] = (), *, loss: BrokerError | None = None, unconfirmed: str = "") -> None:
        """Raise PublishFailed unless every message was published.

        unknown: the positions of messages that may have been sent. loss: why the connection was lost, if that is the reason.
        unconfirmed: the reason to give otherwise.
        """
        if unknown:
            reason, cause = (unconfirmed, self._denial) if loss is None else (str(loss), loss)
        elif self.unsent:
            reason, cause = self.unsent[min(self.unsent)], self._denial
        else:
            return
        raise PublishFailed(reason, unsent=sorted(self.unsent), unknown=unknown) from cause

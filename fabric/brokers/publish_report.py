"""The report about the messages of one publish(): an adapter fills it in, and it raises PublishFailed."""

from __future__ import annotations

from collections.abc import Sequence

from fabric.errors import BrokerDenied, BrokerError, PublishFailed


class PublishReport:
    """The results of one publish(). Messages that are not reported were published."""

    __slots__ = ("_denial", "unsent")

    def __init__(self) -> None:
        self.unsent: dict[int, str] = {}
        """By position, why a message surely was not sent."""
        self._denial: BrokerDenied | None = None

    def refuse(self, position: int, reason: str | BrokerError) -> None:
        """Report that a message was not sent. A BrokerDenied becomes the cause of the PublishFailed."""
        self.unsent[position] = str(reason)
        if isinstance(reason, BrokerDenied):
            self._denial = reason

    def conclude(self, unknown: Sequence[int] = (), *, loss: BrokerError | None = None, unconfirmed: str = "") -> None:
        """Raise PublishFailed unless every message was published.

        unknown: the positions of messages that may have been sent, because the connection was lost (`loss`) or for another
        reason (`unconfirmed`).
        """
        if unknown:
            reason, cause = (unconfirmed, self._denial) if loss is None else (str(loss), loss)
        elif self.unsent:
            reason, cause = self.unsent[min(self.unsent)], self._denial
        else:
            return
        raise PublishFailed(reason, unsent=sorted(self.unsent), unknown=unknown) from cause

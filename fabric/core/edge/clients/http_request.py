"""One HTTP request, as the Asker of its exchange: a POST, a DELETE, or a GET that reads an event stream.

Above it: http_requests.py, which makes them, and http_batch.py. Below it: routing.py, which puts a client's own ids back.
"""

from __future__ import annotations

import msgspec

from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.exchange import Exchange
from fabric.core.edge.routing import RequestRouting
from fabric.core.effects import Accept, Effect, Establish, Finish, Send
from fabric.envelope import Kind


class HttpResponses:
    """The HTTP requests that wait for their responses, and what is sent to their clients."""

    def __init__(self, routing: RequestRouting, slow: SlowLinks, out: list[Effect]) -> None:
        self.open: dict[str, Exchange] = {}
        """The exchanges of the requests that are not answered, by link, without those of batches."""
        self.routing = routing
        self.out = out
        self._slow = slow

    def send(self, exchange: Exchange, frame: bytes, stream: str, event: int, now: float) -> bool:
        """Send a message that comes before the response, if its client takes any and has room. Returns whether it was sent."""
        named = self.routing.restored_message(exchange, frame)
        if named is None or exchange.request.answer_only:
            return False
        link = exchange.asker.link
        if link in self._slow.behind and not self._slow.admits(link, exchange, named, exchange.id, now):
            return False
        self.out.append(Send(link, named, f"{stream}.{event}" if event >= 0 else ""))
        return True

    def establish(self, exchange: Exchange, answer: bytes) -> None:
        """Give the client of an initialize its session. answer: empty if there is none yet."""
        request, link = exchange.request, exchange.asker.link
        session, owner, server = exchange.id, exchange.owner, request.server
        self.out.append(Establish(link, session, owner, server, request.principal, request.opening, answer))


class HttpRequest(msgspec.Struct, eq=False):
    """A POST or DELETE that waits for its response. It is the Asker of its exchange."""

    responses: HttpResponses
    """All HTTP requests of the edge."""
    link: str
    """See Asker.link."""

    def begin(self, exchange: Exchange) -> None:
        """Its exchange is made, which may have to wait, or be refused, before it is opened."""
        self.responses.open[self.link] = exchange

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """See Asker.message."""
        return self.link != "" and self.responses.send(exchange, frame, exchange.id, event, now)

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> bool:
        """See Asker.answered."""
        responses, request = self.responses, exchange.request
        frame, ok = responses.routing.restored_answer(exchange, answer, now)
        if ok and request.kind is Kind.OPEN and self.link and not exchange.promised:
            responses.establish(exchange, answer)
        self.respond(exchange, frame)
        return ok

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:  # noqa: ARG002
        """See Asker.refused."""
        self.respond(exchange, error)

    def respond(self, exchange: Exchange, frame: bytes) -> None:
        """Send the last frame, with its event id if it ends a stream."""
        if self.responses.open.pop(self.link, None) is not None:
            event = f"{exchange.id}.{exchange.event}" if exchange.event >= 0 and exchange.streaming else ""
            self.responses.out.append(Send(self.link, frame, event, True))

    def done(self, exchange: Exchange) -> None:  # noqa: ARG002
        """See Asker.done."""
        if self.responses.open.pop(self.link, None) is not None:
            self.responses.out.append(Accept(self.link))

    def ended(self, exchange: Exchange) -> None:  # noqa: ARG002
        """See Asker.ended."""
        if self.responses.open.pop(self.link, None) is not None:
            self.responses.out.append(Finish(self.link))
            self.link = ""


class EventStream(HttpRequest):
    """A GET that reads a stream of a session. It has no response of its own once a message was sent on it."""

    stream: str = ""
    """The id of the stream: that of the session for its own stream, else the exchange of a request."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """See Asker.message."""
        return self.link != "" and self.responses.send(exchange, frame, self.stream, event, now)

    def respond(self, exchange: Exchange, frame: bytes) -> None:
        """See HttpRequest.respond."""
        if exchange.streaming:
            self.ended(exchange)
        else:
            super().respond(exchange, frame)

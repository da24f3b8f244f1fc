"""A posted batch: one HTTP request that holds several messages. Each is an exchange of its own; they are answered together.

Above it: http_requests.py. Below it: http_request.py, and fabric/mcp/batches.py, which knows what a batch is.
"""

from __future__ import annotations

from fabric.core.edge.clients.http_request import HttpRequest, HttpResponses
from fabric.core.edge.exchange import Exchange
from fabric.core.effects import Accept, Finish, Send
from fabric.core.events import RequestPosted
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason, fault_frame
from fabric.mcp import jsonrpc
from fabric.mcp.batches import ARRAY_BYTES, Answers, asks
from fabric.mcp.jsonrpc import Message, MessageKind


class HttpBatch:
    """The state that the members of a batch share. It ends its client's request when the last of them has ended."""

    def __init__(
        self,
        responses: HttpResponses,
        batches: dict[str, HttpBatch],
        event: RequestPosted,
        members: list[Message | InvalidFrame],
    ) -> None:
        """batches: those that are not answered in full, by link; this one is among them until it is."""
        self.open: dict[str, Exchange] = {}
        """The exchanges of its members that are not over, by id."""
        self.streaming = False
        """Whether its client has got a message before the last answers."""
        self.responses = responses
        self.link = event.link
        self._server = event.server
        self._answer_only = event.answer_only
        self._answers = Answers(len(members))
        self._asks = asks(members)
        self._refusal = b""
        self._batches = batches
        batches[event.link] = self

    def refuse(self, frame: bytes) -> None:
        """A member that needs no answer was refused, with this error."""
        self._refusal = frame
        self.settle(b"")

    def settle(self, answer: bytes) -> None:
        """A member is over, with this answer; empty for none.

        A client that takes no stream gets all answers in one array, so their bytes are bounded together.
        """
        if self._answer_only and self._answers.bytes + len(answer) > ARRAY_BYTES:
            reason = f"the answers to this batch have over {ARRAY_BYTES} bytes: accept text/event-stream"
            answer = fault_frame(jsonrpc.message_id(answer), Fault(Reason.TOO_LARGE, reason), server=self._server)
        array = self._answers.settle(answer)
        if not self._answers.missing:
            self._end(array)
        elif array:
            self.streaming = True
            self.responses.out.append(Send(self.link, array))

    def _end(self, array: bytes) -> None:
        del self._batches[self.link]
        if array:
            self.responses.out.append(Send(self.link, array, "", True))
        elif self.streaming or self._asks:
            self.responses.out.append(Finish(self.link))
        elif self._refusal:
            self.responses.out.append(Send(self.link, self._refusal, "", True))
        else:
            self.responses.out.append(Accept(self.link))


class BatchMember(HttpRequest):
    """One message of a batch, as the Asker of its exchange."""

    batch: HttpBatch
    """The batch that it is a member of."""
    kind: MessageKind
    """The kind of its message."""

    def begin(self, exchange: Exchange) -> None:
        """See HttpRequest.begin."""
        self.batch.open[exchange.id] = exchange

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:  # noqa: ARG002
        """See Asker.message. The batch's stream cannot be resumed, and has no numbers: members share it."""
        sent = super().message(exchange, frame, -1, now)
        self.batch.streaming |= sent
        return sent

    def respond(self, exchange: Exchange, frame: bytes) -> None:
        """See HttpRequest.respond."""
        if self.batch.open.pop(exchange.id, None) is not None:
            if self.kind is MessageKind.REQUEST:
                self.batch.settle(frame)
            else:
                self.batch.refuse(frame)

    def done(self, exchange: Exchange) -> None:
        """See Asker.done."""
        if self.batch.open.pop(exchange.id, None) is not None:
            self.batch.settle(b"")

    def ended(self, exchange: Exchange) -> None:
        """See Asker.ended."""
        self.done(exchange)
        self.link = ""

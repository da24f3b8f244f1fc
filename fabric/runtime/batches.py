"""Batches at run time: one that a client posted, as a link for each of its messages; one that a server wrote, as its messages.

Above it: edge.py and bridge.py. Below it: fabric/mcp/batches.py, which has the rules. So the core sees no batch but those of
long links, whose messages have to keep their order behind an initialize (core/edge/clients/long_links.py).
"""

from __future__ import annotations

import msgspec

from fabric.errors import InvalidFrame
from fabric.faults import Fault, Lost, Reason, fault_frame
from fabric.links.base import LinkInfo, RequestLink
from fabric.links.mending import broken
from fabric.mcp import batches, jsonrpc
from fabric.mcp.batches import ARRAY_BYTES, Answers, asks
from fabric.mcp.jsonrpc import Message, MessageKind


class PostedBatch:
    """What the links of a batch's members share. It ends the client's request when the last of them has ended."""

    def __init__(self, link: RequestLink, members: list[Message | InvalidFrame]) -> None:
        """link: of the client's request. members: as batches.in_session has them."""
        self.link = link
        self._answers = Answers(len(members))
        self._streaming = False
        self._refusal = b""
        self._asked = asks(members)
        self.links = [
            (MemberLink(self, f"{link.info.id}#{place}", member.kind is MessageKind.REQUEST), member)
            for place, member in enumerate(members)
            if isinstance(member, Message)
        ]
        for member in members:
            if not isinstance(member, Message):
                self.settle(jsonrpc.error_frame(member.id, member.code, member.reason))

    def send(self, frame: bytes) -> None:
        """A message that is no answer. Its stream cannot be resumed: several streams share it."""
        self._streaming = True
        self.link.send(frame)

    def refuse(self, frame: bytes) -> None:
        """A member that needs no answer was not accepted."""
        self._refusal = frame
        self.settle(b"")

    def settle(self, answer: bytes) -> None:
        """A member is over. A client that takes no stream has all answers in one array, which is bounded."""
        if self.link.info.answer_only and self._answers.bytes + len(answer) > ARRAY_BYTES:
            fault = Fault(
                Reason.TOO_LARGE, f"the answers to this batch have over {ARRAY_BYTES} bytes: accept text/event-stream"
            )
            answer = fault_frame(jsonrpc.message_id(answer), fault, server=self.link.info.server)
        array = self._answers.settle(answer)
        if self._answers.missing:
            if array:
                self.send(array)
        elif array:
            self.link.send(array, final=True)
        elif self._streaming:
            self.link.finish()
        elif self._refusal and not self._asked:
            self.link.send(self._refusal, final=True)
        elif self._asked:
            self.link.finish()
        else:
            self.link.accept()


class MemberLink:
    """A RequestLink (links/base.py) for one member of a batch."""

    def __init__(self, batch: PostedBatch, id: str, asks: bool) -> None:
        self.info: LinkInfo = msgspec.structs.replace(batch.link.info, id=id)
        self._batch = batch
        self._asks = asks

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:  # noqa: ARG002 - see PostedBatch.send
        """See Link.send."""
        if not final:
            self._batch.send(frame)
        elif self._asks:
            self._batch.settle(frame)
        else:
            self._batch.refuse(frame)

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes: of all the batch."""
        return self._batch.link.unsent_bytes

    def accept(self) -> None:
        """See RequestLink.accept."""
        self._batch.settle(b"")

    def establish(self, token: str) -> None:  # noqa: ARG002 - it never comes to this
        """See RequestLink.establish."""
        raise AssertionError("no initialize is let into a batch")

    def finish(self) -> None:
        """See RequestLink.finish."""
        self._batch.settle(b"")

    async def drain(self) -> None:
        """See Link.drain."""
        await self._batch.link.drain()


def written_by(server: str, batch: Message) -> tuple[list[Message], int]:
    """The messages of an array that a server wrote, with what stands for each broken answer; and how many members it has.

    What names no request and is no message is left out.
    """
    try:
        members = batches.split(batch)
    except InvalidFrame as error:
        return [broken(b"", server, error.reason)], 1
    found = [each if isinstance(each, Message) else broken(each.id, server, each.reason) for each in members]
    return [each for each in found if not (isinstance(each, Lost) and each.id == b"null")], len(members)

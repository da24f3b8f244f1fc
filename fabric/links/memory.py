"""A pair of links within one process, each the other's peer: for embedding and for tests. Frames pass between them as bytes."""

from __future__ import annotations

from fabric.errors import EndOfLink, LinkBroken, LinkError
from fabric.links.base import Link, LinkInfo
from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.link import StreamLink
from fabric.links.stream.outgoing import OutgoingFrames


def pair(
    a: LinkInfo, b: LinkInfo, *, max_frame_bytes: int = DEFAULT_FRAME_BYTES, stall_timeout: float = DEFAULT_STALL_TIMEOUT
) -> tuple[Link, Link]:
    """Two links, of which each receives the frames sent on the other, then EndOfLink once the other has closed."""
    a_in, b_in = IncomingFrames(max_frame_bytes), IncomingFrames(max_frame_bytes)
    a_out, b_out = OutgoingFrames(stall_timeout), OutgoingFrames(stall_timeout)
    to_b, to_a = _Direction(a_out, b_in, b_out), _Direction(b_out, a_in, a_out)
    a_out.attach(to_b)
    b_in.attach(to_b)
    b_out.attach(to_a)
    a_in.attach(to_a)
    return StreamLink(a, a_in, a_out, to_b.shut), StreamLink(b, b_in, b_out, to_a.shut)


class _Direction:
    """One direction of the pair: the sink of the writer and the source of the reader."""

    def __init__(self, writer: OutgoingFrames, reader: IncomingFrames, readers_outgoing: OutgoingFrames) -> None:
        self._writer, self._reader, self._readers_outgoing = writer, reader, readers_outgoing
        self._closed = False

    def write(self, data: bytes) -> None:
        self._reader.feed(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._writer.pause()

    def resume_reading(self) -> None:
        self._writer.resume()

    def is_closing(self) -> bool:
        return self._closed

    def abort(self) -> None:
        self._end(LinkBroken("the other end of the pair broke"))

    async def shut(self) -> None:
        self._end(EndOfLink("the other end of the pair was closed"))

    def _end(self, error: LinkError) -> None:
        self._closed = True
        self._reader.end(error)
        self._readers_outgoing.end(LinkBroken(*error.args))

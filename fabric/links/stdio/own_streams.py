"""The link to a client over our own stdin and stdout: `mcp-fabric connect`, run by an MCP host, serves it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sys

from fabric.errors import EndOfLink, LinkBroken, LinkRefused, LinkUnwritable
from fabric.links.base import LinkInfo
from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT
from fabric.links.stdio.pipes import open_sink, open_source
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.link import StreamLink
from fabric.links.stream.outgoing import OutgoingFrames, drop, flushed

_READER_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EIO)  # of a pipe, a socket, a terminal


async def own(
    id: str, server: str, *, max_frame_bytes: int = DEFAULT_FRAME_BYTES, stall_timeout: float = DEFAULT_STALL_TIMEOUT
) -> StreamLink:
    """Take over stdin and stdout as a client's link to `server`. Each may be a pipe, a socket, a terminal or a file.

    The link ends with EndOfLink when stdin ends, and answers can still be sent; it breaks when stdout has no reader any more.
    Until aclose(), everything else that the process prints goes to stderr, so that stdout carries only MCP messages. Raises
    LinkRefused if one of the two is closed. Its aclose() raises LinkUnwritable if frames could not be written though the reader
    of stdout is still there.
    """
    stdio = _Own(max_frame_bytes, stall_timeout)
    try:
        await stdio.start()
    except OSError as error:
        raise LinkRefused(f"stdin or stdout cannot be used: {error.strerror}") from error
    info = LinkInfo(id=id, transport="stdio", server=server, peer="stdin and stdout")
    return StreamLink(info, stdio.incoming, stdio.outgoing, stdio.shut)


class _Own:
    """Our standard streams while they are a link."""

    def __init__(self, max_frame_bytes: int, stall_timeout: float) -> None:
        self.incoming = IncomingFrames(max_frame_bytes)
        self.outgoing = OutgoingFrames(stall_timeout)
        self._stdout_gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unwritable = ""

    async def start(self) -> None:
        """Take the streams over."""
        for fd, name, other_way in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY)):
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == other_way:
                raise OSError(errno.EBADF, f"{name} is closed")
        sys.stdout.flush()
        self._blocking = os.get_blocking(0), os.get_blocking(1)
        self._source = await open_source(os.dup(0), self.incoming.feed, self._stdin_ended)
        self.incoming.attach(self._source)
        self._stdout = os.dup(1)
        self._sink = await open_sink(os.dup(1), self.outgoing, self._stdout_ended)
        os.dup2(2, 1)

    def _stdin_ended(self) -> None:
        self.incoming.end(EndOfLink("the client closed our stdin"))

    def _stdout_ended(self, error: OSError | None) -> None:
        broken = LinkBroken("the client no longer reads our stdout")
        if error is not None and error.errno not in _READER_LEFT:
            self._unwritable = f"stdout cannot be written: {error.strerror}"
            broken = LinkUnwritable(self._unwritable)
        self.outgoing.end(broken)
        self.incoming.end(broken)
        if not self._stdout_gone.done():
            self._stdout_gone.set_result(None)

    async def shut(self) -> None:
        """Send the queued frames, in bounded time, and give the streams back as they were."""
        self._source.close()
        self._sink.close()
        try:
            await flushed(self._stdout_gone, self._sink)
            if not self._stdout_gone.done() and (unread := self._sink.get_write_buffer_size()):
                self._unwritable = f"{unread} bytes of answers on stdout were not read in time"
        finally:
            drop(self._sink)
            sys.stdout.flush()  # text printed meanwhile has to go to stderr, before stdout is itself again
            os.dup2(self._stdout, 1)
            os.close(self._stdout)
            # The process that started us may share the descriptors, and does not expect them to be non-blocking.
            os.set_blocking(0, self._blocking[0])
            os.set_blocking(1, self._blocking[1])
        if self._unwritable:
            raise LinkUnwritable(self._unwritable)

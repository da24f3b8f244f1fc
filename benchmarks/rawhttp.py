"""The client side of HTTP/1.1, as little of it as checks every reply: one request at a time on a connection that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

_STEP_TIMEOUT = 15.0


class ReplyError(Exception):
    """A reply that is not the answer to what was asked."""


class _Event(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()
    method: str = ""


_event = msgspec.json.Decoder(_Event)


class Response(msgspec.Struct):
    """One response: its status, its head as it came, its body without chunking."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes:
        """A header's value; `name` is in lower case. Empty without it."""
        at = self.head.lower().find(b"\r\n" + name + b":") + len(name) + 3
        return self.head[at : self.head.index(b"\r", at)].strip() if at > len(name) + 2 else b""

    def message(self) -> bytes:
        """The JSON-RPC response: the body, or that message of an event stream that is neither notification nor request."""
        if self.body.startswith(b"{"):
            return self.body
        for event in self.body.replace(b"\r\n", b"\n").split(b"\n\n"):
            data = b"\n".join(line[5:].lstrip() for line in event.split(b"\n") if line.startswith(b"data:"))
            if data and (seen := _event.decode(data)).id and not seen.method:
                return data
        raise ReplyError(f"no response in {self.body[:300]!r}")


def parse(data: bytes) -> Response | None:
    """The response that `data` is, None while it is not whole. Raises ReplyError for bytes beyond its end."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = data[: end - 2].lower()
    at = head.find(b"\r\ncontent-length:") + 17
    if at > 16:
        stop = end + int(head[at : head.index(b"\r", at)])
        body = data[end:stop]
    elif b"\r\ntransfer-encoding: chunked\r\n" in head:
        parts, stop, length = [], end, -1
        while length:
            line = data.find(b"\r\n", stop) + 2
            if line < 2:
                return None
            length = int(data[stop : line - 2].partition(b";")[0], 16)
            stop = line + length + 2
            parts.append(data[line : stop - 2])
        body = b"".join(parts)
    else:
        stop, body = end, b""
    if len(data) < stop:
        return None
    if len(data) > stop:
        raise ReplyError(f"bytes nobody asked for: {data[stop : stop + 300]!r}")
    return Response(int(head[9:12]), data[: end - 2], body)


class Connection(asyncio.Protocol):
    """One connection: `heard` is called with each response, `failed` once with what ended it."""

    def __init__(self) -> None:
        self.heard: Callable[[Response], None] = lambda _: None
        self.failed: Callable[[Exception], None] = lambda _: None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self.write = cast("asyncio.WriteTransport", transport).write  # uvloop's own class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        """Collect a response."""
        data = self._buffer + data if self._buffer else data
        try:
            response = parse(data)
            self._buffer = b"" if response else data
            if response:
                self.heard(response)
        except (ReplyError, ValueError, IndexError, msgspec.DecodeError) as error:
            self.failed(error if isinstance(error, ReplyError) else ReplyError(f"{error}: {data[:1000]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server is not to close while we talk."""
        self.failed(exc or ConnectionError("the server closed the connection"))

    async def ask(self, request: bytes) -> Response:
        """One request, one response. Raises ReplyError for a status that is not 2xx."""
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        self.heard, self.failed = future.set_result, failed
        self.write(request)
        response = await asyncio.wait_for(future, _STEP_TIMEOUT)
        if response.status // 100 != 2:
            raise ReplyError(f"status {response.status}: {response.body[:300]!r}")
        return response

"""Compares WebSocket implementations: an echo server's CPU for each message, and messages a second.

`python -m benchmarks.websockets`. `link` is our whole link: framing, a Link, a task, a parsed message. The others are bare echo
servers. wsproto and picows are included if they are installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import psutil
import uvloop
from websockets.asyncio.server import serve
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from fabric.errors import LinkError
from fabric.links.base import Link
from fabric.links.http.settings import HttpSettings
from fabric.links.http.websockets import listen
from fabric.links.websocket.frames import FrameReader, FrameWriter

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SIZES, WINDOWS, ROUNDS = (64, 300), {1: 10_000, 32: 100_000}, 5


# ---------------------------------------------------------------- the servers
class Bare(asyncio.Protocol):
    """Answers the first bytes with status 101, then echoes frames; those of one read leave in one write."""

    def __init__(self, frames: Callable[[bytes], bytes]) -> None:
        self.frames, self.open, self.out = frames, False, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the handshake, then the frames."""
        if self.open:
            self.transport.write(self.frames(data))
        else:
            self.open = True
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


def own() -> Callable[[bytes], bytes]:
    """The framing of our link, without the link."""
    reader, writer = FrameReader(1 << 24, masked=True), FrameWriter(masked=False)
    return lambda data: writer.join([message for message in reader.feed(data) if isinstance(message, bytes)])


def sansio() -> Callable[[bytes], bytes]:
    """The `websockets` package without its I/O."""
    protocol = ServerProtocol(state=OPEN, max_size=1 << 24)

    def echo(data: bytes) -> bytes:
        protocol.receive_data(data)
        for frame in protocol.events_received():
            assert getattr(frame, "opcode", None) is Opcode.TEXT
            protocol.send_text(frame.data)  # type: ignore[union-attr]  # the assertion proves that it is a frame
        return b"".join(protocol.data_to_send())

    return echo


def wsproto() -> Callable[[bytes], bytes]:
    """The `wsproto` package."""
    library: Any = importlib.import_module("wsproto.connection")
    text: Any = importlib.import_module("wsproto.events").TextMessage
    connection = library.Connection(library.ConnectionType.SERVER)

    def echo(data: bytes) -> bytes:
        connection.receive_data(data)
        return b"".join([connection.send(text(event.data)) for event in connection.events()])

    return echo


def bare(frames: Callable[[], Callable[[bytes], bytes]]) -> Callable[[], Awaitable[int]]:
    """A server of Bare connections."""

    async def start() -> int:
        server = await asyncio.get_running_loop().create_server(lambda: Bare(frames()), "127.0.0.1", 0)
        return _port(server)

    return start


async def link() -> int:
    """A server with our whole link."""

    async def echo(link: Link) -> None:
        with contextlib.suppress(LinkError):
            while True:
                link.send((await link.receive()).frame)

    listener = await listen(echo, HttpSettings(resolve=lambda _: "echo"))
    return int(listener.address.rpartition(":")[2])


async def websockets_asyncio() -> int:
    """The `websockets` package with its asyncio server."""

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    return _port(await serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None))


async def picows() -> int:
    """The `picows` package."""
    library: Any = importlib.import_module("picows")

    class Echo(library.WSListener):  # type: ignore[misc]  # it may not be installed
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    return _port(await library.ws_create_server(lambda _: Echo(), "127.0.0.1", 0))


def _port(server: Any) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


KINDS: dict[str, Callable[[], Awaitable[int]]] = {
    "link": link,
    "own frames": bare(own),
    "websockets sans-I/O": bare(sansio),
    "websockets asyncio": websockets_asyncio,
    "wsproto": bare(wsproto),
    "picows": picows,
}


async def run(kind: str) -> None:
    """Serve, and print the port."""
    print(await KINDS[kind](), flush=True)
    await asyncio.Event().wait()


# ---------------------------------------------------------------- the client
class Client(asyncio.Protocol):
    """Keeps `window` copies of one frame in flight, and counts the echoes."""

    def __init__(self, size: int, window: int, total: int) -> None:
        text = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"%b"}}'
        message = text % (b"x" * (size - len(text) + 2))
        self.frame = FrameWriter(masked=True).join([message])
        self.back = len(FrameWriter(masked=False).join([message]))
        self.window, self.total, self.sent, self.seen, self.bytes = window, total, 0, 0, 0
        loop = asyncio.get_running_loop()
        self.ready, self.done = loop.create_future(), loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(UPGRADE)

    def start(self) -> None:
        """Fill the window."""
        self.transport.write(self.frame * self.window)
        self.sent = self.window

    def data_received(self, data: bytes) -> None:
        """Read the handshake's answer, then count echoes."""
        if not self.ready.done():
            self.ready.set_result(None)
            return
        self.bytes += len(data)
        more, self.seen = self.bytes // self.back - self.seen, self.bytes // self.back
        if self.seen >= self.total:
            self.done.set_result(None)
        elif more := min(more, self.total - self.sent):
            self.transport.write(self.frame * more)
            self.sent += more


async def measured(server: psutil.Process, port: int, size: int, window: int) -> tuple[float, float]:
    """Microseconds of the server's CPU for a message, and messages a second."""
    total = WINDOWS[window]
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(lambda: Client(size, window, total), "127.0.0.1", port)
    await asyncio.wait_for(client.ready, 60)
    before, start = sum(server.cpu_times()[:2]), time.perf_counter()
    client.start()
    await asyncio.wait_for(client.done, 60)
    elapsed, used = time.perf_counter() - start, sum(server.cpu_times()[:2]) - before
    transport.abort()
    return used / total * 1e6, total / elapsed


def main() -> None:
    """Measure every implementation, one after the other."""
    print("| framing |" + "".join(f" {size} B, {window} in flight |" for size in SIZES for window in WINDOWS))
    print("|---|" + "---|" * len(SIZES) * len(WINDOWS))
    for kind in KINDS:
        if importlib.util.find_spec(kind.partition(" ")[0]) is None and kind in ("wsproto", "picows"):
            continue
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.websockets", kind], stdout=subprocess.PIPE, stderr=-3)
        assert process.stdout is not None
        port, cells = int(process.stdout.readline()), []
        for size in SIZES:
            for window in WINDOWS:
                server = psutil.Process(process.pid)
                rounds = [uvloop.run(measured(server, port, size, window)) for _ in range(ROUNDS)]
                cells.append(f" {min(cpu for cpu, _ in rounds):.1f} us, {max(rate for _, rate in rounds) / 1000:.0f}k/s |")
        process.kill()
        process.wait()
        print(f"| {kind} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(run(sys.argv[1]))
    else:
        main()

"""The client: it keeps calls in flight over several sessions, and checks the id and text of every reply.

It is raw asyncio on uvloop in a process of its own, and differs between transports only in how a message is sent. All sessions
use the same ids, so a misrouted reply meets another call with the same id; every text is used once, so the mistake is detected.
The CPU of the server's processes is read at the same time as the count of replies.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import msgspec
import uvloop

from benchmarks.measure import Tree
from benchmarks.rawhttp import open_http
from benchmarks.rawlines import open_child, open_socket
from benchmarks.rawws import open_websocket
from benchmarks.wire import LEGACY, MODERN, Connection, ReplyError, Wire

_ANSWER_TIMEOUT = 15.0
_FIRST_ID = 1_000_000  # ids and texts of one length each, so that what surrounds them is made once for all of a client's calls


class Load(msgspec.Struct, frozen=True):
    """One run: calls are kept in flight, and `seconds` after `warm_up` are measured."""

    url: str
    """http://, ws://, tcp://, unix://PATH or stdio:COMMAND."""
    modern: bool
    """Whether calls are of the modern era."""
    tool: str
    """`echo` may be repeated, `act` needs a grant."""
    window: int
    """Calls in flight, in all."""
    sessions: int
    """Clients that share the window."""
    seconds: float
    warm_up: float
    tree: list[int]
    """The root processes of the server."""


class Figures(msgspec.Struct, frozen=True):
    """The results of a run; times are in seconds."""

    requests: int
    rate: float
    """Requests a second."""
    p50: float
    p99: float
    tree_cpu: float
    """CPU of all processes of the server, per request."""
    parts: dict[str, float]
    """The same by the processes' names."""
    client_cpu: float
    """CPU of the client, per request."""
    client_busy: float
    """The client's share of one core."""


class _Content(msgspec.Struct):
    text: str


class _Result(msgspec.Struct):
    content: list[_Content]


class _Message(msgspec.Struct):
    id: int = -1
    result: _Result | None = None
    method: str = ""


_message = msgspec.json.Decoder(_Message)


def _text(number: int) -> bytes:
    """The payload: 64 bytes that no other call of the run carries."""
    return b"%064d" % number


async def _wire(load: Load) -> Wire:
    """Open the wire of one session."""
    depth = load.window // load.sessions
    match load.url.partition(":")[0]:
        case "http":
            return await open_http(load.url, depth, modern=load.modern)
        case "ws":
            return await open_websocket(load.url, depth)
        case "stdio":
            return await open_child(load.url, depth)
        case _:
            return await open_socket(load.url, depth)


class Session:
    """One MCP client, a legacy session or a modern one, with ids of its own."""

    def __init__(self, load: Load, wire: Wire) -> None:
        self.wire = wire
        self._modern, self._tool, self._id = load.modern, load.tool, _FIRST_ID
        meta = f'{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}'
        self._meta = f',"_meta":{meta}' if load.modern else ""

    async def _request(self, method: str, params: str) -> bytes:
        self._id += 1
        body = f'{{"jsonrpc":"2.0","id":{self._id},"method":"{method}","params":{params}}}'
        return await self.wire.request(body.encode(), method)

    async def open(self) -> None:
        """Open the session, find the tool, and prepare calls. Raises ReplyError, ConnectionError or TimeoutError."""
        if not self._modern:
            info = '"capabilities":{},"clientInfo":{"name":"benchmark-load","version":"1"}'
            await self._request("initialize", f'{{"protocolVersion":"{LEGACY}",{info}}}')
            await self.wire.notify(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', "notifications/initialized")
        answer = await self._request("tools/list", f"{{{self._meta[1:]}}}")
        if f'"{self._tool}"'.encode() not in answer:
            raise ReplyError(f"no tool {self._tool}: {answer[:300]!r}")
        params = f'{{"name":"{self._tool}","arguments":{{"text":"%b"}}{self._meta}}}'
        body = f'{{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{params}}}'.encode()
        filled = body % (self._id, _text(0))
        before, after = self.wire.packed(filled, "tools/call", self._tool).split(filled)
        self._call = before.replace(b"%", b"%%") + body + after.replace(b"%", b"%%")

    def call(self, text: bytes) -> tuple[int, bytes]:
        """The id and the bytes of the next tools/call; `text` is 64 bytes."""
        self._id += 1
        return self._id, self._call % (self._id, text)


class Tally:
    """What all callers of a run share: the latencies of replies, the calls in flight, and the first failure."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.texts = 0
        self.in_flight = 0
        self.stopping = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End the run with this error."""
        if not self.done.done():
            self.done.set_exception(error)


class Caller:
    """Makes calls over one connection: the next one with each reply."""

    def __init__(self, connection: Connection, session: Session, tally: Tally) -> None:
        self._connection, self._session, self._tally = connection, session, tally
        self._pending: dict[int, tuple[bytes, float]] = {}
        connection.on_message, connection.on_failure = self._on_message, tally.fail

    def call(self) -> None:
        """Send the next call."""
        tally = self._tally
        tally.texts += 1
        tally.in_flight += 1
        text = _text(tally.texts)
        id, request = self._session.call(text)
        self._pending[id] = text, time.perf_counter()
        self._connection.write(request)

    def _on_message(self, message: bytes) -> None:
        now = time.perf_counter()
        reply = _message.decode(message)
        if reply.method:
            return  # a notification
        text, started = self._pending.pop(reply.id, (b"no such call", now))
        if reply.result is None or reply.result.content[0].text != text.decode():
            raise ReplyError(f"call {reply.id} of {text!r} was answered {message[:300]!r}")
        tally = self._tally
        tally.latencies.append(now - started)
        tally.in_flight -= 1
        if not tally.stopping:
            self.call()
        elif not tally.in_flight:
            tally.done.set_result(None)


async def run(load: Load) -> Figures:
    """Run one load.

    Raises ReplyError for the first reply that is wrong, ConnectionError for a lost connection, TimeoutError for a lost reply.
    """
    tally = Tally()
    sessions = [Session(load, await _wire(load)) for _ in range(load.sessions)]
    for session in sessions:
        await session.open()
    tree = Tree(*load.tree, *(pid for session in sessions for pid in session.wire.pids))
    gc.disable()  # this client makes no cycles, and its pauses would count as the server's latency
    for session in sessions:
        for connection in session.wire.connections:
            caller = Caller(connection, session, tally)
            for _ in range(session.wire.depth):
                caller.call()
    await asyncio.wait([tally.done], timeout=load.warm_up)
    latencies = tally.latencies = []
    tree_before, own_before, before = tree.cpu(), time.process_time(), time.perf_counter()
    await asyncio.wait([tally.done], timeout=load.seconds)
    while len(latencies) < load.window and time.perf_counter() < before + _ANSWER_TIMEOUT and not tally.done.done():
        await asyncio.wait([tally.done], timeout=load.seconds)  # a slow server gets time for one reply to each call
    after, own_after, tree_after = time.perf_counter(), time.process_time(), tree.cpu()
    tally.stopping, count = True, len(latencies)
    await asyncio.wait([tally.done], timeout=_ANSWER_TIMEOUT)
    if not tally.done.done():
        raise TimeoutError(f"{tally.in_flight} of {load.window} calls in flight were never answered")
    tally.done.result()
    if not count:
        raise TimeoutError(f"no call was answered within {_ANSWER_TIMEOUT:g} s")
    for session in sessions:
        await session.wire.end()
    gc.enable()
    latencies = sorted(latencies[:count])
    own = own_after - own_before
    parts = {name: (tree_after[name] - tree_before[name]) / count for name in {**tree_before, **tree_after}}
    return Figures(
        requests=count,
        rate=count / (after - before),
        p50=latencies[count // 2],
        p99=latencies[count * 99 // 100],
        tree_cpu=sum(parts.values()),
        parts=parts,
        client_cpu=own / count,
        client_busy=own / (after - before),
    )


def main() -> None:
    """Run Loads, given as a JSON array, one after the other; print an array of their figures."""
    figures = []
    for load in msgspec.json.decode(sys.argv[1], type=list[Load]):
        try:
            figures.append(uvloop.run(run(load)))
        except (ReplyError, OSError, TimeoutError) as error:
            sys.exit(f"{load.url}: {type(error).__name__}: {error}")
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()

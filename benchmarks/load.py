"""The client: keeps a number of calls in flight over a number of sessions and checks the id and text of every reply.

Raw asyncio on uvloop, in a process of its own, the same for every transport but for how a message travels. Sessions count their
ids alike, so a reply that went astray meets another call with the same id; every text is used once, so it is found out. The CPU
of the server's processes is read in the same instants as the count of replies.
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
    """What to do: `window` calls in flight over `sessions` clients; an interval of `seconds` after `warm_up` is measured.

    url: http://, ws://, tcp://, unix://PATH or stdio:COMMAND. tool: `echo` may be repeated, `act` needs a grant. tree: the pids
    the server's processes descend from.
    """

    url: str
    modern: bool
    tool: str
    window: int
    sessions: int
    seconds: float
    warm_up: float
    tree: list[int]


class Figures(msgspec.Struct, frozen=True):
    """What one run measured, in seconds; CPU figures are per request, `client_busy` is the client's share of one core.

    parts: the CPU of the server's processes by their names; `tree_cpu` is their sum.
    """

    requests: int
    rate: float
    p50: float
    p99: float
    tree_cpu: float
    parts: dict[str, float]
    client_cpu: float
    client_busy: float


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
    """One session's way to the server."""
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

    async def _ask(self, method: str, params: str) -> bytes:
        self._id += 1
        body = f'{{"jsonrpc":"2.0","id":{self._id},"method":"{method}","params":{params}}}'
        return await self.wire.ask(body.encode(), method)

    async def open(self) -> None:
        """Shake hands, see that the tool is there, make ready to call. Raises ReplyError, ConnectionError or TimeoutError."""
        if not self._modern:
            info = '"capabilities":{},"clientInfo":{"name":"benchmark-load","version":"1"}'
            await self._ask("initialize", f'{{"protocolVersion":"{LEGACY}",{info}}}')
            await self.wire.tell(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', "notifications/initialized")
        answer = await self._ask("tools/list", f"{{{self._meta[1:]}}}")
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
    """What is common to all callers of a run: how long the replies took, what is in flight, what went wrong first."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.texts = 0
        self.in_flight = 0
        self.stopping = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def failed(self, error: Exception) -> None:
        """End the run."""
        if not self.over.done():
            self.over.set_exception(error)


class Caller:
    """Calls over one connection: each reply is followed by the next call."""

    def __init__(self, connection: Connection, session: Session, tally: Tally) -> None:
        self._connection, self._session, self._tally = connection, session, tally
        self._pending: dict[int, tuple[bytes, float]] = {}
        connection.heard, connection.failed = self._heard, tally.failed

    def call(self) -> None:
        """Send the next call."""
        tally = self._tally
        tally.texts += 1
        tally.in_flight += 1
        text = _text(tally.texts)
        id, request = self._session.call(text)
        self._pending[id] = text, time.perf_counter()
        self._connection.write(request)

    def _heard(self, message: bytes) -> None:
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
            tally.over.set_result(None)


async def run(load: Load) -> Figures:
    """Load one server.

    Raises ReplyError for the first reply that is wrong, ConnectionError for a lost connection, TimeoutError for a lost reply.
    """
    tally = Tally()
    sessions = [Session(load, await _wire(load)) for _ in range(load.sessions)]
    for session in sessions:
        await session.open()
    tree = Tree(*load.tree, *(pid for session in sessions for pid in session.wire.pids))
    gc.disable()  # nothing here makes cycles, and a pause of ours would look like one of theirs
    for session in sessions:
        for connection in session.wire.connections:
            caller = Caller(connection, session, tally)
            for _ in range(session.wire.depth):
                caller.call()
    await asyncio.wait([tally.over], timeout=load.warm_up)
    latencies = tally.latencies = []
    tree_before, own_before, before = tree.cpu(), time.process_time(), time.perf_counter()
    await asyncio.wait([tally.over], timeout=load.seconds)
    while len(latencies) < load.window and time.perf_counter() < before + _ANSWER_TIMEOUT and not tally.over.done():
        await asyncio.wait([tally.over], timeout=load.seconds)  # a slow server gets time for one reply to each
    after, own_after, tree_after = time.perf_counter(), time.process_time(), tree.cpu()
    tally.stopping, count = True, len(latencies)
    await asyncio.wait([tally.over], timeout=_ANSWER_TIMEOUT)
    if not tally.over.done():
        raise TimeoutError(f"{tally.in_flight} of {load.window} calls in flight were never answered")
    tally.over.result()
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

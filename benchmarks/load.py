"""The client: keeps a number of calls in flight over HTTP/1.1 keep-alive connections and checks the id and text of every reply.

Raw asyncio on uvloop, in a process of its own; one call at a time on a connection, as HTTP clients do. Clients count their ids
alike, so a reply that went astray meets another call with the same id; every text is used once, so it is found out. Prints
one JSON object, a `Figures`. The CPU of the server's processes is read in the same instants as the count of replies.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.measure import Tree
from benchmarks.rawhttp import Connection, ReplyError, Response

_LEGACY, _MODERN = "2025-11-25", "2026-07-28"
_FIRST_ID = 1_000_000  # ids and texts of one length each, so that the head of a client's calls is made once
_ANSWER_TIMEOUT = 15.0


class Load(msgspec.Struct, frozen=True):
    """What to do: `window` calls in flight over `sessions` clients; an interval of `seconds` after `warm_up` is measured.

    tool: `echo` may be repeated, `act` needs a grant. tree: the pids the server's processes descend from.
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
    """What one run measured, in seconds; the CPU figures are per request, `client_busy` is the client's share of one core."""

    requests: int
    rate: float
    p50: float
    p99: float
    tree_cpu: float
    client_cpu: float
    client_busy: float


class _Content(msgspec.Struct):
    text: str


class _Result(msgspec.Struct):
    content: list[_Content]


class _Reply(msgspec.Struct):
    id: int
    result: _Result


_reply = msgspec.json.Decoder(_Reply)


def _text(number: int) -> bytes:
    """The payload: 64 bytes that no other call of the run carries."""
    return b"%064d" % number


class Client:
    """One MCP client, a legacy session or a modern one, with ids of its own; it may use several connections."""

    def __init__(self, load: Load) -> None:
        parts = urlsplit(load.url)
        self._modern, self._tool = load.modern, load.tool
        self._session = ""
        self._head = f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._head += "Accept: application/json, text/event-stream\r\n"
        self._next_id = _FIRST_ID
        meta = f'{{"io.modelcontextprotocol/protocolVersion":"{_MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}'
        self._meta = f',"_meta":{meta}' if load.modern else ""

    def _head_of(self, method: str, length_bytes: int, name: str = "") -> str:
        """A POST's head."""
        mirrored = f"Mcp-Method: {method}\r\n" if self._modern else ""
        mirrored += f"Mcp-Name: {name}\r\n" if self._modern and name else ""
        return f"{self._head}{mirrored}Content-Length: {length_bytes}\r\n\r\n"

    async def _ask(self, connection: Connection, method: str, params: str = "", id: str = "") -> Response:
        """Send one message, a notification without an id."""
        members = (f'"id":{id},' if id else "") + f'"method":"{method}"' + (f',"params":{params}' if params else "")
        body = f'{{"jsonrpc":"2.0",{members}}}'
        return await connection.ask((self._head_of(method, len(body)) + body).encode())

    async def open(self, connection: Connection) -> None:
        """Shake hands, see that the tool is there, make ready to call. Raises ReplyError, ConnectionError or TimeoutError."""
        if not self._modern:
            info = '"capabilities":{},"clientInfo":{"name":"benchmark-load","version":"1"}'
            answer = await self._ask(connection, "initialize", f'{{"protocolVersion":"{_LEGACY}",{info}}}', "1")
            self._session = answer.header(b"mcp-session-id").decode()
            if self._session:  # the relay has none
                self._head += f"Mcp-Session-Id: {self._session}\r\n"
        self._head += f"MCP-Protocol-Version: {_MODERN if self._modern else _LEGACY}\r\n"
        if not self._modern:
            await self._ask(connection, "notifications/initialized")
        answer = await self._ask(connection, "tools/list", f"{{{self._meta[1:]}}}", "2")
        if f'"{self._tool}"'.encode() not in answer.message():
            raise ReplyError(f"no tool {self._tool}: {answer.body[:300]!r}")
        params = f'{{"name":"{self._tool}","arguments":{{"text":"%b"}}{self._meta}}}'
        body = f'{{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{params}}}'.encode()
        head = self._head_of("tools/call", len(body % (_FIRST_ID, _text(0))), self._tool)
        self._call = head.replace("%", "%%").encode() + body

    async def close(self, connection: Connection) -> None:
        """End a legacy session, so that its process does not burden the next run."""
        if self._session:
            await connection.ask(f"{self._head.replace('POST', 'DELETE', 1)}\r\n".encode())

    def call(self, text: bytes) -> tuple[int, bytes]:
        """The id and the bytes of the next tools/call; `text` is 64 bytes."""
        self._next_id += 1
        return self._next_id, self._call % (self._next_id, text)


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
    """One call after the other over one connection."""

    def __init__(self, connection: Connection, client: Client, tally: Tally) -> None:
        self._connection, self._client, self._tally = connection, client, tally
        connection.heard, connection.failed = self._heard, tally.failed

    def call(self) -> None:
        """Send the next call."""
        tally = self._tally
        tally.texts += 1
        tally.in_flight += 1
        self._text = _text(tally.texts)
        self._id, request = self._client.call(self._text)
        self._started = time.perf_counter()
        self._connection.write(request)

    def _heard(self, response: Response) -> None:
        now = time.perf_counter()
        reply = _reply.decode(response.message())
        if response.status != 200 or reply.id != self._id or reply.result.content[0].text != self._text.decode():
            raise ReplyError(f"call {self._id} of {self._text!r} was answered {response.status}: {response.body[:300]!r}")
        tally = self._tally
        tally.latencies.append(now - self._started)
        tally.in_flight -= 1
        if not tally.stopping:
            self.call()
        elif not tally.in_flight:
            tally.over.set_result(None)


async def run(load: Load) -> Figures:
    """Load one server.

    Raises ReplyError for the first reply that is wrong, ConnectionError for a lost connection, TimeoutError for a lost reply.
    """
    parts = urlsplit(load.url)
    loop, tally, tree = asyncio.get_running_loop(), Tally(), Tree(*load.tree)
    clients = [Client(load) for _ in range(load.sessions)]
    connections = []
    for _ in range(load.window):
        _, connection = await loop.create_connection(Connection, parts.hostname or "", parts.port or 80)
        connections.append(connection)
    for client, connection in zip(clients, connections, strict=False):
        await client.open(connection)
    callers = [Caller(connection, clients[n % load.sessions], tally) for n, connection in enumerate(connections)]
    gc.disable()  # nothing here makes cycles, and a pause of ours would look like one of theirs
    for caller in callers:
        caller.call()
    await asyncio.wait([tally.over], timeout=load.warm_up)
    latencies = tally.latencies = []
    tree_before, own_before, before = tree.cpu(), time.process_time(), time.perf_counter()
    await asyncio.wait([tally.over], timeout=load.seconds)
    after, own_after, tree_after = time.perf_counter(), time.process_time(), tree.cpu()
    tally.stopping, count = True, len(latencies)
    await asyncio.wait([tally.over], timeout=_ANSWER_TIMEOUT)
    if not tally.over.done():
        raise TimeoutError(f"{tally.in_flight} calls were never answered")
    tally.over.result()
    for client, connection in zip(clients, connections, strict=False):
        await client.close(connection)
    latencies = sorted(latencies[:count])
    own = own_after - own_before
    return Figures(
        requests=count,
        rate=count / (after - before),
        p50=latencies[count // 2],
        p99=latencies[count * 99 // 100],
        tree_cpu=(tree_after - tree_before) / count,
        client_cpu=own / count,
        client_busy=own / (after - before),
    )


def main() -> None:
    """Run one Load, given as JSON; print the figures as JSON."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    try:
        figures = uvloop.run(run(load))
    except (ReplyError, OSError, TimeoutError) as error:
        sys.exit(f"{load.url}: {type(error).__name__}: {error}")
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()

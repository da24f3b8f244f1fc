"""Raw clients of every revision with sessions, over every transport: they say each message themselves, and answer questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.contract.http_client import BOTH, Client
from tests.fabrics import PROGRAM, ROOT, fabric_env
from tests.integration.mcp_over_http import events, messages

WAIT = 30.0
CAPABILITIES: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}
ANSWERS: dict[str, Any] = {
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "sampled"}, "model": "m"},
    "elicitation/create": {"action": "accept", "content": {"name": "Ann", "color": "red"}},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}


class RevisionClient:
    """A client that is connected. A transport has `write`, and puts what comes into `inbox`."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.notifications: list[Any] = []
        self.answers = True
        """Whether it answers its server's questions."""
        self.tasks: set[asyncio.Task[None]] = set()

    async def write(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    async def send(self, **message: Any) -> None:
        await self.write({"jsonrpc": "2.0", **message})

    def start(self, receiving: Any) -> None:
        """Receive in a task of its own."""
        task = asyncio.create_task(receiving)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def receive(self) -> Any:
        """The next message: a question is answered, and a notification is kept."""
        async with asyncio.timeout(WAIT):
            message = await self.inbox.get()
        if "method" not in message:
            return message
        if "id" not in message:
            self.notifications.append(message)
        elif self.answers:
            await self.send(id=message["id"], result=ANSWERS[message["method"]])
        return message

    async def ask(self, method: str, id: object, **params: Any) -> Any:
        """A request; its response."""
        await self.send(id=id, method=method, params=params)
        while (message := await self.receive()).get("id") != id or "method" in message:
            pass
        return message

    async def call(self, tool: str, id: object, **arguments: Any) -> Any:
        """A tool call that wants progress; its result."""
        token = {"progressToken": f"of {id}"}
        return (await self.ask("tools/call", id, name=tool, arguments=arguments, _meta=token))["result"]

    async def until(self, method: str) -> Any:
        """The next message of this method, which may have come before."""
        while not (found := [message for message in self.notifications if message["method"] == method]):
            message = await self.receive()
            if message.get("method") == method:
                return message
        return found[-1]

    async def initialize(self) -> Any:
        """The handshake; what the server answered."""
        client = {"name": "raw", "version": "1"}
        answer = await self.ask("initialize", 0, protocolVersion=self.version, capabilities=CAPABILITIES, clientInfo=client)
        await self.send(method="notifications/initialized")
        return answer["result"]


class _Stdio(RevisionClient):
    process: asyncio.subprocess.Process

    async def write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")


class _Tcp(RevisionClient):
    writer: asyncio.StreamWriter

    async def write(self, message: dict[str, Any]) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")


class _WebSocket(RevisionClient):
    socket: ClientConnection

    async def write(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def read(self) -> None:
        async for frame in self.socket:
            self.inbox.put_nowait(json.loads(frame))


class _Http(RevisionClient):
    address = ""
    headers = BOTH

    async def write(self, message: dict[str, Any]) -> None:
        """Post a message. Notifications and responses are awaited, as the next message may depend on them."""
        client = await Client.open(self.address)
        client.send("POST", "/mcp", self.headers, json.dumps(message).encode())
        if message.get("method") == "initialize":
            reply = await client.reply()
            session = {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": self.version}
            self.headers = BOTH | session
            self.inbox.put_nowait(messages(reply)[-1])
            client.writer.close()
        elif "id" in message and "method" in message:
            self.start(self.read(client))
        else:
            assert (await client.reply()).status == 202
            client.writer.close()
            if message.get("method") == "notifications/initialized":
                stream = await Client.open(self.address)
                stream.send("GET", "/mcp", self.headers)
                self.start(self.read(stream))

    async def read(self, client: Client) -> None:
        """Whatever comes as the response to a request, or on the session's stream."""
        async with client:
            head = await client.head()
            if head.headers["content-type"].startswith("application/json"):
                self.inbox.put_nowait(json.loads(await client.reader.readexactly(int(head.headers["content-length"]))))
                return
            text = b""
            while piece := await client.chunk():
                *whole, text = (text + piece).split(b"\n\n")
                for message in events(b"\n".join(whole)):
                    self.inbox.put_nowait(message)


@asynccontextmanager
async def connected(transport: str, version: str, addresses: dict[str, str], state: Path) -> AsyncIterator[RevisionClient]:
    """A client of this revision over stdio, tcp, ws or http, of the fabric with these addresses."""
    client: RevisionClient

    async def lines(reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            client.inbox.put_nowait(json.loads(line))

    if transport == "stdio":
        client = stdio = _Stdio(version)
        stdio.process = await asyncio.create_subprocess_exec(
            *(PROGRAM, "connect"), stdin=-1, stdout=-1, stderr=-3, cwd=ROOT, env=fabric_env(state), limit=1 << 24
        )
        assert stdio.process.stdout is not None
        client.start(lines(stdio.process.stdout))
    elif transport == "tcp":
        client = tcp = _Tcp(version)
        host, _, port = addresses["tcp"].removeprefix("tcp://").rpartition(":")
        reader, tcp.writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
        client.start(lines(reader))
    elif transport == "ws":
        client = websocket = _WebSocket(version)
        websocket.socket = await connect(addresses["http"].replace("http", "ws") + "/ws")
        client.start(websocket.read())
    else:
        client = http = _Http(version)
        http.address = addresses["http"]
    try:
        yield client
    finally:
        for task in client.tasks:
            task.cancel()
        if isinstance(client, _Stdio):
            client.process.kill()
            await client.process.wait()
        elif isinstance(client, _Tcp):
            client.writer.close()
        elif isinstance(client, _WebSocket):
            await client.socket.close()

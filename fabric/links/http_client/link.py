"""The link to a remote MCP server over Streamable HTTP, both eras: each frame sent is a POST, answers and streams bring frames.

A modern request (2026-07-28, basic/transports/streamable-http) stands alone: cancelling it closes its POST. Legacy frames
(2025-03-26 to 2025-11-25, basic/transports) make one session: frames behind a notification or a response wait until the server
has accepted it, the session's own stream is opened after `initialized`, and a stream that breaks is resumed where its events
have ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from yarl import URL

from fabric.capabilities import Capabilities
from fabric.errors import (
    ConfigError,
    EndOfLink,
    LinkBroken,
    LinkClosed,
    LinkError,
    LinkHandshakeError,
    LinkOverflow,
    LinkRefused,
    LinkTimeout,
)
from fabric.faults import LostAnswer
from fabric.links.base import Link, LinkInfo
from fabric.links.http_client import rules
from fabric.links.http_client.connection_pool import ConnectionPool, pool_for, release
from fabric.links.http_client.endpoint import Endpoint
from fabric.links.http_client.event_stream_reader import RETRY_FIRST, EventStreamReader
from fabric.links.http_client.http_sse import SseStream
from fabric.links.http_client.receive_queue import ReceiveQueue
from fabric.links.http_client.send_queue import SendQueue
from fabric.links.settings import ConnectSettings
from fabric.links.url import parse
from fabric.mcp import jsonrpc, requests
from fabric.mcp.initialize import negotiated
from fabric.mcp.jsonrpc import Message, MessageKind
from fabric.mcp.tools import Catalog

CAPABILITIES = {
    "http": Capabilities(resumable=True),
    "https": Capabilities(resumable=True, encryption=True),
    "sse+http": Capabilities(),
    "sse+https": Capabilities(encryption=True),
}

_SSE = "sse+"
_AWAY = frozenset({502, 503, 504})  # these come from a proxy, not from the server
_CLOSE_TIMEOUT = 5.0
CANCELLED = "notifications/cancelled"


async def connect(url: str, settings: ConnectSettings, *, id: str) -> Link:
    """A link to the server at `url`.

    Over Streamable HTTP nothing is sent before the first frame, so that an unreachable server shows only then. HTTP+SSE opens
    its stream here, and raises LinkRefused, its kinds, LinkTimeout or LinkBroken. Raises ConfigError for an invalid URL and
    for a file that cannot be read.
    """
    where = (settings.shown or parse(url).where).removeprefix(_SSE)
    try:
        address = URL(url.removeprefix(_SSE))
    except ValueError:
        raise ConfigError("is no URL that HTTP can use") from None  # its own message quotes it
    if any(name.lower() == "authorization" for name, _ in settings.headers):
        address = address.with_user(None)  # the URL's user and password would make a second Authorization header
    pool = pool_for(where, url, settings)
    link = HttpClientLink(LinkInfo(id=id, transport="http", peer=where), pool, address, settings)
    if url.startswith(_SSE):
        try:
            await link.open_sse()
        except BaseException:
            await link.aclose()
            raise
    return link


class HttpClientLink:
    """The Link of base.py over POSTs."""

    def __init__(self, info: LinkInfo, pool: ConnectionPool, url: URL, settings: ConnectSettings) -> None:
        self._info = info
        self._pool = pool
        self._max_bytes = settings.max_frame_bytes
        self._receive_queue = ReceiveQueue()
        self._reader = EventStreamReader(self._receive_queue, self._max_bytes, info.peer)
        self._send_queue = SendQueue(self._carry, self._fail)
        self._posts: dict[bytes, asyncio.Task[None]] = {}  # by the raw id of the request
        self._endpoint = endpoint = Endpoint(pool, url)
        self._post, self._headers = endpoint.post, endpoint.headers  # bound once: every request uses them
        self._proven = False  # whether the server has answered as an MCP server does
        self._stream: asyncio.Task[None] | None = None  # reads the session's own stream
        self._sse: SseStream | None = None  # set if the server speaks HTTP+SSE
        self._timeout = settings.answer_timeout
        self._accept_timeout = settings.stall_timeout  # to accept a message that has no answer; then the link breaks
        self._waiting: dict[bytes, Message] = {}  # requests that have no connection yet
        self.unsent: list[bytes] = []
        """See base.Link.unsent."""
        self._tools = Catalog()
        self._lists = 0
        self._closing: asyncio.Task[None] | None = None

    async def open_sse(self) -> None:
        """Use HTTP+SSE from now on. Raises the errors of SseStream.open."""
        stream = SseStream(self._pool, self._endpoint.url, self._max_bytes, self._receive_queue, self._fail)
        await stream.open(self._timeout)
        self._sse = stream

    @property
    def info(self) -> LinkInfo:
        """What is known of the link."""
        return self._info

    @property
    def unsent_bytes(self) -> int:
        """See base.Link.unsent_bytes."""
        return self._send_queue.waiting_bytes

    async def receive(self) -> Message:
        """See base.Link.receive."""
        return await self._receive_queue.receive()

    async def drain(self) -> None:
        """See base.Link.drain."""
        await self._send_queue.drain()

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:  # noqa: ARG002 - for a server's own streams
        """See base.Link.send."""
        try:
            self._send_queue.check()
        except LinkError:
            self.unsent.append(frame)
            raise
        message = jsonrpc.parse(frame)
        if self._sse is not None:
            self._send_queue.count(message)
            self._send_queue.put(message)
            return
        modern = message.kind is MessageKind.REQUEST and bool(jsonrpc.meta(message).fields.version)
        if message.method == CANCELLED and not self._endpoint.version:
            self._abandon(message)
            return
        self._send_queue.count(message)
        if modern:
            self._start(message)
        else:
            self._send_queue.put(message)

    # ------------------------------------------------------------ sending
    async def _carry(self, message: Message) -> None:
        """Send the next legacy frame: requests run side by side, any other message is accepted before the next frame."""
        if self._sse is not None:
            self._send_queue.release(message)
            await self._sse.post(message, self._accept_timeout)
            return
        if message.kind is MessageKind.REQUEST:
            post = self._start(message)
            if message.method == "initialize":
                await asyncio.wait({post})  # the frames behind it belong to the session that it opens
            return
        self._send_queue.release(message)
        try:
            async with asyncio.timeout(self._accept_timeout):
                await self._deliver(message)
        except TimeoutError:
            sent = message.method or "a response"
            raise LinkTimeout(f"{self._info.peer} did not accept {sent} within {self._accept_timeout:g} s") from None
        if message.method == CANCELLED:
            self._abandon(message)
        elif message.method == "notifications/initialized" and self._endpoint.session and self._stream is None:
            self._stream = asyncio.create_task(self._listen())
            self._stream.add_done_callback(self._ended)

    async def _deliver(self, message: Message) -> None:
        """POST a message that has no answer, again until the server has it: a server without it might wait for ever."""
        pause = RETRY_FIRST
        while True:
            try:
                async with await self._post(message.frame, self._headers(rules.POST)) as answer:
                    if answer.status == 404 and self._endpoint.session:
                        raise EndOfLink(f"{self._info.peer} no longer knows the session")
                    await answer.finish()
                    if answer.status not in _AWAY:
                        return
            except EndOfLink:
                raise
            except LinkError:
                if not self._proven:
                    raise
            await asyncio.sleep(pause)
            pause *= 2

    def _start(self, request: Message) -> asyncio.Task[None]:
        post = asyncio.create_task(self._ask(request))
        self._posts[request.id] = post
        post.add_done_callback(partial(self._answered, request))
        return post

    def _answered(self, request: Message, post: asyncio.Task[None]) -> None:
        if self._posts.get(request.id) is post:
            del self._posts[request.id]
        self._ended(post)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error if isinstance(error, LinkError) else LinkBroken(f"{self._info.peer}: {type(error).__name__}"))

    def _abandon(self, cancel: Message) -> None:
        """Close the POST of the request that `cancel` names."""
        post = self._posts.get(jsonrpc.refers_to(cancel))
        if post is not None:
            post.cancel()

    async def _ask(self, request: Message) -> None:
        """Send a request, and wait for its answer."""
        first = not self._proven
        self._waiting[request.id] = request
        try:
            async with self._pool.room:
                self._send_queue.release(self._waiting.pop(request.id))
                error = await self._attempt(request, partial(self._put, request))
        finally:
            if self._waiting.pop(request.id, None) is not None:
                self._send_queue.release(request)
        if error is not None and (first or request.method == "initialize" or self._ends(error)):
            self._fail(error)

    def _ends(self, error: LinkError) -> bool:
        """Whether this error ends a link that has worked: the session is over, or the server is gone and no work is lost."""
        if isinstance(error, LinkRefused | LinkTimeout) and not isinstance(error, LinkHandshakeError):
            return len(self._posts) == 1 and not self._endpoint.session
        return isinstance(error, EndOfLink)

    async def _attempt(self, request: Message, put: Callable[[Message], None], *, again: bool = True) -> LinkError | None:
        """POST a request and `put` the messages it brings, its answer last. Returns the error if it may end the link."""
        meta = jsonrpc.meta(request)
        modern = bool(meta.fields.version)
        headers = rules.modern_headers(request, meta, self._tools) if modern else self._headers(rules.POST)
        try:
            async with await self._post(request.frame, headers) as answer:
                if 200 <= answer.status < 300:
                    if request.method == "initialize":
                        self._endpoint.session = answer.headers.get("Mcp-Session-Id", "")
                    if answer.kind == "text/event-stream":
                        resumable = not modern and bool(self._endpoint.session)
                        await self._reader.answer(request, answer, put, self._endpoint.get, resumable=resumable)
                        return None
                body = await answer.body(self._max_bytes)
        except (LinkRefused, LinkTimeout) as error:
            put(rules.unsent(request, str(error)))
            return error
        except LinkOverflow as error:
            put(rules.too_long(request, str(error)))
            return None
        except LinkError as error:
            put(rules.unknown(request, str(error)))
            return error
        in_session = not modern and bool(self._endpoint.session)
        advice = answer.headers.get("Retry-After", "")
        replies, refusal = rules.judged(
            request, answer.status, self._info.peer, answer.status_text, body, advice, in_session=in_session
        )
        if again and request.method == "tools/call" and any(map(rules.mismatched, replies)):
            await self._learn()
            if rules.modern_headers(request, meta, self._tools) != headers:
                return await self._attempt(request, put, again=False)
        if refusal is not None and request.method == "initialize" and answer.status in (400, 404, 405):
            with suppress(LinkError):
                await self.open_sse()
        if self._sse is not None:
            await self._sse.post(request, self._accept_timeout)
            return None
        for reply in replies:
            put(reply)
        return refusal

    async def _learn(self) -> None:
        """Ask the server for its tools, which say which headers calls have to carry."""
        tools, cursor = Catalog(), ""
        while True:
            self._lists += 1
            pages: list[Message] = []
            await self._attempt(jsonrpc.parse(requests.list_tools(f"headers-{self._lists}", cursor)), pages.append)
            following = tools.page(pages[-1].frame, 0.0) if pages else None
            if following is None:
                return  # it failed, perhaps half-way: the former catalog stays
            if not following:
                break
            cursor = following
        self._tools = tools

    # ------------------------------------------------------------ receiving
    def _put(self, request: Message, message: Message) -> None:
        """Queue a message that a request has brought, and learn from it."""
        if not isinstance(message, LostAnswer):
            self._proven = True
            if request.method == "initialize" and message.kind is MessageKind.RESPONSE:
                self._endpoint.version = negotiated(message.frame)
            elif request.method == "tools/list" and b'"x-mcp-header"' in message.frame:
                self._tools.page(message.frame, 0.0)
        self._receive_queue.put(message)

    async def _listen(self) -> None:
        """Read the session's own stream, as long as the session lasts."""
        async with self._pool.stream_room, self._pool.room:
            await self._reader.listen(self._endpoint.get)

    # ------------------------------------------------------------ ending
    def _fail(self, error: LinkError) -> None:
        """End the link for this reason, which is not that we closed it."""
        if isinstance(error, EndOfLink):
            self._endpoint.session = ""  # the server has ended it
        if not isinstance(error, LinkClosed):
            self.unsent += [message.frame for message in (*self._waiting.values(), *self._send_queue.queued)]
        self._receive_queue.end(error)
        self._send_queue.end(error)
        self._stop()

    def _stop(self) -> list[asyncio.Task[None]]:
        """Cancel all tasks but the current one, and return them."""
        current = asyncio.current_task()
        tasks = [*self._posts.values(), *filter(None, (self._stream, self._send_queue.stop()))]
        stopped = [task for task in tasks if task is not current]
        for task in stopped:
            task.cancel()
        return stopped

    async def aclose(self) -> None:
        """See base.Link.aclose. Cancelling it does not stop the closing."""
        if self._closing is None:
            closed = LinkClosed(f"the http link {self._info.id} is closed")
            self._receive_queue.close(closed)
            self._send_queue.end(closed)
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        await self._send_queue.flush(_CLOSE_TIMEOUT)
        await asyncio.gather(*self._stop(), return_exceptions=True)
        if self._sse is not None:
            await self._sse.aclose()
        with suppress(LinkError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._endpoint.delete()
        await release(self._pool)

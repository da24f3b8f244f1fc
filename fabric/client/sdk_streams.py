"""The two streams of the MCP SDK over a link: a transport, for clients of mcp 2.x and for sessions of mcp 1.x.

Above it: fabric/client/connection.py. Below it: the SDK's message types and a link. Only a program that enters such a transport
imports this module, and with it the SDK.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream as ReceiveStream
from anyio.streams.memory import MemoryObjectSendStream as SendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage
from pydantic import TypeAdapter

from fabric.client.link import Open
from fabric.errors import InvalidFrame, LinkBroken, LinkError, LinkOverflow
from fabric.links.base import Link

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 2.0
"""Seconds for the last message of a session to leave, when its program closes the streams."""

Streams = tuple[ReceiveStream[SessionMessage | Exception], SendStream[SessionMessage]]
"""The stream that the SDK reads, and the stream that it writes."""

_messages: TypeAdapter[JSONRPCMessage] = TypeAdapter(JSONRPCMessage)  # a union of models in mcp 2.x, one model in 1.x


@asynccontextmanager
async def sdk_streams(open: Open) -> AsyncIterator[Streams]:
    """The streams over the link that `open` opens. They end as the link does; what is no message arrives as an exception."""
    async with open() as link:
        arrived: SendStream[SessionMessage | Exception]
        arrived, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, leaving = anyio.create_memory_object_stream[SessionMessage](0)
        reading = asyncio.create_task(_read(link, arrived))
        writing = asyncio.create_task(_write(leaving, link, arrived))
        try:
            yield read, write
        finally:
            read.close()
            write.close()
            await asyncio.wait([writing], timeout=FLUSH_TIMEOUT)
            reading.cancel()
            writing.cancel()
            await asyncio.wait([reading, writing])
            for task in (reading, writing):
                if not task.cancelled():
                    task.result()


async def _read(link: Link, arrived: SendStream[SessionMessage | Exception]) -> None:
    """Pass on messages from the link to the session until one of them ends."""
    async with arrived:
        try:
            while True:
                await arrived.send(await _received(link))
        except LinkBroken as error:
            log.warning("the link of a client broke: %s", error)
        except (LinkError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


async def _received(link: Link) -> SessionMessage | Exception:
    """The next message, or why it is none. Raises the errors of the link's end."""
    try:
        return SessionMessage(_messages.validate_json((await link.receive()).frame, by_name=False))
    except (InvalidFrame, LinkOverflow, ValueError) as error:
        return error


async def _write(leaving: ReceiveStream[SessionMessage], link: Link, arrived: SendStream[SessionMessage | Exception]) -> None:
    """Pass on messages from the session to the link. Once none can be sent, the session is told that all is over."""
    async with leaving:
        try:
            async for each in leaving:
                link.send(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode())
                await link.drain()
        except LinkError:
            arrived.close()

"""What `doctor` looks at, one function a subject: each gives its findings, and never raises for what it finds."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import time
from contextlib import suppress

import msgspec

from fabric import jsonrpc
from fabric.addressing import Channel, channel_name, inbox, work
from fabric.brokers import registry
from fabric.brokers.base import Broker, Outgoing
from fabric.errors import BrokerDenied, BrokerError, FabricError, LinkBroken
from fabric.runtime.keys import keyring
from fabric.runtime.observer import Observer
from fabric.runtime.settings import Address, ServerDefinition, Settings
from fabric.security.secret import HOW_TO_MAKE_ONE
from workers.client import Client, Refused
from workers.joining import settle
from workers.process import Place
from workers.roles import start_server
from workers.shadow import OURS, REMEDY, shadow

ROUND_TRIP_TIMEOUT = 5.0
SERVER_TIMEOUT = 60.0
"""Seconds a server has to start, be discovered and list its tools; some are downloaded first."""


class Finding(msgspec.Struct, frozen=True):
    """One check. `remedy`: what to do where it is not ok."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""


def package() -> Finding:
    """Whether the `fabric` that Python imports is ours."""
    found = shadow()
    return Finding("package", not found, found or str(OURS), REMEDY if found else "")


def clock() -> Finding:
    """Whether this machine's clock is behind files it has: session tokens and traces bear its time."""
    now, made = time.time(), OURS.stat().st_mtime
    detail = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < made:
        return Finding("clock", False, f"{detail} is before this program was installed", "set the clock, and keep it by NTP")
    return Finding("clock", True, detail)


def secret(settings: Settings) -> Finding:
    """The fabric secret, and with the embedded broker the state folder it lies in."""
    try:
        keys = keyring(settings)
    except FabricError as error:
        return Finding(
            "secret", False, str(error), HOW_TO_MAKE_ONE if settings.broker else "set FABRIC_STATE to a folder of yours"
        )
    return Finding("secret", True, f"key {keys.signing_id}" + ("" if settings.broker else f", state in {settings.state}"))


async def broker(place: Place) -> list[Finding]:
    """A message of our own through inbox and work queue: the broker is there, and we may."""
    fabric, me = place.settings.name, f"doctor-{secrets.token_hex(8)}"
    where = registry.redacted(place.url)
    try:
        connection = await registry.connect(place.url, fabric=fabric, incarnation=me, timeout=ROUND_TRIP_TIMEOUT)
    except BrokerDenied as error:
        return [Finding("broker", False, str(error), "give the right user and password, or token, in --broker")]
    except FabricError as error:
        return [Finding("broker", False, str(error), "start it, or name another with --broker")]
    try:
        limit = connection.capabilities.largest_message_bytes
        found = Finding("broker", True, f"{where}; messages up to {limit} bytes")
        return [found, *[await _round_trip(connection, channel, fabric) for channel in (inbox(me), work(me))]]
    finally:
        await connection.aclose()


async def _round_trip(connection: Broker, channel: Channel, fabric: str) -> Finding:
    check = f"broker {channel.kind}"
    remedy = f"let its user publish and subscribe to {channel_name(fabric, Channel(channel.kind, 'x')).removesuffix('x')}*"
    body = secrets.token_bytes(16)
    try:
        async with asyncio.timeout(ROUND_TRIP_TIMEOUT):
            subscription = await connection.subscribe(channel)
            started = time.perf_counter()
            await connection.publish([Outgoing(channel, body)])
            deliveries = await subscription.receive(1)
            took = time.perf_counter() - started
            await subscription.ack(deliveries)
            await subscription.aclose()
    except BrokerError as error:
        return Finding(check, False, str(error), remedy)
    except TimeoutError:
        return Finding(check, False, f"what was published does not come back within {ROUND_TRIP_TIMEOUT:g} s", remedy)
    if [delivery.body for delivery in deliveries] != [body]:
        return Finding(check, False, "something else came back", "give this fabric a name, or a broker, of its own")
    return Finding(check, True, f"round trip {took * 1000:.1f} ms")


async def members(place: Place) -> Finding:
    """Our own announcement through the topic, and who answers it."""
    observer = Observer(place.url, place.settings.name, place.identity())
    observer.node.start()
    try:
        await settle(observer.node, place, lambda: True)
    except FabricError as error:
        return Finding("broker topic", False, str(error), "give all workers one secret, and the right to its topics")
    finally:
        await observer.node.aclose()
    hosts = [f"{said.role} {said.host}" for _, said in observer.heard()]
    return Finding("broker topic", True, f"heard {', '.join(hosts)}" if hosts else "nobody else is there")


async def port(check: str, address: Address) -> Finding:
    """Whether this address can be listened on, or one of ours listens already."""
    remedy = f"choose another with --{check}; port 0 picks a free one"
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and await _is_ours(address):
            return Finding(check, True, f"{address} is served by a running fabric")
        return Finding(check, False, f"{address}: {error.strerror}", remedy)
    return Finding(check, True, f"{address} is free" if address.port else f"{address} picks a free port")


async def _is_ours(address: Address) -> bool:
    """Whether the health endpoint of a worker answers there."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(f"GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode())
                return (await reader.read()).endswith(b'{"status":"live"}')
            finally:
                writer.close()
    return False


async def server(definition: ServerDefinition, max_frame_bytes: int) -> Finding:
    """Start it as a bridge does, discover it, count its tools, stop it."""
    check = f"server {definition.name}"
    started = time.perf_counter()
    try:
        async with asyncio.timeout(SERVER_TIMEOUT):
            try:
                eras, tools = await _discover(definition, max_frame_bytes, modern=True)
            except LinkBroken:
                eras, tools = await _discover(definition, max_frame_bytes, modern=False)  # some die of what they do not know
    except TimeoutError:
        return Finding(
            check, False, f"no answer within {SERVER_TIMEOUT:g} s", "run its command by hand, and see what it waits for"
        )
    except FabricError as error:
        return Finding(check, False, str(error), "run its command by hand, in its folder and environment, until it starts")
    return Finding(check, True, f"{' and '.join(eras)}, {tools} tools, {time.perf_counter() - started:.1f} s")


async def _discover(definition: ServerDefinition, max_frame_bytes: int, *, modern: bool) -> tuple[tuple[str, ...], int]:
    link = await start_server(definition, definition.name, max_frame_bytes)
    try:
        client = Client(link)
        await client.open(modern=modern)
        return client.eras, await _count_tools(client)
    finally:
        await link.aclose()


async def _count_tools(client: Client) -> int:
    tools, cursor = 0, ""
    while True:
        try:
            page = await client.request("tools/list", {"cursor": cursor} if cursor else {})
        except Refused as refused:
            if refused.code == jsonrpc.METHOD_NOT_FOUND:
                return 0
            raise
        tools += len(page.get("tools", ()))
        cursor = page.get("nextCursor", "")
        if not cursor:
            return tools

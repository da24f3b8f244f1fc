"""The checks of `doctor` on this machine: package, clock, secret, ports. A failure is a Finding, never an exception."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from contextlib import suppress

from fabric.config.secret import keyring
from fabric.config.settings.process import Address, Settings
from fabric.errors import FabricError
from fabric.security.secret import HOW_TO_MAKE_ONE
from workers.checking.finding import Finding
from workers.import_conflict import OURS, REMEDY, import_conflict

RESOLVE_TIMEOUT = 5.0
"""Seconds to find the address of a name to listen on."""


def package() -> Finding:
    """Whether the `fabric` that Python imports is ours."""
    conflict = import_conflict()
    return Finding("package", not conflict, conflict or str(OURS), REMEDY if conflict else "")


def clock() -> Finding:
    """Whether this machine's clock is later than the files of this program. Session tokens and traces carry its time."""
    now, made = time.time(), OURS.stat().st_mtime
    detail = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < made:
        return Finding("clock", False, f"{detail} is before this program was installed", "set the clock, and keep it by NTP")
    return Finding("clock", True, detail)


def secret(settings: Settings) -> Finding:
    """Whether the fabric secret can be had, and with the embedded broker the state folder that holds it."""
    try:
        keys = keyring(settings)
    except FabricError as error:
        return Finding(
            "secret", False, str(error), HOW_TO_MAKE_ONE if settings.fabric.broker else "set FABRIC_STATE to a folder of yours"
        )
    state = "" if settings.fabric.broker else f", state in {settings.fabric.state}"
    return Finding("secret", True, f"key {keys.signing_id}{state}")


async def port(check: str, address: Address) -> Finding:
    """Whether a listener can open at this address, or one of ours is open there."""
    remedy = f"choose another with --{check}; port 0 picks a free one"
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            addresses = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, target = addresses[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except TimeoutError:
        return Finding(check, False, f"{address}: the name was not resolved within {RESOLVE_TIMEOUT:g} s", remedy)
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

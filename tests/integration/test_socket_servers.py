"""Remote servers of a fabric over TCP, Unix sockets and TLS: a fabric as a server, one that starts late, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.fabrics import ROOT, up
from tests.integration.conftest import Write, servers, until
from tests.integration.mcp_over_http import eventually, text
from tests.integration.socket_client import addresses, connected
from tests.tcp_server import tcp_server

pytestmark = [pytest.mark.requirement("L04", "L05"), pytest.mark.timeout(240)]

ECHO_PROGRAM = ROOT / "examples" / "servers" / "echo.py"


async def test_a_fabric_is_the_server_of_another_over_sockets(listeners: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"far": {"url": listeners["tcp"]}, "near": {"url": listeners["unix"]}}}))
    with up(config, tmp_path / "state", "--tcp", "127.0.0.1:0=far", "--unix", f"{tmp_path}/near.sock=near") as process:
        front = addresses(process)
        until(lambda: {server["health"] for server in servers(tmp_path / "state")} == {"healthy"})
        for address in (front["tcp"], front["unix"]):
            async with connected(address) as modern, connected(address) as one, connected(address) as two:
                assert text(await modern.call("echo", text="modern")) == "modern"
                await one.initialize()
                await two.initialize()
                for session in (one, two):
                    answer = await session.request("tools/call", 1, name="echo", arguments={"text": "in a session"})
                    assert text(answer) == "in a session"


@asynccontextmanager
async def echo_server(path: Path | None, authority: Authority | None = None) -> AsyncIterator[str]:
    """The echo server on a Unix socket, or on a port with TLS: a process for each connection, as inetd would start it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", ECHO_PROGRAM, stdin=pipe, stdout=pipe)
        assert process.stdin
        assert process.stdout

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(copy(reader, process.stdin), copy(process.stdout, writer))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    listening = None
    if path is not None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
    async with tcp_server(serve, listening, tls=authority.server() if authority else None) as port:
        yield "" if path else f"tls://127.0.0.1:{port}"


async def test_a_server_that_starts_late_is_served_and_again_after_a_restart(config: Write, tmp_path: Path) -> None:
    path = tmp_path / "late.sock"
    invalid = {"url": "ws://127.0.0.1:9/ws", "headers": {"Upgrade": "secret"}}
    listen = ("--tcp", "127.0.0.1:0=late", "--unix", f"{tmp_path}/invalid=invalid")
    with up(config(late={"url": f"unix://{path}"}, invalid=invalid), tmp_path, *listen) as process:
        async with connected(addresses(process)["unix"]) as client:
            error = (await client.call("echo", text="never"))["error"]
            assert (error["data"]["reason"], "Upgrade" in error["message"]) == ("unavailable", True)
            assert "secret" not in error["message"] + process.log.read_text()
        async with connected(addresses(process)["tcp"]) as client:
            error = (await client.call("echo", text="too early"))["error"]
            assert error["data"]["reason"] == "unavailable"
            assert f"cannot connect to unix://{path}" in error["message"]
            for _ in range(2):  # the second time the server has restarted
                async with echo_server(path):
                    answer = await eventually(lambda: client.call("echo", text="there"), lambda answer: "result" in answer)
                    assert text(answer) == "there"


async def test_a_server_over_tls_is_used_only_with_its_authority(config: Write, tmp_path: Path) -> None:
    authority = Authority.make()
    async with echo_server(None, authority) as url:
        trusted, untrusted = {"url": url, "tls": {"ca": authority.trust.ca}}, {"url": url}
        listen = ("--tcp", "127.0.0.1:0=trusted", "--unix", f"{tmp_path}/untrusted=untrusted")
        with up(config(trusted=trusted, untrusted=untrusted), tmp_path, *listen) as process:
            async with connected(addresses(process)["tcp"]) as client:
                assert text(await client.call("echo", text="private")) == "private"
            async with connected(addresses(process)["unix"]) as client:
                error = (await client.call("echo", text="never"))["error"]
                assert error["data"]["reason"] == "unavailable"
                assert f"the certificate of {url} is not trusted" in error["message"]
            await asyncio.to_thread(process.stop)  # its server, which runs in this event loop, has to end the TLS connection

"""Access control, end to end: open listeners, Basic credentials, Host and Origin, and the fabric secret."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import brokers
from tests.contract.http_client import BOTH, Client, modern, request
from tests.fabrics import SECRET, Process, bridge, edge, run, up
from tests.integration.conftest import ECHO, Write
from tests.integration.mcp_over_http import Session, call, connections, messages, reason, text

PASSWORD = "p\u00e4ss:word-of-the-listener"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


RIGHT = basic("me", PASSWORD)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A fabric with credentials, one allowed host and one allowed origin."""
    state = tmp_path_factory.mktemp("guarded")
    settings = {"allowedHosts": ["fabric.example"], "allowedOrigins": ["https://app.example"]}
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"echo": ECHO}, "fabric": settings}))
    with up(config, state, AUTH_USER="me", AUTH_PASSWORD=PASSWORD) as process:
        process.ready()
        yield process


async def status(client: Client, headers: dict[str, str]) -> int:
    """The status of a call with these headers; the connection stays open whatever it is."""
    lines, body = modern("tools/call", name="echo", arguments={"text": "x"})
    reply = await client.ask("POST", "/mcp", lines | headers, body)
    assert ("result" in reply.json) == (reply.status == 200)
    return reply.status


# ---------------------------------------------------------------- beyond loopback
@pytest.mark.requirement("S01", "C02")
@pytest.mark.parametrize(
    ("command", "host"), [("up", "0.0.0.0"), ("up", "fabric.example"), ("edge", "[::]"), ("edge", "192.0.2.1")]
)
def test_a_listener_reachable_from_other_machines_needs_authentication(
    tmp_path: Path, config: Write, command: str, host: str
) -> None:
    done = run(command, config(), "--http", f"{host}:0", state=tmp_path / "state", FABRIC_SECRET=SECRET)
    assert (done.returncode, done.stdout) == (2, "")
    assert "can be reached from other machines and no authentication is configured" in done.stderr
    assert "--allow-unauthenticated" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.requirement("S01")
def test_credentials_do_not_allow_an_open_admin_listener(tmp_path: Path, config: Write) -> None:
    listeners = ("--http", "127.0.0.1:0", "--admin", "0.0.0.0:0")
    done = run("up", config(), *listeners, state=tmp_path / "state", AUTH_USER="me", AUTH_PASSWORD=PASSWORD)
    assert done.returncode == 2
    assert "--allow-unauthenticated" in done.stderr


# ---------------------------------------------------------------- credentials
@pytest.mark.requirement("S01")
async def test_only_the_right_user_and_password_are_accepted(guarded: Process) -> None:
    async with connections([guarded.url()]) as (client,):
        wrong: tuple[dict[str, str], ...] = (
            {},
            basic("me", "wrong"),
            basic("you", PASSWORD),
            basic("me", ""),
            {"Authorization": "Bearer " + PASSWORD},
            {"Authorization": "Basic !!!"},
            {"Authorization": "Basic"},
        )
        for headers in wrong:
            assert await status(client, headers) == 401
        assert await status(client, RIGHT) == 200
        assert (await client.ask("GET", "/livez", {})).status == 200
        reply = await client.ask("POST", "/mcp", *modern("tools/list"))
        assert reply.headers["www-authenticate"].startswith("Basic ")
        assert reason(reply.json) == "unauthorized"


@pytest.mark.requirement("S01", "S10")
async def test_a_session_id_is_no_credential(guarded: Process) -> None:
    async with connections([guarded.url()]) as (client,):
        body = request("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"})
        opened = await client.ask("POST", "/mcp", BOTH | RIGHT, body)
        session = BOTH | {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
        assert (await client.ask("POST", "/mcp", session, request("tools/list"))).status == 401
        assert (await client.ask("DELETE", "/mcp", session)).status == 401
        assert messages(await client.ask("POST", "/mcp", session | RIGHT, request("tools/list")))[-1]["result"]["tools"]


@pytest.mark.requirement("S01", "K04")
async def test_no_password_is_logged_whether_right_or_wrong(guarded: Process) -> None:
    async with connections([guarded.url()]) as (client,):
        assert await status(client, basic("me", "a wrong one")) == 401
        assert await status(client, RIGHT) == 200
    log = guarded.log.read_text()
    assert PASSWORD not in log
    assert "a wrong one" not in log


# ---------------------------------------------------------------- Host and Origin
@pytest.mark.requirement("S03")
async def test_only_allowed_hosts_and_origins_are_answered(guarded: Process) -> None:
    async with connections([guarded.url()]) as (client,):
        for host, expected in (
            (f"127.0.0.1:{client.port}", 200),
            (f"localhost:{client.port}", 200),
            ("fabric.example", 200),
            ("rebound.example", 421),
            (f"rebound.example:{client.port}", 421),
            ("fabric.example.evil.example", 421),
            ("", 400),
        ):
            assert await status(client, RIGHT | {"Host": host}) == expected, host
        for origin, expected in (
            ("https://app.example", 200),
            ("http://localhost:3000", 200),
            ("https://app.example.evil.example", 403),
            ("http://app.example", 403),
            ("null", 403),
        ):
            assert await status(client, RIGHT | {"Origin": origin}) == expected, origin


@pytest.mark.requirement("S03")
async def test_only_an_allowed_origin_gets_cors_headers(guarded: Process) -> None:
    async with connections([guarded.url()]) as (client,):
        lines, body = modern("tools/list")
        allowed = await client.ask("POST", "/mcp", lines | RIGHT | {"Origin": "https://app.example"}, body)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert allowed.headers["x-content-type-options"] == "nosniff"
        preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        assert (await client.ask("OPTIONS", "/mcp", preflight)).status == 200
        for headers in (RIGHT, RIGHT | {"Origin": "https://evil.example"}):
            other = await client.ask("POST", "/mcp", lines | headers, body)
            assert "access-control-allow-origin" not in other.headers
        assert (await client.ask("OPTIONS", "/mcp", preflight | {"Origin": "https://evil.example"})).status == 403


# ---------------------------------------------------------------- the secret
@pytest.mark.requirement("S10")
@pytest.mark.parametrize("command", ["up", "edge", "bridge", "ls"])
def test_a_command_with_a_given_broker_needs_a_secret(tmp_path: Path, config: Write, command: str) -> None:
    given = [] if command == "ls" else [config()]
    done = run(command, *given, "--broker", "nats://127.0.0.1:1", state=tmp_path / "state")
    assert (done.returncode, done.stdout) == (2, "")
    assert "secret" in done.stderr
    assert "openssl rand -hex 32" in done.stderr


@pytest.mark.requirement("S10")
async def test_sessions_of_both_keys_work_while_the_secret_rotates(tmp_path: Path, config: Write) -> None:
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    path, broker = config(), brokers.nats(tmp_path).start()
    try:
        with (
            bridge(path, tmp_path, broker.url, FABRIC_SECRET=f"{old},{new}") as bridge_process,
            edge(path, tmp_path, broker.url, FABRIC_SECRET=f"{old},{new}") as before,
            edge(path, tmp_path, broker.url, FABRIC_SECRET=f"{new},{old}") as after,
        ):
            bridge_process.ready()
            async with connections([before.url(), after.url()]) as (first, second):
                for here, there in ((first, second), (second, first)):
                    session = await Session.open(here)
                    assert text(await session.at(there).call("echo", text="still here")) == "still here"
                    assert text(await call(there, "echo", text="and here")) == "and here"
            logs = "".join(process.log.read_text() for process in (bridge_process, before, after))
            assert not [key for key in (old, new) if key in logs]
    finally:
        broker.kill()

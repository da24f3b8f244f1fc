"""Fixtures of the conformance tests: the example server behind a fabric, and the same server on the SDK's own HTTP.

A request through a fabric passes the HTTP edge, the broker, the bridge and the stdio server: in `mcp-fabric up` with the
embedded broker, or in an edge and a bridge on each broker that CONFORMANCE_BROKERS names (`make conformance`).
`make test` leaves this folder out, as it takes minutes; .ci/run runs both.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from mcp import StdioServerParameters

from tests.brokers import FAMILIES
from tests.fabrics import EXAMPLES, PROGRAM, ROOT, Process, cluster, fabric_env, modern_only_config, up
from tests.ports import free_port

SERVER = ROOT / "examples" / "servers" / "conformance.py"
BROKERS = os.environ.get("CONFORMANCE_BROKERS", "embedded").split()
LISTENING = re.compile(r"Uvicorn running on.*")


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP endpoint of the example server without a fabric."""
    port = free_port()
    with Process(sys.executable, SERVER, "--http", str(port), state=tmp_path_factory.mktemp("direct")) as process:
        process.ready(LISTENING)
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module")
def remote(direct: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP endpoint of a fabric that reaches the example server by its URL."""
    state = tmp_path_factory.mktemp("remote")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"remote": {"url": direct}}}))
    with up(config, state) as process:
        yield f"{process.url()}/mcp"


class LegacyServer(NamedTuple):
    """A fabric whose server is the example server with its revisions before 2026-07-28 alone."""

    url: str
    """Its MCP endpoint."""
    command: StdioServerParameters
    """The command with which a host starts `connect` to it."""


@pytest.fixture(scope="module")
def legacy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegacyServer]:
    """The legacy server behind a fabric."""
    state = tmp_path_factory.mktemp("legacy")
    config = state / "mcp.json"
    server = {
        "command": sys.executable,
        "args": [str(SERVER)],
        "era": "legacy",
    }  # the SDK keeps to the era of the first request
    config.write_text(json.dumps({"mcpServers": {"old": server}}))
    command = StdioServerParameters(command=str(PROGRAM), args=["connect", "old"], env=fabric_env(state), cwd=str(ROOT))
    with up(config, state) as process:
        yield LegacyServer(f"{process.url()}/mcp", command)


@pytest.fixture(scope="module")
def far_legacy_server(direct: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP endpoint of a fabric whose server is reached by HTTP, and asked for its legacy revisions alone."""
    state = tmp_path_factory.mktemp("far-legacy")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"far": {"url": direct, "era": "legacy"}}}))
    with up(config, state) as process:
        yield f"{process.url()}/mcp"


@pytest.fixture(scope="module", params=["HTTP", "connect"])
def reached(request: pytest.FixtureRequest, legacy_server: LegacyServer) -> str | StdioServerParameters:
    """The legacy server as the SDK's client reaches it."""
    return legacy_server.url if request.param == "HTTP" else legacy_server.command


@pytest.fixture(scope="module")
def modern_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP endpoint of a fabric whose server is that one, as it speaks only the modern revision."""
    state = tmp_path_factory.mktemp("modern-only")
    with up(modern_only_config(state), state) as process:
        yield f"{process.url()}/mcp"


@pytest.fixture(scope="module", params=BROKERS)
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP endpoint of the example server behind a fabric, on each broker."""
    state = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "embedded":
            url = stack.enter_context(up(EXAMPLES, state)).url()
        else:
            family = next(family for family in FAMILIES if family.name == request.param)
            broker = family.make(state).start()
            stack.callback(broker.release)
            if family.separate:
                url = stack.enter_context(cluster(EXAMPLES, state, broker.url))
            else:
                url = stack.enter_context(up(EXAMPLES, state, "--broker", broker.url)).url()
        yield f"{url}/mcp"

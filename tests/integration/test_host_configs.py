"""The host configs of docs/howto: the command of each entry serves a real client of a running fabric."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters

from tests.brokers import FAMILIES
from tests.fabrics import EXAMPLES, PROGRAM, SECRET, bridge, up
from tests.pages import DOCS, blocks

PAGE = DOCS / "howto" / "claude-desktop-and-other-hosts.md"
HOSTS = [json.loads(block) for block in blocks(PAGE, "json")]


def entries(*, broker: bool) -> list[dict[str, Any]]:
    """The page's entries for a given broker, or those for the embedded one."""
    every = [entry for host in HOSTS for servers in host.values() for entry in servers.values()]
    return [entry for entry in every if ("--broker" in entry["args"]) is broker]


async def current_time(entry: dict[str, Any], home: Path, **places: str | Path) -> str:
    """Launch this entry as a host does, with few variables, and call the time server; its answer."""
    for example, real in {"/path/to/fabric/.venv/bin/mcp-fabric": PROGRAM, **places}.items():
        entry = json.loads(json.dumps(entry).replace(example, str(real)))
    environment = {"HOME": str(home), **entry.get("env", {})}
    command = StdioServerParameters(command=entry["command"], args=entry["args"], env=environment, cwd=str(home))
    async with Client(command, read_timeout_seconds=30) as client:
        result = await client.call_tool("get_current_time", {"timezone": "UTC"})
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a user whose fabric runs."""
    folder = tmp_path_factory.mktemp("home")
    with up(EXAMPLES, folder, HOME=str(folder), XDG_STATE_HOME="") as process:
        process.ready()
        yield folder


@pytest.mark.parametrize("entry", entries(broker=False), ids=[f"{n}" for n in range(len(entries(broker=False)))])
async def test_the_entry_of_each_host_reaches_the_running_fabric(entry: dict[str, Any], home: Path) -> None:
    state = home / ".local" / "state" / "mcp-fabric"
    assert '"timezone": "UTC"' in await current_time(entry, home, **{"/run/user/1000/mcp-fabric": state})


async def test_the_entry_for_a_cluster_reaches_the_cluster(tmp_path: Path) -> None:
    [entry] = entries(broker=True)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    broker = next(family for family in FAMILIES if family.name == "nats").make(tmp_path)
    broker.start()
    try:
        with bridge(EXAMPLES, tmp_path, broker.url) as process:
            process.ready()
            places: dict[str, str | Path] = {"nats://TOKEN@broker.example:4222": broker.url, "/path/to/secret": secret}
            assert '"timezone": "UTC"' in await current_time(entry, tmp_path, **places)
    finally:
        broker.kill()


def test_the_page_has_an_entry_for_each_host_it_names() -> None:
    text = PAGE.read_text()
    assert all(f"**{host}**" in text for host in ("Claude Desktop", "Cursor", "VS Code", "Continue", "Zed", "Claude Code"))
    assert len(entries(broker=False)) == 6

"""The known list of a server's tools decides the outcome of a call whose process ends, in a session and without one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from fabric.mcp.tools import FRESH_AT_LEAST
from tests.fabrics import up
from tests.integration.conftest import Write
from tests.integration.mcp_over_http import Session, call, connections, reason, text

SERVER = Path(__file__).with_name("fragile_server.py")

pytestmark = [pytest.mark.requirement("D01"), pytest.mark.timeout(240)]


def fragile(era: str, folder: Path) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-S", str(SERVER), era, str(folder)]}


async def test_a_failed_tools_list_replaces_no_good_one_and_a_session_uses_the_list_that_it_got(
    config: Write, tmp_path: Path
) -> None:
    path = config(legacy=fragile("legacy", tmp_path), modern=fragile("modern", tmp_path))
    with up(path, tmp_path) as process:
        async with connections([process.url()] * 2) as (client, other):
            assert text(await call(client, "reads", path="/modern/mcp")) == "done"
            listed = asyncio.get_running_loop().time()

            for tool, outcome in (("reads", "session_lost"), ("writes", "outcome_unknown")):
                session = await Session.open(other, "/legacy/mcp")
                await session.ask("tools/list")
                assert reason(await session.call(tool, name=f"{tool} in a session")) == outcome

            (tmp_path / "no list").touch()
            await asyncio.sleep(listed + FRESH_AT_LEAST + 0.1 - asyncio.get_running_loop().time())
            assert text(await call(client, "reads", path="/modern/mcp")) == "done"  # its list is fetched again, and fails
            assert text(await call(client, "reads", path="/modern/mcp", name="reads alone")) == "done"
            assert reason(await call(client, "writes", path="/modern/mcp", name="writes alone")) == "outcome_unknown"

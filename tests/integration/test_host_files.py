"""A host's own config file works unchanged: it is checked and served, with its variables replaced."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, Process, run

FILE = """{
  // VS Code's, with what only it knows
  "inputs": [{"type": "promptString", "id": "api-key", "password": true}],
  "servers": {
    "time": {
      "type": "stdio", "command": "sh", "args": ["-c", "env > seen; exec ${PYTHON} -m mcp_server_time"],
      "env": {"KEY": "${input:api-key}", "PORT": 80}, "envFile": "${workspaceFolder}/.env", "dev": {"watch": "*.py"},
    },
    "far": {"type": "http", "url": "http://127.0.0.1:9/s/${input:api-key}/mcp"},
    "off": {"command": "no-such-program", "args": ["${NOT_SET}"], "disabled": true},
  },
}
"""
KEY = "hunter2-of-the-host"


@pytest.mark.requirement("C01", "L02")
def test_a_hosts_own_file_is_checked_and_served_unchanged(tmp_path: Path) -> None:
    path = tmp_path / ".vscode" / "mcp.json"
    path.parent.mkdir()
    path.write_text(FILE)
    (tmp_path / ".env").write_text("FROM_FILE='a b'\n")
    state = tmp_path / "state"
    given = {"PYTHON": sys.executable, "HTTPS_PROXY": "http://proxy", "FABRIC_INHERIT_ENV": "HTTPS_PROXY", "USER": "someone"}

    done = run("config", "check", path, state=state, **given)
    assert (done.returncode, done.stdout) == (2, "")
    reason = "the input api-key is asked for by hosts, not here; set the variable INPUT_API_KEY"
    places = ("servers.time.env.KEY", "servers.far.url")
    assert done.stderr.splitlines() == [f"mcp-fabric: {path}: {place}: {reason}" for place in places]

    given["INPUT_API_KEY"] = KEY
    done = run("config", "check", path, state=state, **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{path}: fabric default, 2 servers: time, far",
        f"{path}: passed over, as known to hosts alone: dev (time)",
    ]

    with Process(PROGRAM, "up", path, "--http", "0", state=state, **given) as process:
        assert process.url().startswith("http://127.0.0.1:")
        called = run("call", "time", "get_current_time", "timezone=UTC", "--json", state=state)
        assert json.loads(called.stdout), called.stderr
        listed = run("ls", state=state).stdout
        assert "http://127.0.0.1:9/s/${input:api-key}/mcp: nothing listens there" in listed
        log = process.log.read_text()
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert (seen["KEY"], seen["PORT"], seen["FROM_FILE"], seen["HTTPS_PROXY"], seen["USER"]) == (
        KEY, "80", "a b", "http://proxy", "someone",
    )  # fmt: skip
    assert not seen.keys() & {"INPUT_API_KEY", "FABRIC_INHERIT_ENV", "PYTHON"}
    assert KEY not in log + listed

"""Servers in real containers behind a running fabric: they are called, shown, checked, and end with their bridge."""

from __future__ import annotations

import json
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.containers import ENGINE, IMAGE, PYTHON, ROOT, ask_engine, containers, entry, need_containers
from tests.contract.http_client import Client
from tests.fabrics import run, up
from tests.integration.conftest import Write, servers, until
from tests.integration.mcp_over_http import call, text

pytestmark = [pytest.mark.requirement("L03"), pytest.mark.timeout(240)]

ECHO = (PYTHON, "-S", str(ROOT / "examples" / "servers" / "echo.py"))


@pytest.fixture(autouse=True)
def engine() -> None:
    need_containers()


@pytest.fixture
def server() -> str:
    """The name of a server that only this test has."""
    return f"boxed-{secrets.token_hex(4)}"


def test_a_containers_server_is_called_and_its_container_says_whose_it_is(config: Write, tmp_path: Path, server: str) -> None:
    path = config(**{server: entry(*ECHO)})
    with up(path, tmp_path) as process:
        process.ready()
        answer = run("call", server, "echo", "text=hello", state=tmp_path)
        assert "hello" in answer.stdout, answer
        assert [each["health"] for each in servers(tmp_path)] == ["healthy"]
        [name] = containers(f"mcp-fabric.server={server}")
        assert name in containers("mcp-fabric.fabric=default")
        bridges = ask_engine("inspect", "--format", '{{index .Config.Labels "mcp-fabric.bridge"}}', name).split()
        workers = json.loads(run("ls", "--json", state=tmp_path).stdout)["workers"]
        assert bridges == [each["incarnation"] for each in workers if each["role"] == "bridge"]
    assert not containers(f"mcp-fabric.server={server}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_container_outlives_its_bridge(config: Write, tmp_path: Path, server: str, number: int) -> None:
    """The server ignores the end of its stdin, and SIGTERM."""
    clinging = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('{}', flush=True); time.sleep(600)"
    path = config(**{server: {**entry(PYTHON, "-c", clinging), "grace": 0.3}})
    label = f"mcp-fabric.server={server}"
    with up(path, tmp_path) as process:
        until(lambda: bool(containers(label)))
        process.stop(number)
        until(lambda: not containers(label))


async def test_what_is_wrong_with_a_container_is_shown_with_the_engines_words(config: Write, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o700)
    wrong: dict[str, dict[str, Any]] = {
        "exits": entry(PYTHON, "-c", "import sys; sys.exit('no key is set')"),
        "absent": {**entry(), "image": "localhost/no-such-image"},
        "volume": {**entry(*ECHO), "volumes": ["/no/such/folder:/data"]},
        "hangs": {"image": IMAGE, "engine": str(hanging), "startTimeout": 1.0, "grace": 0.2},
    }
    reasons = {
        "exits": f"podman for the image {IMAGE} exited with status 1; its last stderr lines: no key is set",
        "absent": "try: podman pull localhost/no-such-image); its last stderr lines: ",
        "volume": "/no/such/folder: no such file or directory",
        "hangs": " within 1 s; startTimeout says how long it may take",
    }
    with up(config(boxed=entry(*ECHO), **wrong), tmp_path) as process:
        address = process.url()

        def reason(name: str) -> str:
            found: str = next(server for server in servers(tmp_path) if server["name"] == name)["reason"]
            return found

        for name, expected in reasons.items():
            until(lambda name=name, expected=expected: expected in reason(name))  # type: ignore[misc]  # defaults bind the loop
        async with await Client.open(address) as client:
            assert text(await call(client, "echo", path="/boxed/mcp", text="on")) == "on"


def test_doctor_runs_the_container_and_names_what_to_do_about_a_wrong_one(config: Write, tmp_path: Path) -> None:
    path = config(boxed=entry(*ECHO), absent={**entry(), "image": "localhost/no-such-image"})
    done = run("doctor", "--json", path, "--http", "127.0.0.1:0", state=tmp_path)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert found["server boxed"]["ok"], found
    assert "podman pull localhost/no-such-image" in found["server absent"]["detail"]
    assert found["server absent"]["remedy"] == f"run it by hand: {' '.join(ENGINE)} run --rm -i localhost/no-such-image"


def test_a_missing_engine_is_named_before_anything_starts(config: Write, tmp_path: Path) -> None:
    path = config(boxed={"image": "mcp/time", "engine": "no-such-engine"})
    done = run("config", "check", path, state=tmp_path)
    assert done.returncode == 2
    assert "mcpServers.boxed.engine: no such program on PATH: no-such-engine; install it, or name another" in done.stderr

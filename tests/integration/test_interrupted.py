"""Ctrl-C and SIGTERM at any moment: no traceback, a line where something was not done, and an exit code that says which."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, SECRET, Process, edge, up
from tests.integration.conftest import Write

pytestmark = pytest.mark.requirement("C01")

INTERRUPTED = "mcp-fabric: interrupted"


@pytest.mark.parametrize(
    "module", ["fabric.errors", "typer", "pydantic", "fabric.config.load", "uvloop", "workers.serving.summary"]
)
def test_in_the_middle_of_its_imports(tmp_path: Path, config: Write, module: str) -> None:
    with up(config(), tmp_path, PYTHONPROFILEIMPORTTIME="1") as process:
        process.ready(re.compile(rf"\| +{re.escape(module)}\n"))
        assert process.stop(signal.SIGINT) == 130
    said = [line for line in process.log.read_text().splitlines() if not line.startswith("import time:")]
    assert [line for line in said if " INFO " not in line and not line.startswith(INTERRUPTED)] == []  # of traceback above all
    assert sum(line.startswith(INTERRUPTED) for line in said) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_before_it_was_ready(tmp_path: Path, config: Write, number: signal.Signals, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(40)
        with edge(config(), tmp_path, f"nats://127.0.0.1:{mute.getsockname()[1]}") as process:
            mute.accept()[0].close()
            process.ready(re.compile("no broker at"))
            assert process.stop(number) == code
    last = process.log.read_text().splitlines()[-1]
    assert last.startswith(INTERRUPTED) is (number is signal.SIGINT)
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize("command", [("ls",), ("call", "echo", "echo"), ("doctor",), ("connect", "echo")])
@pytest.mark.parametrize(("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_while_it_asks(tmp_path: Path, command: tuple[str, ...], number: signal.Signals, code: int, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(40)
        url = f"nats://127.0.0.1:{mute.getsockname()[1]}"
        with Process(PROGRAM, *command, "--broker", url, state=tmp_path, FABRIC_SECRET=SECRET) as process:
            connection, _ = mute.accept()
            with connection:
                orderly = command[0] == "connect" and number is signal.SIGTERM  # hosts stop their servers by it
                assert process.stop(number) == (0 if orderly else code)
    said = process.log.read_text()
    assert orderly or said.splitlines()[-1] == f"mcp-fabric: {line}"
    assert "Traceback" not in said

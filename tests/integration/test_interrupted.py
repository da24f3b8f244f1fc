"""Ctrl-C and SIGTERM during imports, before the ready line and while connecting: one line, an exit code, no traceback."""

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
def test_ctrl_c_during_the_imports_exits_with_130_and_one_line(tmp_path: Path, config: Write, module: str) -> None:
    with up(config(), tmp_path, PYTHONPROFILEIMPORTTIME="1") as process:
        process.ready(re.compile(rf"\| +{re.escape(module)}\n"))
        assert process.stop(signal.SIGINT) == 130
    output = [line for line in process.log.read_text().splitlines() if not line.startswith("import time:")]
    assert [
        line for line in output if " INFO " not in line and not line.startswith(INTERRUPTED)
    ] == []  # no traceback above all
    assert sum(line.startswith(INTERRUPTED) for line in output) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_before_the_ready_line_ends_a_worker_without_a_traceback(
    tmp_path: Path, config: Write, number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(40)
        with edge(config(), tmp_path, f"nats://127.0.0.1:{silent.getsockname()[1]}") as process:
            silent.accept()[0].close()
            process.ready(re.compile("no broker at"))
            assert process.stop(number) == code
    last = process.log.read_text().splitlines()[-1]
    assert last.startswith(INTERRUPTED) is (number is signal.SIGINT)
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize("command", [("ls",), ("call", "echo", "echo"), ("doctor",), ("connect", "echo")])
@pytest.mark.parametrize(("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_while_a_command_connects_ends_it_with_one_line(
    tmp_path: Path, command: tuple[str, ...], number: signal.Signals, code: int, line: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(40)
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with Process(PROGRAM, *command, "--broker", url, state=tmp_path, FABRIC_SECRET=SECRET) as process:
            connection, _ = silent.accept()
            with connection:
                orderly = command[0] == "connect" and number is signal.SIGTERM  # hosts stop their servers by it
                assert process.stop(number) == (0 if orderly else code)
    output = process.log.read_text()
    assert orderly or output.splitlines()[-1] == f"mcp-fabric: {line}"
    assert "Traceback" not in output

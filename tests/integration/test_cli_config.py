"""The command line: help, completion, exit codes, what is refused before anything starts, and the health endpoints."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fabric.config.settings.process import Address
from fabric.errors import ConfigError
from fabric.security.access import AccessRules
from workers.process.extras import refuse_missing_extras
from workers.process.health_pages import serve_admin

COMMANDS = ["up", "edge", "bridge", "connect", "ls", "tools", "resources", "prompts", "call", "restart"]
COMMANDS += ["doctor", "transports", "config"]
SERVER = {"command": sys.executable, "args": ["-c", "pass"]}


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers.cli", *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"one": SERVER, "two": SERVER}}))
    return path


@pytest.mark.requirement("C03")
def test_help_lists_every_command_and_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.split("Commands:\n")[1].splitlines()[: len(COMMANDS)]] == COMMANDS
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage" in done.stdout


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("command", [*COMMANDS[:-1], "config check"])
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    done = run(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n  mcp-fabric {command} " in done.stdout or f"\n  mcp-fabric {command}\n" in done.stdout


@pytest.mark.requirement("C03")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("command", [["--help"], ["transports"], ["config", "schema"], ["config", "check"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_reported_in_one_line(config: Path, command: list[str], unbuffered: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONUNBUFFERED": unbuffered}
    arguments = [*command, str(config)] if command[-1] == "check" else command
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, env=environment, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "mcp-fabric: cannot write: No space left on device\n")


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_ends_no_command_abnormally(closed: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "FABRIC_STATE": str(tmp_path), "FABRIC_BROKER": "nats://127.0.0.1:1"}
    command = ["sh", "-c", f'exec "$0" -m workers.cli ls {closed}', sys.executable]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, env={**environment, "FABRIC_SECRET": "x" * 32}, check=False
    )
    assert done.returncode == 3, done.stderr


@pytest.mark.requirement("C03")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_exist_for_each_shell(shell: str) -> None:
    done = run(environment={"_MCP_FABRIC_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0
    assert "_MCP_FABRIC_COMPLETE=complete_" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    program = "import sys, workers.commands; print(*sys.modules)"
    modules = set(subprocess.check_output([sys.executable, "-c", program], text=True, timeout=30).split())
    assert not modules & {"pydantic", "asyncio", "uvloop", "httptools", "nats", "redis", "opentelemetry", "rich"}


@pytest.mark.requirement("C03")
@pytest.mark.parametrize(
    "arguments", [["upp"], ["up", "--nonsense"], ["call"], ["call", "a", "b", "c"], ["call", "a", "b", "c:={"], ["tools"]]
)
def test_wrong_usage_exits_with_2_and_an_explanation(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.requirement("C04")
def test_config_check_accepts_a_valid_file_and_starts_nothing(config: Path, tmp_path: Path) -> None:
    done = run("config", "check", str(config), environment={"FABRIC_STATE": str(tmp_path / "state")})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{config}: fabric default, 2 servers: one, two\n", "")
    assert not (tmp_path / "state").exists()


@pytest.mark.requirement("C04")
@pytest.mark.parametrize("command", [["up"], ["edge"], ["bridge"], ["doctor"], ["config", "check"], ["ls", "--config"]])
def test_every_command_refuses_an_invalid_file_with_exit_code_2(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"time": {"comand": "x"}}, "fabric": {"lease": 0}}))
    done = run(*command, str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"mcp-fabric: {path}: mcpServers.time.comand: unknown key; did you mean `command`?",
        f"mcp-fabric: {path}: fabric.lease: should be greater than or equal to 2",
    ]


@pytest.mark.requirement("C04")
@pytest.mark.parametrize("command", [["up"], ["bridge"], ["config", "check"]])
def test_a_missing_server_program_is_refused_by_commands_that_would_run_it(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"time": {"command": "no-such-program-here"}}}))
    done = run(*command, str(path))
    assert done.returncode == 2
    assert done.stderr == f"mcp-fabric: {path}: mcpServers.time.command: no such program on PATH: no-such-program-here\n"


@pytest.mark.requirement("C02", "S01")
def test_a_program_on_an_open_host_is_refused_without_authentication() -> None:
    environment = {"PROGRAM": sys.executable, "HOST": "0.0.0.0"}
    assert "can be reached from other machines" in run("config", "check", environment=environment).stderr
    allowed = run("config", "check", environment={**environment, "AUTH_USER": "u", "AUTH_PASSWORD": "p"})
    assert allowed.stdout == "the environment: fabric default, 1 server: default\n"


@pytest.mark.requirement("S10")
def test_config_check_reports_a_missing_secret_for_a_given_broker(config: Path) -> None:
    done = run("config", "check", str(config), environment={"FABRIC_BROKER": "nats://127.0.0.1:1"})
    assert done.returncode == 2
    assert "openssl rand -hex 32" in done.stderr


@pytest.mark.requirement("C10")
def test_a_missing_extra_is_reported_with_its_install_command() -> None:
    # an installation without the extra is one where importing it fails: hide the installed one from a fresh interpreter
    program = "import sys; sys.modules['opentelemetry.exporter'] = None; from workers.cli import main; main()"
    environment = {"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program, "up"], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "mcp-fabric: OTEL_EXPORTER_OTLP_ENDPOINT: needs an extra; install it with `pip install 'mcp-transport-fabric[otlp]'`\n"
    )
    refuse_missing_extras({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})


@pytest.mark.requirement("C12")
@pytest.mark.parametrize(
    ("pretend", "reason"),
    [("sys.platform = 'win32'", "win32 is not supported"), ("sys.version_info = (3, 9, 1)", "Python 3.11 or later is needed")],
)
def test_an_unsupported_platform_or_python_is_refused_in_one_line(pretend: str, reason: str) -> None:
    program = f"import sys; {pretend}; from workers.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def get(address: str, path: str) -> tuple[int, dict[str, Any]]:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), json.loads(body)


async def test_livez_always_answers_and_readyz_says_whether_the_process_can_serve() -> None:
    state: dict[str, Any] = {"status": "starting"}
    async with asyncio.timeout(20):
        listener = await serve_admin(
            Address("127.0.0.1", 0), lambda: (state["status"] in ("ready", "degraded"), state), access=AccessRules()
        )
        try:
            for status_text, code in [("starting", 503), ("ready", 200), ("degraded", 200), ("draining", 503)]:
                state["status"] = status_text
                assert await get(listener.address, "/readyz") == (code, {"status": status_text})
                assert await get(listener.address, "/livez") == (200, {"status": "live"})
            status, answer = await get(listener.address, "/mcp")
            assert (status, answer["error"]["message"]) == (404, "no such path: there are /livez, /readyz")
            port = int(listener.address.rsplit(":", 1)[1])
            with pytest.raises(ConfigError, match=f"admin: cannot listen on 127.0.0.1:{port}"):
                await serve_admin(Address("127.0.0.1", port), lambda: (True, state), access=AccessRules())
        finally:
            await listener.aclose()

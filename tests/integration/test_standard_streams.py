"""Commands whose standard streams are closed, full, no longer read, or cannot encode a text."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, ROOT, fabric_env, run, up
from tests.integration.conftest import ECHO, servers, until
from tests.integration.test_connect import call, lines

pytestmark = pytest.mark.requirement("C03")

SURROGATES = {"command": sys.executable, "args": ["-S", str(ROOT / "tests" / "integration" / "surrogate_server.py")]}
NAME = "io.x/t\N{LATIN SMALL LETTER I WITH DIAERESIS}me"
COMMANDS = ["ls", "tools odd", "resources odd", "call odd odd", "call odd odd --help", "doctor", "restart odd", "connect odd"]
ASCII = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}]
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a fabric with a server whose texts are odd, and one whose name is not ASCII."""
    folder = tmp_path_factory.mktemp("streams")
    config = folder / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"odd": SURROGATES, NAME: ECHO}}))
    with up(config, folder) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(folder)} == {"healthy"})
        yield folder


def shell(script: str, state: Path, stdin: bytes = b"", **environment: str) -> tuple[int, bytes, str]:
    """Run a bash script in which `$F` is mcp-fabric; its exit code, stdout and stderr."""
    env = {**fabric_env(state), "F": str(PROGRAM), **environment}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        input=stdin,
        capture_output=True,
        timeout=90,
        env=env,
        cwd=ROOT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_stream_is_reported_in_one_line_or_not_needed(command: str, state: Path) -> None:
    lacks_stdin = command.startswith("connect")
    for closed, code in ((">&-", 1), (">&- 2>&-", 1), ("2>&-", 0), ("<&-", int(lacks_stdin)), ("<&- 2>&-", int(lacks_stdin))):
        exit_code, _, err = shell(f"$F {command} {closed}", state)
        nothing = command.startswith("resources")  # the server has no resources, which is printed on stderr
        assert exit_code == (0 if nothing else code), (closed, err)
        assert "Traceback" not in err
        if code and "2>" not in closed and not nothing:
            name = "stdin" if lacks_stdin and "<" in closed else "stdout"
            assert err.splitlines()[-1].startswith("mcp-fabric: ")
            assert err.splitlines()[-1].endswith(f"{name} is closed")


@needs_full
@pytest.mark.parametrize("command", [each for each in COMMANDS if not each.startswith(("resources", "connect"))])
def test_a_full_disk_is_reported_in_one_line(command: str, state: Path) -> None:
    code, _, err = shell(f"$F {command} >/dev/full", state)
    assert (code, err.splitlines()[-1]) == (1, "mcp-fabric: cannot write: No space left on device")


@needs_full
def test_connect_fails_in_one_line_when_an_answer_cannot_be_written(state: Path) -> None:
    asked = lines([call(1, "odd")]).encode()
    code, _, err = shell("$F connect odd >/dev/full", state, asked)
    assert (code, err) == (1, "mcp-fabric: stdout cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", [*COMMANDS, "--help", "config schema", "transports"])
@pytest.mark.parametrize("reader", ["head -c 1", "true"])
def test_a_closed_pipe_ends_a_command_quietly(command: str, reader: str, state: Path) -> None:
    code, _, err = shell(f"$F {command} | {reader}", state, lines([call(1, "odd")] * 500).encode())
    expected = "" if not command.startswith("resources") else "mcp-fabric: odd has no resources\n"
    assert (code, err.partition("try: ")[0]) == (0, expected)


@pytest.mark.parametrize("environment", ASCII)
@pytest.mark.parametrize("command", COMMANDS)
def test_text_that_a_stream_cannot_encode_is_escaped(command: str, environment: dict[str, str], state: Path) -> None:
    code, out, err = shell(f"$F {command}", state, b"", **environment)
    assert (code, out.isascii(), err.isascii()) == (0, True, True), err
    if command == "ls":
        assert rb"io.x/t\u00efme" in out


def test_escaped_json_is_the_same_json(state: Path) -> None:
    plain, escaped = (run("ls", "--json", state=state, PYTHONIOENCODING=encoding) for encoding in ("utf-8", "ascii"))
    names = [{server["name"] for server in json.loads(each.stdout)["servers"]} for each in (plain, escaped)]
    assert names == [{"odd", NAME}] * 2
    assert escaped.stdout.isascii()


@pytest.mark.parametrize("more", ["", " --json"])
def test_half_of_a_surrogate_pair_in_a_result_is_replaced(more: str, state: Path) -> None:
    code, out, err = shell(f"$F call odd odd{more}", state)
    assert (code, err) == (0, "")
    assert "a\N{REPLACEMENT CHARACTER}b" in out.decode()


def test_half_of_a_surrogate_pair_in_a_list_is_replaced(state: Path) -> None:
    assert "a\N{REPLACEMENT CHARACTER}b" in shell("$F tools odd", state)[1].decode()


@pytest.mark.parametrize("command", ["call odd odd s=", "ls --fabric ", "up ", "connect "])
def test_an_argument_that_is_not_utf8_is_named(command: str, state: Path) -> None:
    number = len(shlex.split(command + "x"))
    code, out, err = shell(f"$F {command}$'\\xff'", state)
    assert (code, out) == (2, b"")
    assert err.startswith(f"mcp-fabric: argument {number} is not UTF-8: ")
    assert err.count("\n") == 1


def test_a_non_blocking_stdout_loses_no_output(state: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [str(PROGRAM), "config", "schema"]
    with (
        subprocess.Popen(command, stdout=writing, env=fabric_env(state), cwd=ROOT) as process,
        os.fdopen(reading, "rb") as read,
    ):
        os.close(writing)
        assert json.loads(read.read())["$schema"]
        assert process.wait(30) == 0


@pytest.mark.parametrize("name", ["FABRIC_NAME", "FABRIC_BROKER", "FABRIC_SECRET", "FABRIC_STATE"])
def test_a_variable_that_is_not_utf8_is_named_and_not_shown(name: str, state: Path) -> None:
    assert shell(f"export {name}=$'hidden\\xff'; $F ls", state) == (2, b"", f"mcp-fabric: {name} is not UTF-8\n")

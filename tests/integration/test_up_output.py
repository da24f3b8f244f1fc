"""The output of `mcp-fabric up`: each server's state, a call that works as printed, and the fabric that it joined."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, ROOT, fabric_env, run, up
from tests.integration.conftest import BROKEN, ECHO, Write, until

pytestmark = pytest.mark.requirement("C01")

LATE = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.05)\nos.execv(sys.executable, sys.argv[2:])"


def block(log: str) -> list[str]:
    """The lines of a log from the ready line on."""
    lines = log.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("ready ")) :]


def test_up_prints_each_servers_address_state_and_tools_and_a_call_that_works(tmp_path: Path, config: Write) -> None:
    servers = {"io.github.someone/echo": ECHO, "my server": ECHO, "broken": BROKEN}
    with up(config(**servers), tmp_path) as process:
        url = process.url()
        until(lambda: "connect" in process.log.read_text())
        assert " link inside" not in process.log.read_text()  # it closes its own links in order, which is no news
        output = block(process.log.read_text())
        assert output[0] == f"ready {url}"
        rows = [re.split(r" {2,}", line.strip(), maxsplit=2) for line in output[1:4]]
        assert rows[:2] == [
            ["io.github.someone/echo", f"{url}/io.github.someone%2Fecho/mcp", "ready, 3 tools"],
            ["my server", f"{url}/my%20server/mcp", "ready, 3 tools"],
        ]
        assert rows[2][:2] == ["broken", f"{url}/broken/mcp"]
        assert rows[2][2].startswith("failed: ")
        assert "no database" in rows[2][2]
        call = next(line.strip() for line in output if " call " in line)
        words = [str(PROGRAM) if word == str(PROGRAM) or word == "mcp-fabric" else word for word in shlex.split(call)]
        done = subprocess.run(
            words, env=fabric_env(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_a_slow_server_is_shown_as_starting_and_gets_a_line_once_it_is_ready(tmp_path: Path, config: Write) -> None:
    go = tmp_path / "go"
    late = {"command": sys.executable, "args": ["-c", LATE, str(go), sys.executable, *ECHO["args"]]}
    with up(config(echo=ECHO, late=late), tmp_path) as process:
        url = process.url()
        assert re.search(rf"^  late  {url}/late/mcp  starting for \d+ s$", process.log.read_text(), re.MULTILINE)
        go.touch()
        process.ready(re.compile(rf"^late  {url}/late/mcp  ready, 3 tools$", re.MULTILINE))


def test_a_second_up_names_the_fabric_that_it_joins_and_its_servers(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as first:
        first.ready()
        with up(config("other.json", other=ECHO), tmp_path) as second:
            url = second.url()
            log = second.log.read_text()
            joined = next(line for line in log.splitlines() if line.startswith("joined "))
            assert joined.startswith("joined fabric 'default': bridge ")
            assert f":{first.pid} serves echo; edge " in joined
            assert log.index("joined ") < log.index("\nready ")
            assert re.search(rf"^  echo +{url}/echo/mcp +ready at bridge \S+:{first.pid}$", log, re.MULTILINE)
            first.ready(re.compile(rf"^other  {first.url()}/other/mcp  joined, at bridge \S+:{second.pid}$", re.MULTILINE))


def test_a_conflicting_definition_is_refused_before_ready_and_its_remedy_works(tmp_path: Path, config: Write) -> None:
    other = config("other.json", echo={**ECHO, "args": [*ECHO["args"], "--other"]})
    with up(config(), tmp_path) as first:
        first.ready()
        done = run("up", other, "--http", "127.0.0.1:0", state=tmp_path)
        assert (done.returncode, "ready " in done.stderr) == (2, False)
        assert done.stderr.splitlines()[-1].endswith("--fabric NAME")
        with up(other, tmp_path, "--fabric", "apart") as second:
            assert "joined" not in second.ready()
            assert "call --fabric apart echo" in second.log.read_text()


def test_on_a_terminal_progress_is_drawn_and_states_have_colours(tmp_path: Path, config: Write) -> None:
    output = on_a_terminal(tmp_path, str(config()))
    assert re.search(r"\r\x1b\[2K.*starting echo|looking who is there", output)
    assert re.search(r"\x1b\[(?:\d+;)*32mready\x1b\[0m, 3 tools\r\n", output)
    assert re.search(r"\x1b\[3[16]m", on_a_terminal(tmp_path, str(config()), NO_COLOR="1")) is None


def on_a_terminal(state: Path, *arguments: str, **environment: str) -> str:
    """Run `up` on a terminal until it is ready, and stop it; its output."""
    ours, theirs = pty.openpty()
    env = {**fabric_env(state), "TERM": "xterm-256color", **environment}
    command = [str(PROGRAM), "up", *arguments, "--http", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    output, stopped, deadline = "", False, time.monotonic() + 60
    with suppress(OSError):  # raised once no process holds the other end
        while True:
            assert time.monotonic() < deadline, output
            if select.select([ours], [], [], 1)[0]:
                output += os.read(ours, 65536).decode(errors="replace")
            if " connect " in output and not stopped:
                stopped = True  # a second signal could come after its handler was removed
                process.send_signal(signal.SIGTERM)
    os.close(ours)
    assert process.wait(30) == 0
    return output

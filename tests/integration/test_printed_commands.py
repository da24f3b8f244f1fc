"""Every command line that mcp-fabric prints runs as printed, whatever the server is called."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, ROOT, fabric_env, up
from tests.integration.conftest import ECHO, Write

pytestmark = pytest.mark.requirement("C01", "C03")


def typed(line: str, state: Path) -> subprocess.CompletedProcess[str]:
    """Run the line in a shell, as a person would type it."""
    env = {**fabric_env(state), "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, env=env, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("name", ["-dash", "my server", 'it\'s "$HOME" `x`', "io.x/t\N{LATIN SMALL LETTER I WITH DIAERESIS}me"])
@pytest.mark.parametrize("options", [[], ["--fabric", "apart"]])
def test_each_printed_command_runs_whatever_the_server_is_called(
    name: str, options: list[str], tmp_path: Path, config: Write
) -> None:
    with up(config(**{name: ECHO}), tmp_path, *options) as process:
        process.ready(re.compile(r" connect .*\n"))
        tries = [line for line in process.log.read_text().partition("try, in a second terminal\n")[2].splitlines() if line]
        assert len(tries) == 3
        for line in tries:
            done = typed(line, tmp_path)
            assert done.returncode == 0, (line, done.stderr)
        call = tries[0]
        listed = typed(call.replace(" call ", " tools ").removesuffix(" slow seconds=1"), tmp_path)
        refused = typed(call.replace("seconds=1", "seconds=x"), tmp_path)
        assert (listed.returncode, refused.returncode) == (0, 2)
        for line in (listed.stderr.removeprefix("try: "), refused.stderr.partition("more: ")[2]):
            assert line.startswith(f"mcp-fabric call {' '.join([*options, ''])}")
            done = typed(line, tmp_path)
            assert done.returncode == 0, (line, done.stderr)


def test_an_ordinary_server_name_is_preferred_in_the_printed_commands(tmp_path: Path, config: Write) -> None:
    with up(config(**{"-dash": ECHO, "my server": ECHO, "ordinary": ECHO}), tmp_path) as process:
        process.ready(re.compile(r" connect ordinary .*\n"))
        assert re.search(r" call ordinary ", process.log.read_text())

"""What the shells offer while a command is typed: the protocol that each shell's script speaks, and bash itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, around, ask

pytestmark = pytest.mark.requirement("C03")


def offered(state: Path, shell: str, *words: str) -> list[str]:
    """The words that a shell is given for the last one."""
    line = " ".join(words)
    asked = {
        "_MCP_FABRIC_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = ask(state=state, **asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n") if done.stdout.strip() else []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("words", "word"), [
    (["mcp-fabric", "call", "ti"], "time"),
    (["mcp-fabric", "tools", "ti"], "time"),
    (["mcp-fabric", "connect", "ti"], "time"),
    (["mcp-fabric", "call", "time", "conv"], "convert_time"),
])  # fmt: skip
def test_servers_and_tools_are_offered(running: Path, shell: str, words: list[str], word: str) -> None:
    found = offered(running, shell, *words)
    assert len([line for line in found if word in line]) == 1
    assert "git" not in " ".join(found)


def test_nothing_is_offered_and_nothing_said_where_no_fabric_runs(tmp_path: Path) -> None:
    assert offered(tmp_path / "none", "bash", "mcp-fabric", "call", "ti") == []
    assert not (tmp_path / "none").exists()


def test_bash_completes_by_the_script_that_it_is_given(running: Path) -> None:
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the shell is the one we name, not the one we run below
    script = ask("--show-completion", "bash", state=running, **named).stdout
    program = f"""
PATH={PROGRAM.parent}:$PATH
{script}
COMP_WORDS=(mcp-fabric call conf); COMP_CWORD=2
_mcp_fabric_completion mcp-fabric conf call
echo "${{COMPREPLY[@]}}"
"""
    environment = {**around(running), **named}
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.stdout.split(), done.stderr) == (["conformance"], "")

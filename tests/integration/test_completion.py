"""Shell completion: the protocol of each shell's script, and bash itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fabrics import PROGRAM, fabric_env, run

pytestmark = pytest.mark.requirement("C03")


def completions(state: Path, shell: str, *words: str) -> list[str]:
    """The completions that a shell is given for the last word."""
    line = " ".join(words)
    asked = {
        "_MCP_FABRIC_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = run(state=state, **asked)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n") if done.stdout.strip() else []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("words", "word"), [
    (["mcp-fabric", "call", "ti"], "time"),
    (["mcp-fabric", "tools", "ti"], "time"),
    (["mcp-fabric", "connect", "ti"], "time"),
    (["mcp-fabric", "call", "time", "conv"], "convert_time"),
])  # fmt: skip
def test_server_and_tool_names_are_completed(running: Path, shell: str, words: list[str], word: str) -> None:
    words_offered = completions(running, shell, *words)
    assert len([line for line in words_offered if word in line]) == 1
    assert "git" not in " ".join(words_offered)


def test_completion_without_a_running_fabric_is_empty_and_silent(tmp_path: Path) -> None:
    assert completions(tmp_path / "none", "bash", "mcp-fabric", "call", "ti") == []
    assert not (tmp_path / "none").exists()


def test_bash_completes_with_the_printed_script(running: Path) -> None:
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the shell named here, not the one that runs the test
    script = run("--show-completion", "bash", state=running, **named).stdout
    program = f"""
PATH={PROGRAM.parent}:$PATH
{script}
COMP_WORDS=(mcp-fabric call conf); COMP_CWORD=2
_mcp_fabric_completion mcp-fabric conf call
echo "${{COMPREPLY[@]}}"
"""
    environment = {**fabric_env(running), **named}
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.stdout.split(), done.stderr) == (["conformance"], "")

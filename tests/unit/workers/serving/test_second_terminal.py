"""The options that lead another terminal to this fabric: as few as possible, and never a credential."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fabric.config.load import load
from workers.serving.second_terminal import typed


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    """An environment without settings of a fabric."""
    return {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": "", "HOME": str(tmp_path), "PATH": "/bin"}


def options(tmp_path: Path, plain: dict[str, str], section: dict[str, Any], given: dict[str, Any], **variables: str) -> str:
    path = tmp_path / "my mcp.json"
    path.write_text(json.dumps({"mcpServers": {"echo": {"command": "true"}}, "fabric": section}))
    settings = load(str(path), environment={**plain, **variables}, arguments=given)
    before, _, after = typed(settings, {**plain, **variables}, "ls").partition(" ls")
    return f"{before.rpartition(' ')[0]}|{after}".replace(str(tmp_path), "TMP")


def test_a_fabric_with_default_settings_needs_no_options(tmp_path: Path, plain: dict[str, str]) -> None:
    assert options(tmp_path, plain, {}, {}) == "|"


def test_settings_of_a_file_need_only_the_option_for_the_file(tmp_path: Path, plain: dict[str, str]) -> None:
    assert options(tmp_path, plain, {"name": "mine"}, {}) == "| --config 'TMP/my mcp.json'"
    secret = {"broker": "nats://u:p@h:4222", "secretFile": "secret"}
    assert options(tmp_path, plain, secret, {}) == "| --config 'TMP/my mcp.json'"


def test_settings_of_the_command_line_or_environment_are_repeated(tmp_path: Path, plain: dict[str, str]) -> None:
    assert options(tmp_path, plain, {}, {"name": "mine"}) == "| --fabric mine"
    assert options(tmp_path, plain, {}, {}, FABRIC_NAME="mine") == "| --fabric mine"
    assert options(tmp_path, plain, {}, {"broker": "redis://h:6379"}) == "| --broker redis://h:6379"
    assert options(tmp_path, plain, {}, {}, FABRIC_STATE=str(tmp_path / "s")) == "FABRIC_STATE=TMP/s|"


def test_a_credential_is_not_shown_in_the_options(tmp_path: Path, plain: dict[str, str]) -> None:
    shown = options(tmp_path, plain, {}, {}, FABRIC_BROKER="nats://user:hunter2@h:4222", FABRIC_SECRET="0" * 32)
    assert shown == "| --broker 'nats://***@h:4222'"

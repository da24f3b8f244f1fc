"""The config files of MCP hosts are accepted unchanged: their keys, their variables, and settings that only the host knows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fabric.config.load import load
from fabric.config.runnable import refuse_unrunnable_servers
from fabric.config.settings.process import Settings
from fabric.config.settings.server import ServerDefinition
from fabric.errors import ConfigError

TOKEN = "hunter2-of-github"
ENVIRONMENT = {"HOME": "/home/someone", "PATH": os.environ["PATH"], "TOKEN": TOKEN}

CLAUDE_DESKTOP = """{
  "mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}}},
  "globalShortcut": "", "preferences": {"menuBarEnabled": false}
}"""
CLAUDE_CODE = """{"mcpServers": {
  "time": {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "${ZONE:-UTC}"}, "timeout": 60000},
  "far": {"type": "http", "url": "https://${HOST:-far.example}/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"},
          "headersHelper": "/bin/helper", "oauth": {"clientId": "x"}}
}}"""
CURSOR = """{"mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC", "HERE": "${workspaceFolder}"}},
  "far": {"url": "https://far.example/mcp", "env": {"API_KEY": "value"}, "headers": {"Authorization": "Bearer ${env:TOKEN}"}}
}}"""
VS_CODE = """{
  // Asked for once, then kept by VS Code.
  "inputs": [{"type": "promptString", "id": "api-key", "description": "Key", "password": true,},
             {"type": "pickString", "id": "zone", "options": ["UTC"], "default": "UTC"}],
  "servers": {
    "time": {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "${input:zone}", "PORT": 80},
             "dev": {"watch": "*.py"}, "sandboxEnabled": true},
    "far": {"type": "http", "url": "https://far.example/mcp", "headers": {"Authorization": "Bearer ${input:api-key}"}}, /* */
  },
}"""
VS_CODE_SETTINGS = """{
  "editor.fontSize": 12,
  "mcp": {"inputs": [{"type": "pickString", "id": "zone", "options": ["UTC"], "default": "UTC"}], "servers": {
    "time": {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "${input:zone}"}}
  }}
}"""
CLINE = """{"mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}, "transportType": "stdio", "timeout": 60,
           "autoApprove": ["now"], "alwaysAllow": [], "disabled": false},
  "far": {"url": "https://far.example/mcp", "type": "streamableHttp", "headers": {"Authorization": "Bearer hunter2-of-github"}},
  "off": {"command": "uvx", "env": {"KEY": "${NOT_SET}"}, "disabled": true}
}}"""
ZED = """// Zed settings
{
  "theme": {"mode": "system"}, "vim_mode": true, "ui_font_size": 16,
  "context_servers": {
    "time": {"source": "custom", "enabled": true, "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}},
    "far": {"url": "https://far.example/mcp", "headers": {"Authorization": "Bearer hunter2-of-github"}},
    "extension": {"source": "extension", "enabled": true, "settings": {"font": "x"}},
    "off": {"enabled": false, "command": "no-such-program"},
  },
}"""
ZED_BEFORE = """{"context_servers": {
  "time": {"command": {"path": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}}, "settings": {}}
}}"""
CONTINUE = """{"name": "ours", "version": "0.0.1", "schema": "v1", "mcpServers": [
  {"name": "time", "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}, "connectionTimeout": 1000}
]}"""
CONTINUE_BEFORE = """{"models": [], "experimental": {"modelContextProtocolServers": [
  {"name": "time", "transport": {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}}}
]}}"""
WINDSURF = """{"mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}},
  "far": {"serverUrl": "https://far.example/mcp", "headers": {"Authorization": "Bearer ${env:TOKEN}"}, "disabledTools": []}
}}"""
GEMINI = """{"security": {"auth": {}}, "mcp": {"allowed": ["time"]}, "mcpServers": {
  "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC"}, "trust": true, "includeTools": ["now"]},
  "far": {"httpUrl": "https://far.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}, "timeout": 5000}
}}"""
FILES = {
    "Claude Desktop": (CLAUDE_DESKTOP, ["globalShortcut", "preferences"]),
    "Claude Code": (CLAUDE_CODE, ["timeout (time)", "headersHelper (far)", "oauth (far)"]),
    "Cursor": (CURSOR, ["env (far)"]),
    "VS Code": (VS_CODE, ["dev (time)", "sandboxEnabled (time)"]),
    "VS Code, settings": (VS_CODE_SETTINGS, ["editor.fontSize"]),
    "Cline": (CLINE, ["timeout (time)", "autoApprove (time)", "alwaysAllow (time)"]),
    "Zed": (ZED, ["theme", "vim_mode", "ui_font_size", "source (time)", "servers of Zed's extensions (extension)"]),
    "Zed, before": (ZED_BEFORE, ["settings (time)"]),
    "Continue": (CONTINUE, ["name", "version", "schema", "connectionTimeout (time)"]),
    "Continue, before": (CONTINUE_BEFORE, ["models"]),
    "Windsurf": (WINDSURF, ["disabledTools (far)"]),
    "Gemini CLI": (GEMINI, ["security", "mcp", "trust (time)", "includeTools (time)", "timeout (far)"]),
}


def settings(path: Path, text: str, environment: Mapping[str, str] | None = None, *, runs: bool = True) -> Settings:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load(str(path), environment={**ENVIRONMENT, **(environment or {})}, arguments={}, needs_servers=runs)


def server(path: Path, entry: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> ServerDefinition:
    return settings(path, json.dumps({"mcpServers": {"a": {"command": "sh", **entry}}}), environment).servers["a"]


def refusal(path: Path, text: str, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_unrunnable_servers(settings(path, text, environment))
    return str(caught.value).replace(str(path), path.name)


@pytest.mark.requirement("C01")
@pytest.mark.parametrize("host", FILES)
def test_the_config_file_of_each_host_is_accepted_unchanged(tmp_path: Path, host: str) -> None:
    text, passed_over = FILES[host]
    path = tmp_path / ".cursor" / "mcp.json"
    loaded = settings(path, text, {"INPUT_API_KEY": TOKEN})
    time = loaded.servers["time"]
    assert (time.command, time.args, time.env["TZ"]) == ("uvx", ("mcp-server-time",), "UTC")
    assert time.cwd == str(tmp_path), "the folder of the project, not the host's folder in it"
    assert loaded.servers.keys() - {"time"} == ({"far"} if '"far"' in text else set())
    if far := loaded.servers.get("far"):
        assert (far.url, dict(far.headers)) == ("https://far.example/mcp", {"Authorization": f"Bearer {TOKEN}"})
    assert list(loaded.source.passed_over) == passed_over
    assert not [line for definition in loaded.servers.values() for line in definition.unready]
    assert TOKEN not in repr(loaded) + repr(loaded.servers)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("retry_calls", "retryCalls"),
        ("maxProceses", "maxProcesses"),
        ("graces", "grace"),
        ("evn", "env"),
        ("arguments", "args"),
    ],
)
def test_a_misspelt_key_of_the_fabric_is_refused_in_any_file(tmp_path: Path, key: str, meant: str) -> None:
    for servers_at in ("mcpServers", "servers", "context_servers"):
        text = json.dumps({servers_at: {"a": {"command": "sh", key: 1, "autoApprove": []}}, "inputs": []})
        reason = f"mcp.json: {servers_at}.a.{key}: unknown key; did you mean `{meant}`?"
        assert refusal(tmp_path / "mcp.json", text) == reason


@pytest.mark.parametrize("name", ["config.yaml", "server.YML", "config.toml"])
def test_a_yaml_or_toml_file_is_refused_by_its_suffix(tmp_path: Path, name: str) -> None:
    reason = f"{name}: {'TOML' if 'toml' in name else 'YAML'} is not read here; write its servers as JSON, under `mcpServers`"
    assert refusal(tmp_path / name, "mcpServers: []") == reason


def test_numbers_and_booleans_become_text(tmp_path: Path) -> None:
    loaded = server(tmp_path / "mcp.json", {"env": {"A": 1, "B": 1.5, "C": True, "D": None}, "args": ["--port", 8080]})
    assert loaded.args == ("--port", "8080")
    assert loaded.env == {"HOME": "/home/someone", "PATH": os.environ["PATH"], "A": "1", "B": "1.5", "C": "true"}


def test_a_key_that_is_null_counts_as_absent(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("args", "env", "envFile", "cwd", "url", "headers", "type", "disabled"))
    assert server(tmp_path / "mcp.json", nothing) == server(tmp_path / "mcp.json", {})


def test_variables_of_the_entry_win_over_those_of_its_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a comment\n\nA=1\nexport B='two words'\nC=\"x=y\"\r\n")
    loaded = server(tmp_path / "mcp.json", {"envFile": "${workspaceFolder}/.env", "env": {"A": "mine"}})
    assert {name: loaded.env[name] for name in "ABC"} == {"A": "mine", "B": "two words", "C": "x=y"}
    (tmp_path / "bad").write_text(f"A=1\n{TOKEN}\n")
    for name, reason in [("bad", "line 2 is not NAME=VALUE"), ("absent", "cannot be read")]:
        text = json.dumps({"mcpServers": {"a": {"command": "sh", "envFile": name}}})
        message = refusal(tmp_path / "mcp.json", text)
        assert message.startswith(f"mcp.json: mcpServers.a.envFile: {reason}")
        assert TOKEN not in message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${TOKEN}", TOKEN),
        ("${env:TOKEN}", TOKEN),
        ("<${TOKEN}${TOKEN}>", f"<{TOKEN}{TOKEN}>"),
        ("${ABSENT:-a b}", "a b"),
        ("${EMPTY:-}", ""),
        ("${TOKEN:-other}", TOKEN),
        ("${userHome}${pathSeparator}x${/}", "/home/someone/x/"),
        ("$${TOKEN} $TOKEN $$ %TOKEN% {TOKEN}", "${TOKEN} $TOKEN $$ %TOKEN% {TOKEN}"),
        ("${HOLDS}", "${TOKEN}"),
    ],
)
def test_each_variable_is_replaced_once_and_other_text_stays(tmp_path: Path, written: str, read: str) -> None:
    loaded = server(tmp_path / "mcp.json", {"args": [written], "env": {"A": written}}, {"EMPTY": "", "HOLDS": "${TOKEN}"})
    assert (loaded.args, loaded.env["A"]) == ((read,), read)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("${ABSENT}", "the variable ABSENT is not set; set it, or say what else to take: ${ABSENT:-...}"),
        ("${env:EMPTY}", "the variable EMPTY is not set; set it, or say what else to take: ${EMPTY:-...}"),
        ("${input:api-key}", "the input api-key is asked for by hosts, not here; set the variable INPUT_API_KEY"),
        ("${command:pick}", "${command:pick} is not a variable known here; write $${ for the characters ${"),
        ("${{ secrets.KEY }}", "${{ secrets.KEY } is not a variable known here; write $${ for the characters ${"),
        ("${ABSENT", "a ${ that is not closed, or one in another: write $${ for the characters ${"),
        ("${A:-${TOKEN}}", "a ${ that is not closed, or one in another: write $${ for the characters ${"),
        ("${FABRIC_SECRET}", "FABRIC_SECRET is a setting of the fabric, which servers are not given"),
        ("${AUTH_PASSWORD:-x}", "AUTH_PASSWORD is a setting of the fabric, which servers are not given"),
    ],
)
def test_a_variable_without_a_value_is_refused_by_name(tmp_path: Path, written: str, reason: str) -> None:
    entry = {"command": "sh", "args": ["-c", written], "env": {"A": f"{TOKEN}${{TOKEN}}{written}"}}
    text = json.dumps({"mcpServers": {"a": entry}})
    secrets = {"FABRIC_SECRET": TOKEN, "AUTH_USER": "u", "AUTH_PASSWORD": TOKEN, "EMPTY": ""}
    assert refusal(tmp_path / "mcp.json", text, secrets).splitlines() == [
        f"mcp.json: mcpServers.a.args[1]: {reason}",
        f"mcp.json: mcpServers.a.env.A: {reason}",
    ]


def test_no_refusal_shows_the_value_of_a_variable(tmp_path: Path) -> None:
    for entry in (
        {"url": "${TOKEN}"},
        {"url": "tcp://${TOKEN}"},
        {"url": "https://h", "headers": {"A": "${TOKEN}\n"}},
        {"command": "sh", "args": ["${TOKEN}\0"]},
    ):
        assert TOKEN not in refusal(tmp_path / "mcp.json", json.dumps({"mcpServers": {"a": entry}}))


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "https://ann:${TOKEN}@far.example:8443/s/${TOKEN}/mcp?${TOKEN}&key=${TOKEN}",
            "https://far.example:8443/s/${TOKEN}/mcp",
        ),
        ("sse+http://far.example/${env:TOKEN}", "sse+http://far.example/${env:TOKEN}"),
        ("ws://far.example/${NOT_SET:-a}/${TOKEN}", "ws://far.example/${NOT_SET:-a}/${TOKEN}"),
        ("${WHOLE}", "https://far.example/"),
        ("https://far.example/s/mcp", ""),
    ],
)
def test_a_shown_url_has_the_names_of_variables_and_not_their_values(tmp_path: Path, written: str, shown: str) -> None:
    loaded = server(tmp_path / "mcp.json", {"command": None, "url": written}, {"WHOLE": f"https://far.example/s/{TOKEN}/mcp"})
    assert loaded.shown == shown
    assert "${" not in loaded.url


def test_a_process_that_runs_no_server_needs_no_variable_of_one(tmp_path: Path) -> None:
    text = json.dumps({"mcpServers": {"a": {"url": "https://${HOST}/mcp", "type": "http", "retryCalls": True}}})
    loaded = settings(tmp_path / "mcp.json", text, runs=False)
    assert (list(loaded.servers), loaded.servers["a"].retry_calls) == (["a"], True)
    with pytest.raises(ConfigError, match="the variable HOST is not set"):
        refuse_unrunnable_servers(loaded)


def test_the_digest_does_not_depend_on_the_values_of_variables(tmp_path: Path) -> None:
    def digest(entry: Mapping[str, Any], value: str) -> str:
        text = json.dumps({"mcpServers": {"a": entry}})
        return settings(tmp_path / "mcp.json", text, {"ROOT": value}).servers["a"].digest

    command = {"command": "sh", "args": ["${ROOT}"], "cwd": "${ROOT}", "env": {"A": "${ROOT}"}}
    url = {"url": "https://${ROOT}:one@h/${ROOT}?key=${ROOT}", "headers": {"A": "${ROOT}"}}
    for entry in (command, url):
        assert digest(entry, "one") == digest(entry, "two")
    assert digest(command, "one") != digest({**command, "args": ["one"]}, "one")
    assert digest(url, "one") == digest({**url, "url": "https://${ROOT}:two@h/${ROOT}?key=other"}, "one")
    assert digest(url, "one") != digest({**url, "url": "https://${ROOT}:one@h/other"}, "one")
    assert digest({"command": "sh", "args": [1]}, "") == digest({"command": "sh", "args": ["1"]}, "")

"""Settings of the listeners beside HTTP; two listeners at one address are refused before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fabric.config.load import load
from fabric.config.settings.process import Address, ListenerSettings
from fabric.errors import ConfigError

Write = Callable[[object], Path]
ENVIRONMENT = {"HOME": "/home/someone", "PATH": os.environ["PATH"]}
TIME = {"command": "python3", "args": ["-m", "mcp_server_time"]}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: object) -> Path:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.mark.requirement("L05")
def test_listeners_beside_http_are_settings_of_processes_that_open_them(write: Write) -> None:
    section = {"tcp": ["127.0.0.1:0=a"], "unix": ["run/b.sock"], "unixMode": "660", "unixRemove": False, "ws": "[::1]:7"}
    path = write({"mcpServers": {"a": TIME, "b": TIME}, "defaultServer": "b", "fabric": section})
    loaded = load(
        str(path), environment={**ENVIRONMENT, "FABRIC_TCP": "127.0.0.1:1=b,127.0.0.1:2"}, arguments={}, listens=("others",)
    )
    assert loaded.listen.others == (
        ListenerSettings(scheme="tcp", server="b", address=Address("127.0.0.1", 1)),
        ListenerSettings(scheme="tcp", server="b", address=Address("127.0.0.1", 2)),
        ListenerSettings(scheme="unix", server="b", path=path.parent / "run/b.sock"),
        ListenerSettings(scheme="ws", server="", address=Address("::1", 7)),
    )
    assert (loaded.listen.unix_mode, loaded.listen.unix_remove) == (0o660, False)
    assert load(str(path), environment=ENVIRONMENT, arguments={}).listen.others == (), (
        "a process that opens no listener has none"
    )


@pytest.mark.parametrize(("written", "port"), [(8181, 8181), ("8181", 8181), ("127.0.0.1:8181", 8181), ("0", 0)])
def test_a_bare_port_is_a_port_of_the_loopback_address(write: Write, written: str | int, port: int) -> None:
    path = write({"mcpServers": {"a": TIME}, "fabric": {"http": written, "tcp": [7000, "7001=a"], "ws": 7002}})
    ways: list[tuple[dict[str, str], dict[str, object]]] = [({}, {"admin": "9090"}), ({"FABRIC_ADMIN": "9090"}, {})]
    for variables, arguments in ways:
        loaded = load(str(path), environment=ENVIRONMENT | variables, arguments=arguments, listens=("http", "admin", "others"))
        assert (loaded.listen.http, loaded.listen.admin) == (Address("127.0.0.1", port), Address("127.0.0.1", 9090))
        listeners = [("tcp", "127.0.0.1:7000"), ("tcp", "127.0.0.1:7001"), ("ws", "127.0.0.1:7002")]
        assert [(listener.scheme, str(listener.address)) for listener in loaded.listen.others] == listeners


TCP = "127.0.0.1:7000"
SHARED: list[tuple[dict[str, object], str]] = [
    ({"tcp": [f"{TCP}=a", f"{TCP}=a"]}, f"fabric.tcp: {TCP}=a is there twice; leave one out"),
    (
        {"tcp": [f"{TCP}=a", "localhost:7000=b"]},
        f"fabric.tcp: tcp {TCP}=a and tcp localhost:7000=b are at one address; give each a port of its own; 0 picks a free one",
    ),
    ({"tcp": [f"{TCP}=a"], "ws": ["0.0.0.0:7000"], "allowUnauthenticated": True}, "fabric.ws: tcp 127.0.0.1:7000=a and ws 0.0"),
    ({"http": TCP, "ws": ["[::]:7000"], "allowUnauthenticated": True}, f"fabric.ws: http {TCP} and ws [::]:7000 are at one"),
    ({"admin": "127.0.0.1:8080"}, "fabric.admin: http 127.0.0.1:8080 and admin 127.0.0.1:8080 are at one address"),
    ({"unix": ["x.sock=a", "x.sock=a"]}, "fabric.unix: x.sock=a is there twice; leave one out"),
    (
        {"unix": ["x.sock=a", "../run/x.sock=b"]},
        "fabric.unix: unix x.sock=a and unix ../run/x.sock=b are at one address; give each a path of its own",
    ),
]


@pytest.mark.requirement("L05", "C04")
@pytest.mark.parametrize(("section", "expected"), SHARED, ids=[expected[:60] for _, expected in SHARED])
def test_two_listeners_at_one_address_are_refused_with_both_names(
    tmp_path: Path, section: dict[str, object], expected: str
) -> None:
    path = tmp_path / "run" / "mcp.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"mcpServers": {"a": TIME, "b": TIME}, "fabric": section}))
    with pytest.raises(ConfigError) as refused:
        load(str(path), environment=ENVIRONMENT, arguments={}, listens=("http", "admin", "others"))
    assert str(refused.value).partition("mcp.json: ")[2].startswith(expected)


@pytest.mark.requirement("L05")
def test_listeners_at_different_addresses_are_accepted(write: Write) -> None:
    section = {
        "tcp": ["127.0.0.1:0=a", "127.0.0.1:0=a", f"{TCP}=a", "127.0.0.2:7000=a"],
        "ws": ["[::1]:7000"],
        "unix": ["a=a", "b=a"],
    }
    path = write({"mcpServers": {"a": TIME}, "fabric": {**section, "allowUnauthenticated": True}})
    assert len(load(str(path), environment=ENVIRONMENT, arguments={}, listens=("http", "others")).listen.others) == 7

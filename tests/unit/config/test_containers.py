"""A server in a container is configured by its image, in a file of ours or a host's, or by a URL; what is wrong is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fabric.config.load import load
from fabric.config.runnable import refuse_unrunnable_servers
from fabric.config.settings.process import Settings
from fabric.config.settings.server import ServerDefinition
from fabric.errors import ConfigError
from fabric.links.stdio.container import Container, run_command

pytestmark = pytest.mark.requirement("L03", "L12")

TOKEN = "hunter2-of-the-container"
ENVIRONMENT = {"HOME": "/home/someone", "PATH": os.environ["PATH"], "TOKEN": TOKEN, "DOCKER_HOST": "tcp://engine.example:2376"}


def settings(folder: Path, entry: dict[str, Any], **environment: str) -> Settings:
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"time": entry}}))
    return load(str(path), environment={**ENVIRONMENT, **environment}, arguments={}, needs_servers=True)


def server(folder: Path, entry: dict[str, Any], **environment: str) -> ServerDefinition:
    return settings(folder, entry, **environment).servers["time"]


def refusal(folder: Path, entry: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as refused:
        refuse_unrunnable_servers(settings(folder, entry))
    return str(refused.value).replace(f"{folder}/", "")


def test_every_key_of_a_container_is_part_of_its_command(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("ZONE=UTC\n")
    entry = {
        "image": "mcp/time:1.2",
        "args": ["--local-timezone", "UTC"],
        "env": {"TOKEN": "${TOKEN}", "DEBUG": 1, "NONE": None},
        "envFile": "more.env",
        "volumes": ["./data:/data:ro", "named:/cache"],
        "ports": [8080, "127.0.0.1:9000:90/tcp"],
        "network": "tools",
        "options": ["--memory", "256m"],
        "engine": "podman --runtime runc",
    }
    defined = server(tmp_path, entry)
    assert defined.container is not None
    command = run_command(
        defined.container, env=defined.env, cwd=defined.cwd, grace=defined.grace, labels={"mcp-fabric.server": "time"}
    )
    name = command.args[command.args.index("--name") + 1]
    assert (command.command, *command.args) == (
        *("podman", "--runtime", "runc", "run", "--rm", "-i", "--init", "--name", name, "--log-driver", "none"),
        *("--stop-timeout", "10", "--label", "mcp-fabric.server=time", "--env", "DEBUG", "--env", "TOKEN", "--env", "ZONE"),
        *("--volume", f"{tmp_path}/data:/data:ro", "--volume", "named:/cache"),
        *("--publish", "8080", "--publish", "127.0.0.1:9000:90/tcp", "--network", "tools", "--memory", "256m"),
        *("mcp/time:1.2", "--local-timezone", "UTC"),
    )  # fmt: skip
    assert {key: command.env.get(key) for key in ("TOKEN", "DEBUG", "ZONE", "NONE")} == {
        "TOKEN": TOKEN, "DEBUG": "1", "ZONE": "UTC", "NONE": None,
    }  # fmt: skip
    assert command.cleanup[3:] == (name, "podman", "--runtime", "runc")
    assert (command.cwd, command.grace) == (str(tmp_path), 10.0)
    assert TOKEN not in repr(command)


def test_containers_have_names_of_their_own() -> None:
    container = Container(image="mcp/time")
    commands = [run_command(container, env={}, cwd="", grace=10, labels={}) for _ in range(2)]
    assert commands[0].cleanup != commands[1].cleanup


def test_only_the_engine_of_a_container_inherits_where_the_engine_is(tmp_path: Path) -> None:
    given = {"FABRIC_SECRET": "s" * 32, "SOME_OTHER": "x"}
    engine = server(tmp_path, {"image": "mcp/time"}, **given)
    assert engine.env == {key: ENVIRONMENT[key] for key in ("HOME", "PATH", "DOCKER_HOST")}
    assert engine.container == Container(image="mcp/time", engine=("docker",))
    assert "DOCKER_HOST" not in server(tmp_path, {"command": "sh"}).env


@pytest.mark.parametrize(
    "type", [{}, {"type": "docker"}, {"type": "stdio"}, {"transport": "docker"}, {"transportType": "docker"}]
)
def test_a_hosts_entry_with_an_image_is_a_container(tmp_path: Path, type: dict[str, str]) -> None:
    defined = server(tmp_path, {"image": "mcp/time", "env": {"TZ": "UTC"}, "timeout": 5000, "autoApprove": [], **type})
    assert defined.container == Container(image="mcp/time", variables=("TZ",))


def test_a_url_means_the_same_as_its_keys(tmp_path: Path) -> None:
    url = "docker:mcp/time?env=TOKEN&volume=./data:/data&port=80&network=none&arg=-v&option=--read-only&engine=podman"
    keys = {
        "image": "mcp/time",
        "env": {"TOKEN": "${TOKEN}"},
        "volumes": ["./data:/data"],
        "ports": ["80"],
        "network": "none",
        "args": ["-v"],
        "options": ["--read-only"],
        "engine": "podman",
    }
    assert server(tmp_path, {"url": url}) == server(tmp_path, keys)
    assert server(tmp_path, {"url": url, "type": "docker"}) == server(tmp_path, keys)
    alone = load(url, environment=ENVIRONMENT, arguments={}, needs_servers=True).servers["default"]
    assert alone.env["TOKEN"] == TOKEN
    assert alone.container is not None
    assert alone.container.variables == ("TOKEN",)


def test_a_url_that_names_a_variable_that_is_not_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the command line.env.ABSENT: the variable ABSENT is not set"):
        load("docker:mcp/time?env=ABSENT", environment=ENVIRONMENT, arguments={}, needs_servers=True)


def test_the_digest_depends_on_the_image_and_not_on_the_engine(tmp_path: Path) -> None:
    first = server(tmp_path, {"image": "mcp/time"}).digest
    assert server(tmp_path, {"image": "mcp/time", "engine": "podman", "options": ["--read-only"]}).digest == first
    others: list[dict[str, Any]] = [
        {"image": "mcp/time:2"},
        {"image": "mcp/time", "network": "none"},
        {"image": "mcp/time", "volumes": ["a:/a"]},
    ]
    assert len({first, *(server(tmp_path, each).digest for each in others)}) == 4


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"image": "mcp/time", "command": "sh"}, "mcpServers.time: say command, image or url, and only one of them"),
        ({"image": "mcp/time", "url": "tcp://h:1"}, "mcpServers.time: say command, image or url, and only one of them"),
        ({"command": "sh", "volumes": ["a:/a"]}, "mcpServers.time: volumes does not go with command"),
        ({"image": "mcp/time", "cwd": "x"}, "mcpServers.time: cwd does not go with image"),
        ({"image": "mcp/time", "headers": {"A": "b"}}, "mcpServers.time: headers does not go with image"),
        ({"image": "mcp/time", "type": "http"}, "mcpServers.time: type http does not go with image"),
        ({"url": "https://h", "type": "docker"}, "mcpServers.time: type docker goes with "),
        ({"image": "--privileged"}, "mcpServers.time.image: is not the name of an image"),
        ({"image": "mcp/time", "volumes": ["data"]}, "mcpServers.time.volumes[0]: is not SOURCE:TARGET"),
        ({"image": "mcp/time", "volumes": ["data:relative"]}, "mcpServers.time.volumes[0]: is not SOURCE:TARGET"),
        ({"image": "mcp/time", "ports": ["http"]}, "mcpServers.time.ports[0]: is not [[ADDRESS:]HOST_PORT:]PORT"),
        ({"image": "mcp/time", "engine": " "}, "mcpServers.time.engine: is empty"),
        ({"image": "mcp/time", "env": {"PATH": "/x"}}, "mcpServers.time.env: PATH is a variable that the engine itself reads"),
        (
            {"image": "mcp/time", "engine": "no-such-engine"},
            "mcpServers.time.engine: no such program on PATH: no-such-engine; ",
        ),
        ({"url": "docker:mcp/time?volumes=a:/a"}, "mcpServers.time.url: has the parameter volumes; known are env, volume, "),
    ],
)
def test_a_wrong_container_is_refused_naming_key_and_reason(tmp_path: Path, entry: dict[str, Any], reason: str) -> None:
    assert refusal(tmp_path, entry).startswith(f"mcp.json: {reason}")

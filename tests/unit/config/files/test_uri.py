"""A URI on the command line chooses the transport; a wrong one is refused without being quoted."""

from __future__ import annotations

import pytest

from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import BrokerUrl
from fabric.config.files.docker_url import DockerUrl
from fabric.config.files.uri import parse
from fabric.errors import ConfigError
from fabric.links.registry import CONNECTORS
from fabric.links.stdio.command import ServerCommand
from fabric.links.url import LinkUrl

pytestmark = pytest.mark.requirement("L12")
PASSWORD = "hunter2-of-the-server"


@pytest.mark.parametrize(
    "uri", ["uvx mcp-server-time --local-timezone 'Some Where'", "stdio:uvx mcp-server-time --local-timezone 'Some Where'"]
)
def test_a_command_line_means_stdio_with_and_without_its_scheme(uri: str) -> None:
    assert parse(uri) == ServerCommand("uvx", ("mcp-server-time", "--local-timezone", "Some Where"))


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("tcp://127.0.0.1:7000", LinkUrl(scheme="tcp", host="127.0.0.1", port=7000)),
        ("tls://[::1]:7000", LinkUrl(scheme="tls", host="::1", port=7000)),
        ("TCP://localhost:7000/", LinkUrl(scheme="tcp", host="localhost", port=7000)),
        ("unix:///run/mcp%20server.sock", LinkUrl(scheme="unix", path="/run/mcp server.sock")),
    ],
)
def test_the_url_of_a_server_is_parsed(uri: str, meant: LinkUrl) -> None:
    assert parse(uri) == meant


@pytest.mark.parametrize(
    ("uri", "section"),
    [
        ("docker:mcp/time", {"image": "mcp/time"}),
        ("DOCKER:registry.example:5000/mcp/time@sha256:0a", {"image": "registry.example:5000/mcp/time@sha256:0a"}),
        (
            "docker:mcp/time:1.2?env=TOKEN&env=TZ&volume=./data:/data:ro&port=80&port=8080:80&network=none",
            {
                "image": "mcp/time:1.2",
                "env": {"TOKEN": "${env:TOKEN}", "TZ": "${env:TZ}"},
                "volumes": ["./data:/data:ro"],
                "ports": ["80", "8080:80"],
                "network": "none",
            },
        ),
        (
            "docker:time?engine=podman%20--runtime%20runc&option=--read-only&arg=--local-timezone&arg=Some%20Where",
            {
                "image": "time",
                "engine": "podman --runtime runc",
                "options": ["--read-only"],
                "args": ["--local-timezone", "Some Where"],
            },
        ),
    ],
)
def test_the_url_of_an_image_says_how_to_run_it(uri: str, section: dict[str, object]) -> None:
    meant = parse(uri)
    assert isinstance(meant, DockerUrl)
    assert meant.section() == section


@pytest.mark.parametrize("scheme", sorted(ADAPTERS.keys() - CONNECTORS.keys()))
def test_the_url_of_a_broker_is_recognised_by_its_scheme(scheme: str) -> None:
    url = parse(f"{scheme}://user:{PASSWORD}@broker.example:1")
    assert isinstance(url, BrokerUrl)
    assert url.scheme == scheme


@pytest.mark.parametrize("uri", ["gopher://host", "tunnel://somewhere", "tcp:host", "nats:host"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(uri: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(uri)
    for scheme in (*CONNECTORS, *ADAPTERS):
        assert f"{scheme}://" in str(refused.value)
    assert "stdio:, docker:, " in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "no command"),
        ("stdio:", "no command"),
        ("uvx 'half", "not a command line"),
        ("docker:", "names no image"),
        ("docker://", "names no image"),
        (f"docker:image?{PASSWORD}", "KEY=VALUE"),
        ("docker:image?key=value", "known are env, volume, port, arg, option, network, engine"),
        (f"docker:image?network=a&network={PASSWORD}", "network twice"),
        (f"docker:image?arg={PASSWORD} x", "a space"),
        ("tcp://host", "tcp://HOST:PORT"),
        ("tcp://:1", "tcp://HOST:PORT"),
        ("tls://host:0", "tls://HOST:PORT"),
        ("tcp://host:x", "a port is a number"),
        ("tcp://host:99999", "a port is a number"),
        (f"tcp://user:{PASSWORD}@host:1", "nothing else"),
        (f"tcp://host:1/{PASSWORD}", "nothing else"),
        (f"tcp://host:1?key={PASSWORD}", "nothing else"),
        (f"tcp://host:1#{PASSWORD}", "fragment"),
        (f"tcp://host:1\n{PASSWORD}", "control character"),
        (f"tcp://[{PASSWORD}", "in brackets"),
        ("unix://relative/path", "three slashes"),
        ("unix:///", "three slashes"),
        ("unix:///a/", "three slashes"),
        (f"unix:///a?{PASSWORD}", "three slashes"),
    ],
)
def test_a_wrong_uri_is_refused_with_the_reason_and_without_being_quoted(uri: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        parse(uri)
    assert PASSWORD not in str(refused.value)

"""Settings come from command line, environment and file; a wrong one is refused with its name and the reason."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from fabric.config.load import load
from fabric.config.runnable import refuse_unrunnable_servers
from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.file import json_schema_text
from fabric.config.schema.section import leaves, nested
from fabric.config.schema.server import ServerSection
from fabric.config.secret import keyring
from fabric.config.settings.process import Address, Settings
from fabric.errors import ConfigError

Write = Callable[[object], Path]
ENVIRONMENT = {"HOME": "/home/someone", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "GITHUB_TOKEN": "not-for-servers"}
TIME = {"command": "python3", "args": ["-m", "mcp_server_time"]}
PASSWORD = "hunter2-of-the-broker"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: object) -> Path:
        path = tmp_path / "mcp.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def settings(path: Path | None, environment: Mapping[str, str] | None = None, **arguments: object) -> Settings:
    return load(
        str(path) if path else None,
        environment={**ENVIRONMENT, **(environment or {})},
        arguments=arguments,
        needs_servers=True,
        listens=("http", "admin"),
    )


def refusal(path: Path | None, environment: Mapping[str, str] | None = None, **arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(path, environment, **arguments)
    return str(caught.value).replace(f"{path}", "mcp.json")


@pytest.mark.requirement("C01")
def test_an_ordinary_mcp_servers_file_is_a_valid_config(write: Write) -> None:
    path = write({"mcpServers": {"time": {**TIME, "env": {"TZ": "UTC"}, "type": "stdio"}}})
    loaded = settings(path)
    time = loaded.servers["time"]
    assert (time.command, time.args, time.cwd) == ("python3", ("-m", "mcp_server_time"), str(path.parent))
    assert (loaded.fabric.name, loaded.fabric.broker) == ("default", None)
    assert (loaded.listen.http, loaded.listen.admin) == (Address("127.0.0.1", 8080), None)
    assert (loaded.fabric.lease, loaded.fabric.broker_wait) == (3.5, 10)
    assert (loaded.times.idle_timeout, loaded.times.absolute_timeout) == (300, 3600)
    assert (loaded.links.keep_alive, loaded.links.half_closed_timeout) == (15, 30)
    assert loaded.links.max_frame_bytes == 16 * 2**20
    assert (time.max_in_flight, time.warm, time.max_processes, time.retry_calls, time.grace) == (64, 1, 64, False, 5.0)
    assert loaded.default_server == "time"


@pytest.mark.requirement("L02")
def test_a_server_of_a_file_inherits_the_variables_that_the_sdks_pass_on_and_the_locale(write: Write) -> None:
    given = {
        "USER": "u",
        "LOGNAME": "u",
        "SHELL": "() { :; }",
        "TERM": "xterm",
        "HTTPS_PROXY": "http://p",
        "SSL_CERT_FILE": "/ca",
    }
    path = write({"mcpServers": {"time": {**TIME, "env": {"TZ": "UTC", "TERM": None}}}})
    expected = {
        "HOME": "/home/someone",
        "PATH": ENVIRONMENT["PATH"],
        "LC_ALL": "C.UTF-8",
        "USER": "u",
        "LOGNAME": "u",
        "TZ": "UTC",
    }
    assert settings(path, given).servers["time"].env == expected
    proxied = settings(path, {**given, "FABRIC_INHERIT_ENV": "HTTPS_PROXY,SSL_CERT_FILE,NO_PROXY"})
    assert proxied.servers["time"].env == {**expected, "HTTPS_PROXY": "http://p", "SSL_CERT_FILE": "/ca"}


def test_relative_paths_are_relative_to_the_folder_of_the_file(write: Write) -> None:
    entry = {"command": "bin/server", "cwd": "data"}
    path = write({"mcpServers": {"a": entry}, "fabric": {"secretFile": "secret", "state": "state"}})
    loaded = settings(path)
    assert loaded.servers["a"].command == str(path.parent / "bin/server")
    assert loaded.servers["a"].cwd == str(path.parent / "data")
    assert (loaded.secret.secret_file, loaded.fabric.state) == (path.parent / "secret", path.parent / "state")


def test_a_disabled_server_is_left_out(write: Write) -> None:
    loaded = settings(write({"mcpServers": {"off": {**TIME, "disabled": True}, "on": TIME}}))
    assert list(loaded.servers) == ["on"]


def test_the_only_server_is_the_default_one(write: Write) -> None:
    assert settings(write({"mcpServers": {"a": TIME, "b": TIME}})).default_server is None
    assert settings(write({"mcpServers": {"a": TIME, "b": TIME}, "defaultServer": "b"})).default_server == "b"


def test_command_line_wins_over_environment_over_file_over_default(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}, "fabric": {"name": "file", "lease": 4, "idleTimeout": 10, "http": "127.0.0.1:1"}})
    environment = {"FABRIC_NAME": "environment", "FABRIC_LEASE": "5", "FABRIC_ALLOWED_HOSTS": "a.example, b.example"}
    loaded = settings(path, environment, name="argument", http=None)
    assert (loaded.fabric.name, loaded.fabric.lease) == ("argument", 5.0)
    assert (loaded.times.idle_timeout, loaded.listen.http.port) == (10.0, 1)
    assert loaded.access.allowed_hosts == ("a.example", "b.example")


@pytest.mark.requirement("S11")
def test_proxies_public_url_and_path_prefix_are_settings(write: Write) -> None:
    environment = {"FABRIC_TRUSTED_PROXIES": "127.0.0.1, fd00::/8", "FABRIC_PATH_PREFIX": "/tools/"}
    loaded = settings(write({"mcpServers": {"a": TIME}, "fabric": {"publicUrl": "https://[::1]:8443/tools/"}}), environment)
    assert (loaded.access.trusted_proxies, loaded.listen.path_prefix) == (("127.0.0.1", "fd00::/8"), "/tools")
    assert (loaded.listen.public_url, loaded.links.keep_alive) == ("https://[::1]:8443/tools", 15.0)


def test_websocket_compression_is_a_setting(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}})
    assert not settings(path).links.ws_compression
    assert settings(path, {"FABRIC_WS_COMPRESSION": "true"}).links.ws_compression


def test_an_empty_variable_counts_as_not_set(write: Write) -> None:
    loaded = settings(write({"mcpServers": {"a": TIME}}), {"FABRIC_BROKER": "", "CONFIG_FILE": "", "HOST": ""})
    assert (loaded.fabric.broker, loaded.listen.http.host) == (None, "127.0.0.1")


@pytest.mark.requirement("C02")
def test_the_settings_of_mcp_server_runner_work_unchanged(write: Write) -> None:
    loaded = settings(None, {"PROGRAM": "npx", "ARGS": "-y,some-server", "HOST": "127.0.0.2", "PORT": "9000"})
    server = loaded.servers["default"]
    assert (server.command, server.args, loaded.default_server) == ("npx", ("-y", "some-server"), "default")
    assert loaded.listen.http == Address("127.0.0.2", 9000)
    assert settings(None, {"PROGRAM": "npx"}).listen.http == Address("127.0.0.1", 8080)
    path = write({"mcpServers": {"a": TIME, "b": TIME}, "defaultServer": "b", "host": "127.0.0.3", "port": 1234})
    loaded = settings(None, {"CONFIG_FILE": str(path), "PROGRAM": "npx", "PORT": "9000"})
    assert (list(loaded.servers), loaded.default_server, loaded.listen.http) == (["a", "b"], "b", Address("127.0.0.3", 1234))


@pytest.mark.requirement("C02")
def test_a_config_argument_wins_over_config_file(write: Write, tmp_path: Path) -> None:
    path = write({"mcpServers": {"a": TIME}})
    assert list(settings(path, {"CONFIG_FILE": str(tmp_path / "absent.json")}).servers) == ["a"]


@pytest.mark.requirement("C02", "L02")
def test_a_program_inherits_the_environment_without_the_settings_of_the_fabric() -> None:
    given = {"PROGRAM": "npx", "FABRIC_SECRET": "s" * 32, "FABRIC_BROKER": "nats://h", "AUTH_USER": "u", "AUTH_PASSWORD": "p"}
    env = settings(None, given).servers["default"].env
    assert env["GITHUB_TOKEN"] == "not-for-servers"
    assert not [name for name in env if name.startswith(("FABRIC_", "AUTH_"))]


def test_the_digest_differs_between_definitions_and_not_between_machines(tmp_path: Path) -> None:
    def digest(folder: str, **entry: object) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "mcp.json"
        path.write_text(json.dumps({"mcpServers": {"a": {**TIME, **entry}}}))
        return settings(path).servers["a"].digest

    first = digest("one", cwd="data", env={"TOKEN": "1"})
    assert first == digest("two", cwd="data", env={"TOKEN": "2"}, warm=3, maxInFlight=1)
    others = [digest("one"), digest("one", args=["x"]), digest("one", retryCalls=True), digest("one", env={"OTHER": "1"})]
    assert len({first, *others}) == 5


def test_different_urls_have_different_digests(write: Write) -> None:
    def digest(**entry: object) -> str:
        return settings(write({"mcpServers": {"a": entry}})).servers["a"].digest

    ways = [{"url": "tcp://h:1"}, {"url": "tcp://h:2"}, {"url": "tls://h:1"}, {"url": "unix:///h"}, {"command": "tcp"}]
    assert len({digest(**way) for way in ways}) == len(ways)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ({"url": "https://h/mcp"}, "https://h/mcp"),
        ({"url": "https://h/mcp", "type": "http"}, "https://h/mcp"),
        ({"url": "http://h:1/mcp", "type": "streamable-http"}, "http://h:1/mcp"),
        ({"url": "http://h:1/mcp", "type": "streamableHttp"}, "http://h:1/mcp"),
        ({"url": "https://h/sse", "type": "sse"}, "sse+https://h/sse"),
        ({"url": "sse+http://h/sse", "type": "sse"}, "sse+http://h/sse"),
        ({"url": "wss://h/ws", "type": "ws"}, "wss://h/ws"),
        ({"url": "tcp://h:1"}, "tcp://h:1"),
    ],
)
def test_the_type_of_a_host_file_decides_the_scheme_of_a_url(write: Write, entry: dict[str, str], url: str) -> None:
    assert settings(write({"mcpServers": {"a": entry}})).servers["a"].url == url


def test_the_digest_of_a_url_does_not_depend_on_credentials(write: Write) -> None:
    def digest(url: str, **headers: str) -> str:
        return settings(write({"mcpServers": {"a": {"url": url, "headers": headers}}})).servers["a"].digest

    first = digest("https://u:one@h/mcp?key=one", Authorization="Bearer one")
    assert first == digest("https://v:two@h/mcp?key=two", Authorization="Bearer two")
    others = [digest("https://h/mcp?key=1"), digest("https://h/mcp?other=1", Authorization="1"), digest("https://h/other")]
    assert len({first, *others}) == 4


def test_a_uri_in_place_of_the_file_defines_the_only_server() -> None:
    def server_of(uri: str) -> Any:
        return load(uri, environment=ENVIRONMENT, arguments={}, needs_servers=True).servers["default"]

    assert server_of("tcp://127.0.0.1:7000").url == "tcp://127.0.0.1:7000"
    started = server_of("stdio:uvx mcp-server-time --local-timezone UTC")
    assert (started.command, started.args) == ("uvx", ("mcp-server-time", "--local-timezone", "UTC"))
    for uri, reason in [
        ("gopher://h", "the command line: unknown scheme gopher; known are stdio:, docker:, tcp://"),
        (f"redis://u:{PASSWORD}@h", "the command line: this is a broker's URL"),
        (f"tcp://u:{PASSWORD}@h:1", "the command line: is not tcp://HOST:PORT"),
    ]:
        with pytest.raises(ConfigError) as refused:
            server_of(uri)
        assert str(refused.value).startswith(reason)
        assert PASSWORD not in str(refused.value)


WRONG: list[tuple[object, str]] = [
    ({"mcpServers": {"time": {"comand": "x"}}}, "mcp.json: mcpServers.time.comand: unknown key; did you mean `command`?"),
    (
        {"mcpServers": {"time": {**TIME, "max_processes": 1}}},
        "mcp.json: mcpServers.time.max_processes: unknown key; did you mean",
    ),
    ({"mcpServers": {"time": {"args": []}}}, "mcp.json: mcpServers.time: say command, image or url, and only one of them"),
    ({"mcpServers": {"time": {"command": ""}}}, "mcp.json: mcpServers.time.command: "),
    ({"mcpServers": {"time": {**TIME, "args": ["a", []]}}}, "mcp.json: mcpServers.time.args[1]: should be a valid string"),
    ({"mcpServers": {"time": {**TIME, "args": ["a\0b"]}}}, "mcp.json: mcpServers.time.args[0]: may not contain a NUL"),
    ({"mcpServers": {"time": {**TIME, "env": {"A=B": "c"}}}}, "mcp.json: mcpServers.time.env.A=B: is not a name"),
    ({"mcpServers": {"time": {**TIME, "warm": True}}}, "mcp.json: mcpServers.time.warm: should be a number"),
    ({"mcpServers": {"time": {**TIME, "maxInFlight": 0}}}, "mcp.json: mcpServers.time.maxInFlight: should be greater than"),
    ({"mcpServers": {"time": {**TIME, "type": "ws"}}}, "mcp.json: mcpServers.time: type ws does not go with command"),
    ({"mcpServers": {"time": {**TIME, "type": "grpc"}}}, "mcp.json: mcpServers.time.type: should be 'stdio', "),
    (
        {"mcpServers": {"time": {**TIME, "url": "tcp://h:1"}}},
        "mcp.json: mcpServers.time: say command, image or url, and only one of them",
    ),
    ({"mcpServers": {"time": {"url": "tcp://h:1", "args": ["a"]}}}, "mcp.json: mcpServers.time: args does not go with url"),
    ({"mcpServers": {"time": {"url": "tcp://h:1", "type": "http"}}}, "mcp.json: mcpServers.time: type http goes with http://"),
    (
        {"mcpServers": {"time": {"url": "tcp://h:1", "headers": {"A": "b"}}}},
        "mcp.json: mcpServers.time: tcp:// carries no headers",
    ),
    ({"mcpServers": {"time": {**TIME, "headers": {"A": "b"}}}}, "mcp.json: mcpServers.time: headers does not go with command"),
    (
        {"mcpServers": {"time": {"url": "tcp://h:1", "headers": {"A:": "b"}}}},
        "mcp.json: mcpServers.time.headers.A:: is not the name of a header",
    ),
    (
        {"mcpServers": {"time": {"url": "tcp://h:1", "tls": {"ca": "x"}}}},
        "mcp.json: mcpServers.time: tcp:// speaks no TLS; tls://",
    ),
    ({"mcpServers": {"time": {"url": "tls://h:1", "tls": {"key": "x"}}}}, "mcp.json: mcpServers.time.tls: a key goes with a"),
    (
        {"mcpServers": {"time": {"url": "gopher://h"}}},
        "mcp.json: mcpServers.time.url: is not the URL of an MCP server; known are docker:IMAGE, tcp://",
    ),
    ({"mcpServers": {"time": {"url": "tcp://h"}}}, "mcp.json: mcpServers.time.url: is not tcp://HOST:PORT"),
    ({"mcpServers": {"x" * 121: TIME}}, f"mcp.json: mcpServers.{'x' * 121}: name"),
    ({"mcpServers": 1}, "mcp.json: mcpServers: should be an object"),
    ({"mcpServers": {}}, "mcp.json: mcpServers: names no server"),
    ({"mcpServers": {"a": {**TIME, "disabled": True}}}, "mcp.json: mcpServers: all servers are disabled"),
    ({"mcpServers": {"a": TIME}, "defaultServer": "b"}, "mcp.json: defaultServer: no enabled server is called that"),
    ({"mcpServers": {"a": TIME}, "mcpServer": {}}, "mcp.json: mcpServer: unknown key; did you mean `mcpServers`?"),
    ({"mcpServers": {"a": TIME}, "port": 70000}, "mcp.json: port: should be less than"),
    ({"mcpServers": {"a": TIME}, "fabric": {"leese": 4}}, "mcp.json: fabric.leese: unknown key; did you mean `lease`?"),
    ({"mcpServers": {"a": TIME}, "fabric": {"lease": 1}}, "mcp.json: fabric.lease: should be greater than"),
    ({"mcpServers": {"a": TIME}, "fabric": {"http": "h"}}, "mcp.json: fabric.http: 'h' is not PORT or HOST:PORT, such as 8080"),
    ({"mcpServers": {"a": TIME}, "fabric": {"http": "::1:80"}}, "mcp.json: fabric.http: '::1:80' is not PORT or HOST:PORT"),
    ({"mcpServers": {"a": TIME}, "fabric": {"http": 80800}}, "mcp.json: fabric.http: '80800' is not PORT or HOST:PORT"),
    ({"mcpServers": {"a": TIME}, "fabric": {"tcp": ["1=a=b"]}}, "mcp.json: fabric.tcp[0]: '1=a' is not PORT or HOST:PORT"),
    (
        {"mcpServers": {"a": TIME}, "fabric": {"inheritEnv": ["FABRIC_BROKER"]}},
        "mcp.json: fabric.inheritEnv[0]: is a setting of",
    ),
    ({"mcpServers": {"a": TIME}, "fabric": {"inheritEnv": "AUTH_PASSWORD"}}, "mcp.json: fabric.inheritEnv[0]: is a setting of"),
    ({"mcpServers": {"a": TIME}, "servers": {"b": TIME}}, "mcp.json: servers: there are servers there and at mcpServers"),
    (
        {"mcpServers": {"a": TIME}, "fabric": {"trustedProxies": ["10.0.0.1/8"]}},
        "mcp.json: fabric.trustedProxies[0]: is not an address or network: 10.0.0.1/8 has host bits set",
    ),
    ({"mcpServers": {"a": TIME}, "fabric": {"pathPrefix": "tools"}}, "mcp.json: fabric.pathPrefix: is not a path prefix"),
    ({"mcpServers": {"a": TIME}, "fabric": {"pathPrefix": "/a/../b"}}, "mcp.json: fabric.pathPrefix: is not a path prefix"),
    ({"mcpServers": {"a": TIME}, "fabric": {"publicUrl": "mcp.example"}}, "mcp.json: fabric.publicUrl: is not a URL such as"),
    ({"mcpServers": {"a": TIME}, "fabric": {"idleTimeout": 9, "absoluteTimeout": 8}}, "mcp.json: fabric: idleTimeout, 9 s"),
    (
        {"mcpServers": {"a": TIME}, "fabric": {"unixMode": 600}},
        "mcp.json: fabric.unixMode: should be an octal file mode in quotes",
    ),
    ({"mcpServers": {"a": TIME}, "fabric": {"unix": ["=a"]}}, "mcp.json: fabric.unix[0]: '=a' is not PATH=SERVER, such as"),
    ({"mcpServers": {"a": TIME}, "fabric": {"unix": ["x.sock="]}}, "mcp.json: fabric.unix[0]: a name may not be empty"),
    ({"mcpServers": {"a": TIME}, "fabric": {"secretCommand": "a 'b"}}, "mcp.json: fabric.secretCommand: is not a command line"),
    ({"mcpServers": {"a": TIME}, "fabric": {"http": "h:1"}, "port": 1}, "mcp.json: fabric.http: give fabric.http, or"),
    ({"mcpServers": {"a": TIME}, "fabric": {"secretFile": "a", "secretCommand": "b"}}, "mcp.json: fabric: secretFile or"),
    ([], "mcp.json: should be an object"),
    ('{"mcpServers": {\n  "a": ,\n}}', "mcp.json: line 2, column 8: not JSON: something is missing before this `,`"),
    ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "mcp.json: line 1, column 40: key `a` is there twice"),
    ("[" * 100_000, "mcp.json: "),
]


@pytest.mark.requirement("C04")
@pytest.mark.parametrize(("content", "expected"), WRONG, ids=[expected[:70] for _, expected in WRONG])
def test_a_wrong_setting_is_refused_naming_file_key_and_reason(write: Write, content: object, expected: str) -> None:
    assert refusal(write(content)).startswith(expected)


@pytest.mark.requirement("C04")
def test_no_refusal_shows_a_regular_expression(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}})
    messages = []
    for key in leaves(FabricSection):
        try:
            settings(path, {f"FABRIC_{'_'.join(key).upper()}": "?"})
        except ConfigError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not [each for each in messages if re.search(r"pattern|[\\^$]|\[0-9", each)]
    assert "should be an octal file mode such as 0600" in refusal(path, {"FABRIC_UNIX_MODE": "rw"})


@pytest.mark.requirement("C04")
def test_every_wrong_setting_is_named_on_a_line_of_its_own(write: Write) -> None:
    lines = refusal(write({"mcpServers": {"a": {**TIME, "warm": -1}}, "fabric": {"lease": "soon"}})).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["mcpServers.a.warm", "fabric.lease"]


@pytest.mark.requirement("C04")
def test_a_wrong_variable_or_option_is_refused_under_its_own_name(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}})
    assert refusal(path, {"FABRIC_MAX_FRAME_BYTES": "big"}).startswith("FABRIC_MAX_FRAME_BYTES: should be a valid integer")
    assert refusal(path, {"FABRIC_BROKKER": "nats://h"}) == "FABRIC_BROKKER: unknown variable; did you mean FABRIC_BROKER?"
    assert refusal(path, {"PORT": "http"}) == "PORT: 'http' is not a port"
    assert refusal(path, http="nowhere").startswith("--http: 'nowhere' is not PORT or HOST:PORT")
    assert refusal(path, name="").startswith("--fabric: ")
    assert settings(path, {"FABRIC_CFG_PATH": "/of/other/software"}).fabric.name == "default"


@pytest.mark.requirement("C04")
def test_an_unreadable_config_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    assert refusal(path) == "mcp.json: cannot be read: No such file or directory"
    path.write_bytes(b'{"mcpServers": "\xff"}')
    assert refusal(path) == "mcp.json: not UTF-8 at byte 16; save it as UTF-8"
    assert refusal(tmp_path).startswith("mcp.json: cannot be read: Is a directory")


def test_a_process_without_servers_is_refused_with_the_ways_to_name_some() -> None:
    assert refusal(None) == "nothing to serve: name a config file, or set CONFIG_FILE, or PROGRAM and ARGS"
    assert load(None, environment=ENVIRONMENT, arguments={}).servers == {}


@pytest.mark.requirement("K04")
@pytest.mark.parametrize(
    "url",
    [
        f"ftp://u:{PASSWORD}@h",
        f"nats://u:{PASSWORD}@h:{PASSWORD}",
        f"nats://u:{PASSWORD}@",
        f"nats://{PASSWORD} @h",
        f"{PASSWORD}",
        f"u:{PASSWORD}@h://",
    ],
)
def test_a_bad_broker_url_is_refused_without_its_password(write: Write, url: str) -> None:
    text = refusal(write({"mcpServers": {"a": TIME}}), broker=url)
    assert text.startswith("--broker: ")
    assert PASSWORD not in text


@pytest.mark.requirement("K04")
def test_no_repr_shows_a_credential(write: Write) -> None:
    remote = {"url": f"https://u:{PASSWORD}@h/mcp?key={PASSWORD}", "headers": {"Authorization": PASSWORD}}
    loaded = settings(
        write({"mcpServers": {"a": {**TIME, "args": [PASSWORD], "env": {"KEY": PASSWORD}}, "b": remote}}),
        {"FABRIC_SECRET": PASSWORD, "AUTH_USER": "u", "AUTH_PASSWORD": PASSWORD},
        broker=f"nats://u:{PASSWORD}@h",
    )
    assert PASSWORD not in repr(loaded) + repr(loaded.servers)


@pytest.mark.requirement("S01")
def test_a_listener_beyond_loopback_without_authentication_is_refused(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}, "fabric": {"http": "0.0.0.0:0"}})
    assert refusal(path).startswith("mcp.json: fabric.http: 0.0.0.0 can be reached from other machines")
    assert refusal(None, {"PROGRAM": "npx", "HOST": "0.0.0.0"}).startswith("HOST: 0.0.0.0 can be reached")
    assert settings(path, {"AUTH_USER": "u", "AUTH_PASSWORD": "p"}).access.authenticator is not None
    assert settings(path, allowUnauthenticated=True).access.allow_unauthenticated
    assert refusal(path, {"AUTH_USER": "u"}).endswith("AUTH_USER and AUTH_PASSWORD go together; set the one that is missing")
    assert refusal(path, http="127.0.0.1:0", admin="[::]:0").startswith("--admin: :: can be reached from other machines")
    unopened = load(str(path), environment=ENVIRONMENT, arguments={})
    assert unopened.listen.http.host == "0.0.0.0", "a process that opens no listener is not refused"


@pytest.mark.requirement("C04")
def test_a_missing_command_is_refused_under_its_key(write: Write) -> None:
    for entry, expected in [
        ({"command": "no-such-program-here"}, "mcpServers.a.command: no such program on PATH"),
        ({"command": "./server"}, "mcpServers.a.command: there is no such program"),
        ({"command": "sh -c true"}, "mcpServers.a.command: no such program on PATH: sh -c true; arguments go into `args`$"),
        ({"command": "no-such-program-here -v"}, "no such program on PATH: no-such-program-here -v$"),
        ({**TIME, "cwd": "nowhere"}, "mcpServers.a.cwd: no such folder"),
        ({**TIME, "env": {"PATH": "/nowhere"}}, "mcpServers.a.command: no such program on PATH"),
    ]:
        with pytest.raises(ConfigError, match=expected):
            refuse_unrunnable_servers(settings(write({"mcpServers": {"a": entry}})))
    with pytest.raises(ConfigError, match=r"mcpServers.a.tls: cannot read the certificates in .*/ca.pem: No such file"):
        refuse_unrunnable_servers(settings(write({"mcpServers": {"a": {"url": "tls://h:1", "tls": {"ca": "ca.pem"}}}})))
    refuse_unrunnable_servers(settings(write({"mcpServers": {"a": TIME}})))


@pytest.mark.requirement("C04")
def test_the_published_json_schema_is_current_and_holds_for_the_examples(write: Write) -> None:
    published = Path("docs/config.schema.json").read_text()
    assert published == json_schema_text(), "run: mcp-fabric config schema > docs/config.schema.json"
    schema: dict[str, Any] = json.loads(published)
    jsonschema.validate(json.loads(Path("examples/mcp.json").read_text()), schema)
    jsonschema.validate({"mcpServers": {"a": {**TIME, "autoApprove": [], "env": {"N": 1, "B": True}}}, "inputs": []}, schema)
    for wrong in (
        {"mcpServers": {"a": {"comand": "x"}}},
        {"fabric": {"leese": 4}},
        {"mcpServers": {"a": {**TIME, "warm": "many"}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.requirement("S10")
def test_a_configured_broker_requires_a_secret_and_the_refusal_says_how_to_make_one(write: Write, tmp_path: Path) -> None:
    path = write({"mcpServers": {"a": TIME}, "fabric": {"state": str(tmp_path / "state")}})
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        keyring(settings(path, broker="nats://127.0.0.1:4222"))
    assert not (tmp_path / "state").exists()
    assert keyring(settings(path, {"FABRIC_SECRET": "s" * 32}, broker="nats://127.0.0.1:4222")).ids
    assert keyring(settings(path)).ids == keyring(settings(path)).ids, "made once with the embedded broker"
    assert stat.S_IMODE((tmp_path / "state" / "secret").stat().st_mode) == 0o600


@pytest.mark.requirement("S10")
def test_a_secret_of_the_environment_wins_over_one_of_the_file(write: Write) -> None:
    path = write({"mcpServers": {"a": TIME}, "fabric": {"secretFile": "absent"}})
    loaded = settings(path, {"FABRIC_SECRET": "s" * 32})
    assert loaded.secret.secret_file is None
    assert keyring(loaded).ids == keyring(settings(None, {"PROGRAM": "x", "FABRIC_SECRET": "s" * 32})).ids
    assert "set one" in refusal(path, {"FABRIC_SECRET": "s" * 32, "FABRIC_SECRET_COMMAND": "pass show fabric"})


@pytest.mark.requirement("C04")
def test_the_howto_lists_every_key_with_its_default() -> None:
    page = Path("docs/howto/configure.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): row for row in rows}
    fields = [(path, section) for section in (ServerSection, FabricSection) for path in leaves(section)]
    assert listed.keys() == {".".join(map(to_camel, path)) for path, _ in fields}
    for path, section in fields:
        row, field = listed[".".join(map(to_camel, path))], value(section, path)
        if section is FabricSection:
            assert row[1] == f"FABRIC_{'_'.join(path).upper()}"
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert row[-2] == f"{field.default:.10g}"


def value(section: type[BaseModel], path: tuple[str, ...]) -> FieldInfo:
    """The field at this path."""
    for name in path[:-1]:
        section = nested(section)[to_camel(name)]
    return section.model_fields[path[-1]]

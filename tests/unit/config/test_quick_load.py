"""A process that only joins a fabric reads the same settings quickly as with the schema; only the schema refuses settings."""

from __future__ import annotations

import pytest

from fabric.config import load, quick_load
from fabric.errors import ConfigError

HOME = {"HOME": "/home/someone", "LANG": "C.UTF-8", "FABRIC_LEASE": ""}
BROKER = "nats://someone:hidden@127.0.0.1:4222"


@pytest.mark.parametrize("environment", [
    {},
    {"FABRIC_STATE": "/var/lib/fabric"},
    {"FABRIC_STATE": "below"},
    {"FABRIC_BROKER": BROKER, "FABRIC_SECRET": "s3cret"},
    {"FABRIC_BROKER": BROKER, "FABRIC_SECRET_FILE": "secret"},
    {"FABRIC_NAME": "my fabric", "XDG_STATE_HOME": "/state"},
])  # fmt: skip
@pytest.mark.parametrize("arguments", [
    {},
    {"broker": None, "name": None, "logLevel": None, "logFormat": None},
    {"broker": "redis://127.0.0.1", "name": "other"},
    {"logLevel": "debug", "logFormat": "json"},
])  # fmt: skip
def test_the_quick_settings_equal_those_of_the_schema(environment: dict[str, str], arguments: dict[str, object]) -> None:
    quick = quick_load.load({**HOME, **environment}, arguments)
    assert quick is not None
    assert quick == load.load(None, environment={**HOME, **environment}, arguments=arguments)


@pytest.mark.parametrize("environment", [
    {"FABRIC_BROKER": "4222"},
    {"FABRIC_BROKER": "carrier-pigeon://127.0.0.1"},
    {"FABRIC_BROKER": "nats://127.0.0.1?work=hard"},
    {"FABRIC_NAME": "x" * 1000},
    {"FABRIC_NAMES": "mine"},
    {"FABRIC_LEASE": "soon"},
    {"FABRIC_SECRET": "s3cret", "FABRIC_SECRET_FILE": "secret"},
    {"AUTH_USER": "someone"},
    {"PORT": "eighty"},
    {"CONFIG_FILE": "/nowhere/mcp.json"},
])  # fmt: skip
def test_wrong_settings_are_left_to_the_schema(environment: dict[str, str]) -> None:
    assert quick_load.load({**HOME, **environment}, {}) is None
    with pytest.raises(ConfigError):
        load.load(None, environment={**HOME, **environment}, arguments={})


@pytest.mark.parametrize(("environment", "arguments"), [
    ({"FABRIC_LEASE": "5"}, {}),
    ({"PROGRAM": "server"}, {}),
    ({"AUTH_USER": "someone", "AUTH_PASSWORD": "hidden"}, {}),
    ({}, {"http": "8080"}),
    ({}, {"broker": ""}),
    ({}, {"name": ""}),
])  # fmt: skip
def test_settings_beyond_the_choice_of_a_fabric_are_left_to_the_schema(
    environment: dict[str, str], arguments: dict[str, object]
) -> None:
    assert quick_load.load({**HOME, **environment}, arguments) is None


def test_a_missing_home_is_refused_with_the_same_message() -> None:
    with pytest.raises(ConfigError) as quick:
        quick_load.load({"XDG_RUNTIME_DIR": "/nowhere"}, {})
    with pytest.raises(ConfigError) as thorough:
        load.load(None, environment={"XDG_RUNTIME_DIR": "/nowhere"}, arguments={})
    assert str(quick.value) == str(thorough.value)

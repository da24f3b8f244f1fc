"""Allowed hosts and origins, and the refusal to listen to other machines without authentication."""

from __future__ import annotations

import pytest

from fabric.errors import ConfigError
from fabric.security.access import AccessCheck, AccessRules, refuse_open_listener


@pytest.mark.requirement("S03")
@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:1", True),
        ("[::1]:8080", True),
        ("mcp.example", True),
        ("mcp.example:443", True),
        ("edge", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("localhost:80:80", False),
        ("localhost@evil.example", False),
        ("evil.example/localhost", False),
        ("localhost, localhost", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_only_known_hosts_are_allowed(host: str, allowed: bool) -> None:
    assert AccessCheck(AccessRules(allowed_hosts=("MCP.example",)), "edge").host_allowed(host) is allowed


@pytest.mark.requirement("S03")
def test_a_listener_on_every_address_answers_to_addresses_but_not_to_names() -> None:
    access = AccessCheck(AccessRules(), "0.0.0.0")
    assert access.host_allowed("10.1.2.3:8080")
    assert access.host_allowed("[fe80::1]:8080")
    assert not access.host_allowed("rebound.example:8080")


@pytest.mark.requirement("S03")
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:1", True),
        ("https://app.example", True),
        ("https://app.example:8443", False),
        ("http://app.example", False),
        ("https://localhost.evil.example", False),
        ("null", False),
        ("http://localhost:3000/path", False),
        ("file://", False),
        ("", False),
    ],
)
def test_only_listed_and_local_origins_are_allowed(origin: str, allowed: bool) -> None:
    assert AccessCheck(AccessRules(allowed_origins=("https://app.example/",)), "127.0.0.1").origin_allowed(origin) is allowed


@pytest.mark.requirement("S03")
def test_loopback_hosts_and_origins_can_be_disallowed() -> None:
    access = AccessCheck(AccessRules(allow_loopback=False, allowed_hosts=("mcp.example",)), "10.0.0.1")
    assert not access.host_allowed("localhost")
    assert not access.origin_allowed("http://localhost")
    assert access.host_allowed("mcp.example")


@pytest.mark.requirement("S01")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_loopback_listener_may_be_unauthenticated(host: str) -> None:
    refuse_open_listener(host, authenticated=False, allow_unauthenticated=False)


@pytest.mark.requirement("S01")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "edge.example"])
def test_a_listener_for_other_hosts_must_authenticate_its_clients(host: str) -> None:
    with pytest.raises(ConfigError, match=r"AUTH_USER.*--allow-unauthenticated"):
        refuse_open_listener(host, authenticated=False, allow_unauthenticated=False)
    refuse_open_listener(host, authenticated=True, allow_unauthenticated=False)
    refuse_open_listener(host, authenticated=False, allow_unauthenticated=True)

"""The caller behind a reverse proxy, by the headers of listed proxies alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.caller import Caller
from fabric.security.forwarded import Proxies

LISTED = ("10.0.0.0/8", "192.0.2.7", "fd00::/8")
PROXIES = Proxies(LISTED)
CLIENT = "198.51.100.17"
PEER_ONLY = Caller("10.0.0.1")


def caller(peer: str = "10.0.0.1", **headers: str) -> Caller:
    """The caller by these headers; `x_forwarded_for` stands for X-Forwarded-For."""
    return PROXIES.caller(peer, {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()})


@pytest.mark.requirement("S11")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"for={CLIENT}", Caller(CLIENT)),
        (f"for={CLIENT};proto=https;host=mcp.example", Caller(CLIENT, "https", "mcp.example")),
        (f'For="{CLIENT}:4711"; PROTO=HTTPS ;host="mcp.example:8443"', Caller(CLIENT, "https", "mcp.example:8443")),
        ('for="[2001:DB8::17]:4711";proto=wss', Caller("2001:db8::17", "https")),
        ('for="[2001:db8::17]"', Caller("2001:db8::17")),
        ('for="[2001:db8::17]:_port"', Caller("2001:db8::17")),
        ("for=unknown;proto=https", Caller("unknown", "https")),
        ("for=_hidden", Caller("_hidden")),
        ('for="_hidden:80"', Caller("_hidden")),
        (f"for={CLIENT}, for=10.1.2.3", Caller(CLIENT)),
        (f"for={CLIENT};proto=https, for=192.0.2.7;proto=http", Caller(CLIENT, "https")),
        (f"for=6.6.6.6;host=evil.example, for={CLIENT};host=mcp.example", Caller(CLIENT, "", "mcp.example")),
        (f"for=6.6.6.6, for={CLIENT}, for=10.1.2.3", Caller(CLIENT)),
        (f"for=nonsense, for={CLIENT}", Caller(CLIENT)),
        ("for=10.1.2.3, for=10.9.9.9", Caller("10.1.2.3")),
        ("proto=https;host=mcp.example", Caller("10.0.0.1", "https", "mcp.example")),
        (f'for="{CLIENT}";by="a\\"b,;c";secret=x', Caller(CLIENT)),
        (f" ,, for={CLIENT} ,;, ", Caller(CLIENT)),
        ('for=10.1.2.3;proto=https, for="oops oops"', Caller("10.0.0.1")),
    ],
)
def test_a_forwarded_header_is_read_from_the_nearest_proxy_outwards(header: str, expected: Caller) -> None:
    assert caller(forwarded=header) == expected


@pytest.mark.requirement("S11")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "for",
        "for=",
        "=x",
        f"for ={CLIENT}",
        f"for={CLIENT};for=6.6.6.6",
        f'for="{CLIENT}',
        f'for="6.6.6.6, for="[{CLIENT}]"',
        f'for=6.6.6.6;x=", for="[{CLIENT}]"',
        f"for={CLIENT} for=6.6.6.6",
        "for=2001:db8::1",
        "for=localhost",
        f"for=[{CLIENT}",
        'for="fe80::1%eth0"',
    ],
)
def test_an_invalid_forwarded_header_is_ignored(header: str) -> None:
    assert caller(forwarded=header) == PEER_ONLY


@pytest.mark.requirement("S11")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_forwarded_for": CLIENT}, Caller(CLIENT)),
        ({"x_forwarded_for": f"6.6.6.6, {CLIENT}"}, Caller(CLIENT)),
        ({"x_forwarded_for": f"6.6.6.6, {CLIENT},10.1.2.3 , 192.0.2.7"}, Caller(CLIENT)),
        ({"x_forwarded_for": f"{CLIENT}:4711"}, Caller(CLIENT)),
        ({"x_forwarded_for": "2001:db8::17"}, Caller("2001:db8::17")),
        ({"x_forwarded_for": "[2001:db8::17]:4711"}, Caller("2001:db8::17")),
        ({"x_forwarded_for": "::ffff:10.1.2.3"}, Caller("10.1.2.3")),
        ({"x_forwarded_for": "<script>, 10.1.2.3"}, Caller("10.1.2.3")),
        (
            {"x_forwarded_for": CLIENT, "x_forwarded_proto": "https", "x_forwarded_host": "mcp.example"},
            Caller(CLIENT, "https", "mcp.example"),
        ),
        ({"x_forwarded_for": f"6.6.6.6, {CLIENT}, 10.1.2.3", "x_forwarded_proto": "https"}, Caller(CLIENT, "https")),
        ({"x_forwarded_for": f"{CLIENT}, 10.1.2.3", "x_forwarded_proto": "gopher, https, http"}, Caller(CLIENT, "https")),
        ({"x_forwarded_for": CLIENT, "x_forwarded_proto": "gopher", "x_forwarded_host": "a b"}, Caller(CLIENT)),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "mcp.example"}, Caller("10.0.0.1", "https", "mcp.example")),
    ],
)
def test_x_forwarded_headers_are_read_from_the_nearest_proxy_outwards(headers: dict[str, str], expected: Caller) -> None:
    assert caller(**headers) == expected


@pytest.mark.requirement("S11")
@pytest.mark.parametrize("peer", ["198.51.100.1", "", "unknown", "2001:db8::1", "127.0.0.1", "192.0.2.8"])
def test_headers_of_a_peer_that_is_not_listed_are_ignored(peer: str) -> None:
    assert caller(peer, forwarded="for=6.6.6.6", x_forwarded_for="6.6.6.6", x_forwarded_host="evil.example") == Caller(peer)


@pytest.mark.parametrize("peer", ["10.255.0.1", "192.0.2.7", "fd12::1", "::ffff:10.0.0.1", "fd00::1%eth0"])
def test_a_proxy_is_listed_by_address_or_network_in_both_families(peer: str) -> None:
    assert caller(peer, forwarded=f"for={CLIENT}") == Caller(CLIENT)


@pytest.mark.requirement("S11")
def test_two_kinds_of_header_that_differ_are_both_ignored() -> None:
    assert caller(forwarded="for=6.6.6.6", x_forwarded_for=CLIENT) == PEER_ONLY
    assert caller(forwarded=f"for={CLIENT};host=evil.example", x_forwarded_for=CLIENT) == PEER_ONLY
    assert caller(forwarded='for="', x_forwarded_for=CLIENT) == PEER_ONLY
    assert caller(forwarded=f"for={CLIENT};proto=https", x_forwarded_for=CLIENT, x_forwarded_proto="https") == Caller(
        CLIENT, "https"
    )
    assert caller(forwarded=f"for={CLIENT}", x_forwarded_proto="https") == Caller(CLIENT)


def test_without_headers_the_peer_is_the_caller() -> None:
    assert caller() == PEER_ONLY


HOP = st.sampled_from([CLIENT, "10.1.2.3", "192.0.2.7", "6.6.6.6", "unknown", "_x", "", "nonsense", '"', "[2001:db8::1]"])
anything = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)


@pytest.mark.requirement("S11")
@given(forged=anything | st.lists(HOP).map(", ".join))
def test_a_forged_x_forwarded_for_on_the_left_never_becomes_the_clients_address(forged: str) -> None:
    judged = PROXIES.caller("10.0.0.1", {b"x-forwarded-for": f"{forged}, {CLIENT}".encode("latin-1")})
    assert judged == Caller(CLIENT)


@pytest.mark.requirement("S11")
@given(
    forged=anything | st.lists(HOP.map("for={}".format)).map(", ".join),
    end=st.sampled_from(["", ';by="_p"', ';proto=https;host="h"']),
)
def test_a_forged_forwarded_header_on_the_left_never_becomes_the_clients_address(forged: str, end: str) -> None:
    judged = PROXIES.caller("10.0.0.1", {b"forwarded": f'{forged}, for="{CLIENT}"{end}'.encode("latin-1")})
    assert judged == PEER_ONLY or judged.address == CLIENT


@given(
    headers=st.dictionaries(
        st.sampled_from([b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"]), anything
    )
)
def test_no_header_makes_the_parser_raise(headers: dict[bytes, str]) -> None:
    PROXIES.caller("10.0.0.1", {name: value.encode("latin-1") for name, value in headers.items()})


@pytest.mark.parametrize("listed", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33"])
def test_an_invalid_proxy_network_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match=listed):
        Proxies([listed])

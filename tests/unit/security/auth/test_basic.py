"""HTTP Basic: which headers prove the user, and the challenge for all others."""

from __future__ import annotations

import base64

import msgspec
import pytest

from fabric.errors import ConfigError
from fabric.security.auth.base import Challenge, Principal
from fabric.security.auth.basic import Basic
from fabric.security.auth.registry import VARIABLES, configured


class Request(msgspec.Struct):
    headers: dict[bytes, bytes]


@pytest.mark.requirement("S01")
@pytest.mark.parametrize(
    ("authorization", "principal"),
    [
        ("Basic " + base64.b64encode("ann:p:ä".encode()).decode(), "ann"),
        ("basic " + base64.b64encode("ann:p:ä".encode()).decode(), "ann"),
        ("Basic " + base64.b64encode(b"ann:wrong").decode(), None),
        ("Basic " + base64.b64encode(b"ann").decode(), None),
        ("Basic !!!", None),
        ("Basic é", None),
        ("Bearer " + base64.b64encode("ann:p:ä".encode()).decode(), None),
        ("", None),
    ],
)
def test_basic_credentials_prove_the_user(authorization: str, principal: str | None) -> None:
    outcome = Basic("ann", "p:ä").authenticate(Request({b"authorization": authorization.encode("latin-1")}))
    assert (outcome.name if isinstance(outcome, Principal) else None) == principal


@pytest.mark.requirement("S01")
def test_a_challenge_tells_missing_credentials_from_wrong_ones() -> None:
    basic = Basic("ann", "p")
    missing, wrong = basic.authenticate(Request({})), basic.authenticate(Request({b"authorization": b"Basic !"}))
    assert isinstance(missing, Challenge)
    assert isinstance(wrong, Challenge)
    assert missing.reason.startswith("no credentials: ")
    assert wrong.reason.startswith("wrong credentials: ")
    assert missing.www_authenticate == wrong.www_authenticate == 'Basic realm="mcp", charset="UTF-8"'


def test_without_a_configured_method_no_client_must_authenticate() -> None:
    assert configured({"OTHER": "x"}) is None
    assert configured({"AUTH_USER": "", "AUTH_PASSWORD": ""}) is None


def test_a_user_without_a_password_or_a_password_without_a_user_is_refused() -> None:
    for name in ("AUTH_USER", "AUTH_PASSWORD"):
        with pytest.raises(ConfigError, match="go together"):
            configured({name: "x"})
        assert name in VARIABLES, "servers do not inherit it"


@pytest.mark.requirement("K04")
def test_the_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Basic("ann", "hunter2"))

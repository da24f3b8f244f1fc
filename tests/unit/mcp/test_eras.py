"""Eras: an answer to the probe that is not recognised as modern means legacy."""

import pytest

from fabric.mcp import eras, jsonrpc, requests
from fabric.mcp.eras import LEGACY, MODERN


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'"result":{"supportedVersions":["2026-07-28"]}', (MODERN,)),
        (b'"result":{"supportedVersions":["2026-07-28","2025-11-25"]}', (MODERN, LEGACY)),
        (b'"result":{"supportedVersions":[]}', (LEGACY,)),
        (b'"result":{"supportedVersions":7}', (LEGACY,)),
        (b'"result":{}', (LEGACY,)),
        (b'"error":{"code":-32601,"message":"unknown"}', (LEGACY,)),
        (b'"error":{"code":-32022,"message":"another version"}', (MODERN,)),
        (b'"error":{"code":"x"}', (LEGACY,)),
    ],
)
def test_the_eras_of_a_server_are_judged_by_its_answer_to_the_probe(answer: bytes, expected: tuple[str, ...]) -> None:
    assert eras.judge(jsonrpc.parse(b'{"jsonrpc":"2.0","id":"p",' + answer + b"}")) == expected


def test_each_probe_is_a_request_of_its_era() -> None:
    discover, initialize = jsonrpc.parse(requests.discover("p")), jsonrpc.parse(requests.initialize("p"))
    assert (discover.method, initialize.method) == ("server/discover", "initialize")
    assert jsonrpc.meta(discover).fields.version
    assert not jsonrpc.meta(initialize).fields.version

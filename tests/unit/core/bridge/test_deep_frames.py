"""Frames that are nested about as deep as can be read: each of them ends with an answer, and none ends the bridge."""

from __future__ import annotations

import sys

import msgspec
import pytest

from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.mcp.jsonrpc import parse
from tests.unit.core.bridge.driven_bridge import INITIALIZED, LEGACY, MODERN, DrivenBridge, frame, result, written

ENDS = (Kind.ANSWER, Kind.RETURNED)
VERSION = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


def depths() -> list[int]:
    """The depths at which a frame may be read in one place of the code, and not in another."""
    most = next(depth for depth in range(sys.getrecursionlimit(), 0, -1) if readable(nested(frame(id=1, result="DEEP"), depth)))
    return list(range(most - 60, most + 1, 3))


def readable(body: bytes) -> bool:
    try:
        parse(body)
    except InvalidFrame:
        return False
    return True


def nested(body: bytes, depth: int) -> bytes:
    """The frame with a deep array in place of "DEEP", and half of a surrogate pair in place of "HALF"."""
    return body.replace(b'"HALF"', b'"\\ud800"').replace(b'"DEEP"', b"[" * depth + b"]" * depth)


def call(exchange: str, capabilities: object = None, **params: object) -> bytes:
    declared = {"io.modelcontextprotocol/clientCapabilities": capabilities} if capabilities else {}
    return frame(id=exchange, method="tools/call", params={"name": "t", "_meta": VERSION | declared} | params)


def initialize(bridge: DrivenBridge) -> str:
    """The newest process answers its initialize."""
    child = bridge.children[-1]
    for asked in written(bridge.server_starts(child)):
        bridge.server_writes(child, result(msgspec.json.decode(asked.id), **INITIALIZED))
    return child


def only(bridge: DrivenBridge) -> Envelope:
    (end,) = bridge.posted(*ENDS)
    return end


@pytest.mark.parametrize(
    "body",
    [
        call("x", {"sampling": "DEEP"}),
        call("x", {"roots": "HALF", "sampling": "DEEP"}),
        call("x", _meta=[], arguments="DEEP"),
        call("x", arguments="DEEP"),
        call("x", {"sampling": {}}, arguments="DEEP"),
    ],
)
def test_a_deep_request_reaches_a_legacy_server_or_is_refused(body: bytes) -> None:
    for depth in depths():
        bridge = DrivenBridge(LEGACY, warm=0)
        bridge.work("x", body=nested(body, depth))
        if "x" in bridge.core.jobs.open:
            child = initialize(bridge)
        if "x" in bridge.core.jobs.open:
            bridge.server_writes(child, result("x", content=[]))
        assert only(bridge).exchange == "x"
        assert bridge.core.pools["s"].slots.taken == 0


@pytest.mark.parametrize("capabilities", [None, {"sampling": {}}])
def test_a_deep_answer_of_a_legacy_server_reaches_its_client_whole_or_becomes_an_error(capabilities: object) -> None:
    for depth in depths():
        bridge = DrivenBridge(LEGACY, warm=0)
        bridge.work("x", body=call("x", capabilities))
        child = initialize(bridge)
        bridge.server_writes(child, nested(result("x", content="DEEP"), depth - 1))
        body = only(bridge).body
        assert b"[" * (depth - 1) in body or b'"error"' in body


def test_a_deep_answer_of_a_modern_server_reaches_a_legacy_client_whole_or_becomes_an_error() -> None:
    for depth in depths():
        bridge = DrivenBridge(MODERN)
        bridge.initialize("session")
        child = bridge.core.sessions.open["session"].child
        bridge.server_starts(child)
        bridge.server_writes(child, result("session", supportedVersions=["2026-07-28"], capabilities={}))
        bridge.posted()
        bridge.request("x")
        bridge.server_writes(child, nested(result("x", content="DEEP"), depth - 1))
        body = only(bridge).body
        assert b"[" * (depth - 1) in body or b'"error"' in body


def test_a_session_whose_deep_initialize_cannot_be_read_is_refused() -> None:
    for depth in depths():
        bridge = DrivenBridge(MODERN)
        body = frame(id="session", method="initialize", params={"protocolVersion": "2025-11-25", "capabilities": "DEEP"})
        bridge.work("session", kind=Kind.OPEN, repeatable=False, body=nested(body, depth - 1))
        bridge.send(Kind.GRANT, exchange="session", attempt=1)
        assert set(bridge.core.sessions.open) == set(bridge.core.jobs.open)

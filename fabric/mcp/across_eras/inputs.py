"""The input that a call asks its client for: a legacy server's requests, and the modern result that carries them. Pure.

(2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, joined, members, response

MAY_ASK = frozenset({"tools/call", "prompts/get", "resources/read"})
"""The client's requests that may be answered with a request for input."""

CAPABILITIES = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""The capability of a client that a server needs for each of its requests."""
_GONE = ("elicitationId", "task", "_meta")  # of requests before 2026-07-28, which no modern client knows


class _Mode(msgspec.Struct, gc=False):
    mode: str = "form"


def allowed(message: Message, capabilities: Members) -> bool:
    """Whether a client with these capabilities may be asked this."""
    name = CAPABILITIES.get(message.method, "")
    if name not in capabilities:
        return False
    if name != "elicitation":
        return True
    modes = members(capabilities[name])
    try:
        mode = jsonrpc.decode(message.params, _Mode).mode if message.params else "form"
    except msgspec.DecodeError:
        mode = ""
    return mode in modes or (mode == "form" and "url" not in modes)


def input_request(message: Message) -> bytes:
    """A legacy server's request as a modern client gets it: raw JSON, without an id."""
    asked: dict[str, bytes] = {"method": jsonrpc.quoted(message.method)}
    params = {key: value for key, value in members(message.params).items() if key not in _GONE}
    if params or message.method != "roots/list":
        asked["params"] = joined(params)
    return joined(asked)


def input_required(id: bytes, requests: Mapping[str, bytes], state: str, server_info: bytes) -> bytes:
    """The response that asks for input. id: raw. requests: as `input_request` makes them, by key."""
    result = {
        "resultType": b'"input_required"',
        "inputRequests": joined(requests),
        "requestState": jsonrpc.quoted(state),
    }
    if server_info:
        result["_meta"] = joined({"io.modelcontextprotocol/serverInfo": server_info})
    return response(id, joined(result))


def given(message: Message) -> Members:
    """The input that a retry brings, raw JSON objects by key; other values are no input."""
    responses = members(jsonrpc.meta(message).input_responses)
    return {key: value for key, value in responses.items() if bytes(value).startswith(b"{")}

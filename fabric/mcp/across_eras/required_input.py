"""The input that a modern server requires: asked of a legacy client in requests, and given to the server in a retry. Pure.

(2026-07-28 basic/patterns/mrtr.)
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import revisions
from fabric.mcp.across_eras.legacy_answers import result_of
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, joined, members, notification, request

DISMISSED = msgspec.Raw(b'{"action":"cancel"}')
"""The answer to an elicitation that the client could not show: dismissed, without a choice (2026-07-28 client/elicitation)."""


class Question(msgspec.Struct, frozen=True):
    """One request for the client."""

    method: str
    """Its method."""
    params: msgspec.Raw = msgspec.Raw()
    """Its params, raw JSON; may be absent."""


class Required(msgspec.Struct, frozen=True):
    """A result that may ask for input."""

    type: str = msgspec.field(default="", name="resultType")
    """`input_required` in a result that asks."""
    questions: dict[str, Question] = msgspec.field(default_factory=dict, name="inputRequests")
    """The requests for the client, by the server's keys."""
    state: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestState")
    """What the retry is to bring back, raw JSON; may be absent."""


def required(message: Message) -> Required | None:
    """The input that a response asks for; None for any other response. Raises InvalidFrame where that breaks the schema."""
    if message.error or b'"input_required"' not in message.frame:
        return None
    result = result_of(message)
    if jsonrpc.text(members(result).get("resultType", b"")) != "input_required":
        return None
    try:
        asked = jsonrpc.decode(bytes(result), Required)
    except msgspec.DecodeError as error:
        raise InvalidFrame(jsonrpc.INTERNAL_ERROR, f"the input that the server asks for cannot be read: {error}") from error
    if not asked.questions and not asked.state:
        raise InvalidFrame(jsonrpc.INTERNAL_ERROR, "the server asks for input, and for none in particular")
    return asked


def question(asked: Question, id: str, revision: str) -> Message:
    """A question as a request to a client of this revision."""
    params = joined(revisions.input_params(members(asked.params), id, revision))
    return jsonrpc.parse(request(jsonrpc.quoted(id), asked.method, params))


def given(message: Message, method: str) -> msgspec.Raw | None:
    """What a client's response to a question of this method gives; None for an error that ends the call."""
    if not message.error:
        return result_of(message)
    return DISMISSED if method == "elicitation/create" else None


def retry(responses: Mapping[str, msgspec.Raw], state: msgspec.Raw) -> Members:
    """The members of the params with which a call is made again."""
    more: Members = {"inputResponses": msgspec.Raw(joined(responses))} if responses else {}
    return more | {"requestState": state} if state else more


def withdrawal(id: str, reason: str) -> Message:
    """The notification that a question needs no answer any more."""
    return jsonrpc.parse(notification("notifications/cancelled", msgspec.json.encode({"requestId": id, "reason": reason})))

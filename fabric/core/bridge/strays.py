"""Matches an answer with a wrong id to the only request that it can be for: the one request that is open in its process.

Without this rule, the caller of a server that writes null or a number in place of our id would wait until the deadline. But
some servers also answer notifications, with a null id and an empty result or `method not found`, and later answer the request
itself. So a message that may answer a notification is assigned to no request, until a request is answered that was written
after the notification: servers read in order.
"""

from __future__ import annotations

import re

import msgspec

from fabric.core.bridge.processes.child import Child
from fabric.faults import Fault, LostAnswer, Reason, lost_answer
from fabric.mcp import answers, jsonrpc
from fabric.mcp.jsonrpc import Message

_NONE = (b"", b"null")


class _Answer(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()


def adopted(child: Child, message: Message, server: str) -> Message | None:
    """The answer to the only request that is open in the process: the message's error, or one that says why it is no answer.

    None if the message may be meant for another request.
    """
    if len(child.jobs) != 1:
        return None
    [exchange] = child.jobs
    id, named = jsonrpc.quoted(exchange), jsonrpc.text(message.id)
    if isinstance(message, LostAnswer):
        known = message.id in _NONE or (named and not _ours(named, exchange))
        return lost_answer(id, message.fault, started=message.started, again=message.again) if known else None
    if (named and _ours(named, exchange)) or _may_answer_notification(child, exchange, message):
        return None
    if message.error:
        return jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b',"error":' + bytes(message.error) + b"}")
    id_text = f"the id {message.id.decode()[:_SHOWN]}" if message.id else "no id"
    text = f"{server} sent an answer that cannot be passed on: it has {id_text}, not that of the request"
    return lost_answer(id, Fault(Reason.INVALID, text), started=True, again=False)


_SHOWN = 80  # characters of an id


def _ours(named: str, exchange: str) -> bool:
    """Whether an id has the form of the fabric's: that of a request that is over, or of another process."""
    tail = len(exchange) - exchange.rfind("-") - 1
    return re.fullmatch(rf"probe .+|check-\d+|own-\d+|.+-[0-9a-f]+-[0-9a-f]{{{tail}}}", named) is not None


def _may_answer_notification(child: Child, exchange: str, message: Message) -> bool:
    """Whether a message may answer the last notification or response that was written to the process."""
    if child.open_at_notification is None:
        return False
    if not message.error:
        return bytes(jsonrpc.decode(message.frame, _Answer).result) in (b"", b"null", b"{}")
    code = answers.error_code(message)
    return code != jsonrpc.PARSE_ERROR and (exchange in child.open_at_notification or code == jsonrpc.METHOD_NOT_FOUND)

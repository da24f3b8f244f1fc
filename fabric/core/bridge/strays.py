"""Answers that bear the id of no open request: whose they are, where only one request is open in their process.

Without this rule the caller of a server that writes null, or a number, for our id would wait until its deadline. But a server
may answer what needs no answer, too: naive ones reply to each notification, with a null id and an empty result or `method not
found`, and go on to answer our request well. So what may answer a notification is nobody's, until a request that was written
later than it has been answered: servers read in order.
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
    """The same with the id of the only request that is open in the process: its error, or why its answer is none.

    None where another may be meant.
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
    what = f"the id {message.id.decode()[:_SHOWN]}" if message.id else "no id"
    text = f"{server} sent an answer that cannot be passed on: it has {what}, not that of the request"
    return lost_answer(id, Fault(Reason.INVALID, text), started=True, again=False)


_SHOWN = 80  # characters of an id


def _ours(named: str, exchange: str) -> bool:
    """Whether an id is of the form of ours: of a request that is over, or of another process's."""
    tail = len(exchange) - exchange.rfind("-") - 1
    return re.fullmatch(rf"probe .+|check-\d+|own-\d+|.+-[0-9a-f]+-[0-9a-f]{{{tail}}}", named) is not None


def _may_answer_notification(child: Child, exchange: str, message: Message) -> bool:
    """Whether it may be a reply to what was written last that is no request."""
    if child.open_when_told is None:
        return False
    if not message.error:
        return bytes(msgspec.json.decode(message.frame, type=_Answer).result) in (b"", b"null", b"{}")
    code = answers.error_code(message)
    return code != jsonrpc.PARSE_ERROR and (exchange in child.open_when_told or code == jsonrpc.METHOD_NOT_FOUND)

"""Finds the messages within output of a server that is not one JSON-RPC message, and makes an error of a broken answer. Pure.

Links to servers use it, and only for a frame that cannot be parsed. A message behind other text on its line, several messages
on a line, and one message over many lines are passed on. An answer that is not valid MCP cannot be passed on: the client that
waits for it gets an error at once.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason, lost_answer
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

_PIECES = 8  # how many objects of one line are tried
_LINES = 10_000  # how many lines one message may have
_SILENT = "\xef\xbb\xbf\xff\xfe\0\x1e \t\r\n"  # byte order marks, record separators and white space do not count as text
_SILENT_BYTES = _SILENT.encode("latin-1")
_BEGIN = re.compile(rb'\{\s*"(?:jsonrpc|id|method|result|error)"\s*:')
_MEMBERS = {"jsonrpc", "id", "result", "error"}
# Behind other text on a line, a request that only clients send is a log of what we sent, and so is a notification of theirs.
_SERVER_REQUESTS = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
_CLIENT_NOTIFICATIONS = frozenset({"notifications/initialized", "notifications/cancelled", "notifications/roots/list_changed"})
_HEAD_BYTES, _TAIL_BYTES = 1024, 256
_DEEP_BYTES = 256 * 1024
"""The longest frame whose objects are parsed one by one, which takes some 40 ms, during which nothing else runs."""
_REQUEST = re.compile(rb'\{[^][{}]*"method"\s*:')
_RESULT_FIRST = re.compile(rb'\{\s*"(?:result|error)"\s*:')
_NO_REQUEST = b"0"  # an id that no request has: the fabric's ids are strings
_LAST_ID = re.compile(rb'"id"\s*:\s*("[^"\\]*")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


class Mender:
    """Finds the messages in the invalid lines of one server."""

    def __init__(self, peer: str, max_bytes: int) -> None:
        """peer: the server's name, for people. max_bytes: the most bytes of a message that spans many lines."""
        self._peer = peer
        self._max_bytes = max_bytes
        self._lines: list[bytes] = []
        self._bytes = 0

    def take(self, line: bytes) -> list[Message]:
        """The messages that an invalid line completes, with a LostAnswer for a broken answer; none if the line is noise."""
        if not self._lines or line.startswith(b"{"):
            begins = line.rstrip() == b"{"
            self._lines, self._bytes = [line] if begins else [], len(line)
            return [] if begins else mended(line, self._peer)
        self._lines.append(line)
        self._bytes += len(line) + 1
        if line.startswith(b"}"):
            whole = b"\n".join(self._lines)
            self._lines = []
            try:
                return [jsonrpc.parse(whole)]
            except InvalidFrame:
                return mended(whole, self._peer)
        if self._bytes > self._max_bytes or len(self._lines) > _LINES:
            self._lines = []
        return []


def mended(frame: bytes, peer: str) -> list[Message]:
    """The messages within an invalid frame, in order, with a LostAnswer for each broken answer; none if it is noise."""
    if len(frame) > _DEEP_BYTES:
        return _long(frame, peer)
    text = frame.decode("latin-1")  # one character for each byte
    messages: list[Message] = []
    behind, place = False, 0
    for _ in range(_PIECES):
        start = text.find("{", place)
        if start < 0:
            break
        constants: list[str] = []
        try:
            value, end = json.JSONDecoder(strict=False, parse_constant=constants.append).raw_decode(text, start)
        except (ValueError, RecursionError):
            if not text[:start].strip(_SILENT):
                return _cut(frame, peer)  # an object within it is no message
            behind, place = True, start + 1
            continue
        behind = behind or bool(text[place:start].strip(_SILENT))
        messages += _piece(frame[start:end], value, constants, peer, behind=behind)
        place = end
    return messages


def too_long(head: bytes, peer: str, reason: str) -> Message:
    """The LostAnswer in place of a message over the limit. head: its beginning, which may show the request that it answers."""
    id = jsonrpc.leading_id(head)
    fault = Fault(Reason.TOO_LARGE, f"{peer} sent an answer that is too long: {reason}")
    return lost_answer(id if id or _RESULT_FIRST.match(head) else _NO_REQUEST, fault, started=True, again=False)


def broken(id: bytes, peer: str, reason: str) -> Message:
    """The LostAnswer in place of an unusable answer, to the request of this raw id; an empty id means the only open one."""
    fault = Fault(Reason.INVALID, f"{peer} sent an answer that cannot be passed on: {reason}")
    return lost_answer(id, fault, started=True, again=False)


def _piece(piece: bytes, value: dict[str, Any], constants: list[str], peer: str, *, behind: bool) -> list[Message]:
    """The message that one object of a line is, or its LostAnswer. behind: it follows other text, as in a log of messages."""
    try:
        message = jsonrpc.parse(piece)
    except InvalidFrame as error:
        meant = value.get("jsonrpc") == "2.0" or (not behind and value.keys() <= _MEMBERS)
        if "method" in value or not meant:
            return []
        reason = f"not JSON: it holds {constants[0]}" if constants else error.reason
        if isinstance(value.get("id"), str):
            return [broken(jsonrpc.quoted(value["id"]), peer, reason)]
        answers = value.keys() & {"id", "result", "error"} in ({"result"}, {"error"}) or (
            value.get("jsonrpc") == "2.0" and value.keys() & {"result", "error"}
        )
        if isinstance(value.get("id"), bool | list | dict):
            reason = "its id is neither a string nor a number"
        return [broken(b"", peer, reason)] if answers else []
    return [message] if _passes(message, behind=behind) else []


def _passes(message: Message, *, behind: bool) -> bool:
    """Whether the server can have sent this message, rather than logged one that it received."""
    if not behind:
        return True
    if message.kind is MessageKind.RESPONSE:
        return bool(message.error) or message.id[:1] == b'"'  # a result without an id of ours may be a log of others' messages
    if message.kind is MessageKind.REQUEST:
        return message.method in _SERVER_REQUESTS
    return message.method not in _CLIENT_NOTIFICATIONS


def _long(frame: bytes, peer: str) -> list[Message]:
    """The message within a frame too long to be parsed object by object: one that reaches to its end, or a broken answer."""
    begin = _BEGIN.search(frame, 0, _HEAD_BYTES)
    if begin and frame[: begin.start()].strip(_SILENT_BYTES):
        with suppress(InvalidFrame):
            message = jsonrpc.parse(frame[begin.start() :])
            return [message] if _passes(message, behind=True) else []
    return _cut(frame, peer)


def _cut(frame: bytes, peer: str) -> list[Message]:
    """The LostAnswer for a frame that begins like an answer and is not JSON: cut off, badly encoded, or of invalid syntax."""
    bare = frame.replace(b"\0", b"").lstrip(_SILENT_BYTES)
    if not bare.startswith(b"{") or _REQUEST.match(bare, 0, _HEAD_BYTES) or not (b'"result"' in bare or b'"error"' in bare):
        return []
    last = _LAST_ID.search(bare[-_TAIL_BYTES:])
    id = jsonrpc.leading_id(bare[:_HEAD_BYTES]) or (last[1] if last else b"")
    if not id and b'"jsonrpc"' not in bare:
        return []
    reason = "not JSON: it holds NUL bytes, as UTF-16 does; MCP is UTF-8"
    if b"\0" not in frame:
        try:
            jsonrpc.parse(frame)
        except InvalidFrame as error:
            reason = error.reason
    return [broken(id, peer, reason)]

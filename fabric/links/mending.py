"""What a server wrote that is no message: the messages within it, or what the caller of a broken answer is told.

It is looked at only where a frame could not be read. Noise in front of a message on its line, several messages on a line, and
one message over many lines are passed on. An answer that is none of MCP's cannot be: who waits for it is told at once.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason, lost
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

_PIECES = 8  # of one line that are tried
_LINES = 10_000  # of one message
_SILENT = "\xef\xbb\xbf\xff\xfe\0\x1e \t\r\n"  # marks of encodings, of records, and white space: no text in front of a message
_SILENT_BYTES = _SILENT.encode("latin-1")
_BEGIN = re.compile(rb'\{\s*"(?:jsonrpc|id|method|result|error)"\s*:')
_MEMBERS = {"jsonrpc", "id", "result", "error"}
# What servers ask and tell: anything else behind a text on a line is a log of what we sent.
_ASKED = frozenset({"sampling/createMessage", "elicitation/create", "roots/list"})
_TOLD_BY_US = frozenset({"notifications/initialized", "notifications/cancelled", "notifications/roots/list_changed"})
_HEAD_BYTES, _TAIL_BYTES = 1024, 256
_DEEP_BYTES = 256 * 1024
"""The longest frame whose objects are taken apart: some 40 ms, during which nothing else runs."""
_REQUEST = re.compile(rb'\{[^][{}]*"method"\s*:')
_RESULT_FIRST = re.compile(rb'\{\s*"(?:result|error)"\s*:')
_NOBODYS = b"0"  # ours are strings
_LAST_ID = re.compile(rb'"id"\s*:\s*("[^"\\]*")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


class Mender:
    """For the lines of one server. peer: its name for people. max_bytes: of a message over many lines."""

    def __init__(self, peer: str, max_bytes: int) -> None:
        self._peer = peer
        self._max_bytes = max_bytes
        self._lines: list[bytes] = []
        self._bytes = 0

    def take(self, line: bytes) -> list[Message]:
        """What a line that is no message yields, a Lost for a broken answer; nothing if it is noise."""
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
    """The messages in a frame that is none, in order, with a Lost for each broken answer; nothing if there are none."""
    if len(frame) > _DEEP_BYTES:
        return _long(frame, peer)
    text = frame.decode("latin-1")  # a character for each byte, whatever they are
    found: list[Message] = []
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
                return _cut(frame, peer)  # what is within it is no message
            behind, place = True, start + 1
            continue
        behind = behind or bool(text[place:start].strip(_SILENT))
        found += _piece(frame[start:end], value, constants, peer, behind=behind)
        place = end
    return found


def too_long(head: bytes, peer: str, reason: str) -> Message:
    """What stands for a message that was too long to be read; head: its beginning, which may show what it answers."""
    id = jsonrpc.leading_id(head)
    fault = Fault(Reason.TOO_LARGE, f"{peer} sent an answer that is too long: {reason}")
    return lost(id if id or _RESULT_FIRST.match(head) else _NOBODYS, fault, started=True, again=False)


def broken(id: bytes, peer: str, reason: str) -> Message:
    """What stands for an answer to the request of this raw id that cannot be passed on; the only open one's if it is empty."""
    fault = Fault(Reason.INVALID, f"{peer} sent an answer that cannot be passed on: {reason}")
    return lost(id, fault, started=True, again=False)


def _piece(piece: bytes, value: dict[str, Any], constants: list[str], peer: str, *, behind: bool) -> list[Message]:
    """An object that stood on the line. behind: after some text, so that a message to the server may be a log of it."""
    try:
        message = jsonrpc.parse(piece)
    except InvalidFrame as error:
        ours = value.get("jsonrpc") == "2.0" or (not behind and value.keys() <= _MEMBERS)
        if "method" in value or not ours:
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
    """Whether the server can mean it: what it was sent and logs is not its own."""
    if not behind:
        return True
    if message.kind is MessageKind.RESPONSE:
        return bool(message.error) or message.id[:1] == b'"'  # a result without an id of ours may be a log of what others said
    return message.method in _ASKED if message.kind is MessageKind.REQUEST else message.method not in _TOLD_BY_US


def _long(frame: bytes, peer: str) -> list[Message]:
    """A frame that would take too long to be taken apart: a message that reaches to its end, or a broken answer."""
    begin = _BEGIN.search(frame, 0, _HEAD_BYTES)
    if begin and frame[: begin.start()].strip(_SILENT_BYTES):
        with suppress(InvalidFrame):
            message = jsonrpc.parse(frame[begin.start() :])
            return [message] if _passes(message, behind=True) else []
    return _cut(frame, peer)


def _cut(frame: bytes, peer: str) -> list[Message]:
    """A frame that begins as an answer does and is no JSON by any reading: cut, in another encoding, of a syntax of its own."""
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

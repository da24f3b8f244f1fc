"""Reads a JSON-RPC frame only as far as the fabric needs: kind, id, method and MCP metadata. Pure.

A frame is the UTF-8 bytes of one message of MCP's JSON-RPC 2.0. Ids and tokens stay raw JSON: `7` and `"7"` differ. swap.py
changes frames.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TypeVar

import msgspec
from msgspec.structs import astuple

from fabric.errors import InvalidFrame

# JSON-RPC's own codes (its section 5.1), then those of MCP's revision 2026-07-28.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

MODERN_VERSION = "2026-07-28"
"""The oldest revision without sessions; later revisions sort after it."""


class NestedTooDeeply(InvalidFrame, msgspec.DecodeError):
    """A frame is nested too deeply for the Python stack at the place that decodes it, though it may not have been elsewhere.

    Where a reader has a default for what it cannot decode, that default holds; everywhere else the frame is refused.
    """

    def __init__(self) -> None:
        super().__init__(PARSE_ERROR, "not JSON that can be read: nested too deeply")


class MessageKind(IntEnum):
    """The three shapes of a JSON-RPC message, and an array of them (see batches.py)."""

    REQUEST = 1
    NOTIFICATION = 2
    RESPONSE = 3
    BATCH = 4


class Message(msgspec.Struct):
    """One frame and its members, each empty if the frame does not have it. Only `meta` changes a message: it sets `seen`."""

    frame: bytes
    """The frame as it was written."""
    kind: MessageKind
    """The shape of the message."""
    id: bytes
    """The id, raw JSON."""
    method: str
    """The method of a request or notification."""
    params: msgspec.Raw
    """The params of a request or notification, raw JSON."""
    error: msgspec.Raw
    """The error of a response, raw JSON."""
    seen: Meta | None = None
    """The metadata of the params, once `meta` has decoded it."""


class MetaFields(msgspec.Struct, frozen=True, gc=False):
    """The reserved keys in `params._meta`, each as raw JSON, empty when absent or null."""

    progress_token: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="progressToken")
    """The token that progress notifications about the request carry."""
    version: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/protocolVersion")
    """The revision of a modern request."""
    client: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/clientInfo")
    """The name and version of a modern request's client."""
    capabilities: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/clientCapabilities")
    """The client's capabilities, in a modern request."""
    log_level: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/logLevel")
    """The lowest level of log messages that a modern request asks for."""
    subscription: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/subscriptionId")
    """The id of the listen request that a notification belongs to."""
    traceparent: msgspec.Raw = msgspec.Raw()
    """The W3C traceparent."""


_NO_FIELDS = MetaFields()


class Meta(msgspec.Struct, frozen=True, gc=False):
    """The metadata of a request's `params`, each as raw JSON, empty when absent or null."""

    name: msgspec.Raw = msgspec.Raw()
    """The name of a tool or prompt."""
    uri: msgspec.Raw = msgspec.Raw()
    """The URI of a resource."""
    request_state: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestState")
    """The server's state that a repeated modern request brings back."""
    input_responses: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="inputResponses")
    """The client's answers to what the server asked for, in a repeated modern request."""
    fields: MetaFields = msgspec.field(default=_NO_FIELDS, name="_meta")
    """The reserved keys in `_meta`."""


class _Head(msgspec.Struct, gc=False):
    jsonrpc: str = ""
    id: msgspec.Raw = msgspec.Raw()
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Array(msgspec.Struct, array_like=True, gc=False):
    first: msgspec.Raw = msgspec.Raw()


class _Referring(msgspec.Struct, gc=False):
    """The params of a notification that names a request."""

    progress_token: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="progressToken")
    request_id: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestId")
    progress: msgspec.Raw = msgspec.Raw()
    fields: MetaFields = msgspec.field(default=_NO_FIELDS, name="_meta")


_NO_META = Meta()
_EMPTY = msgspec.Raw()
_NULL = msgspec.Raw(b"null")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Half of a surrogate pair: valid JSON (RFC 8259 8.2), which servers do send, and which msgspec cannot read.
_HALVES = re.compile(rb"\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)")
_head = msgspec.json.Decoder(_Head)
_meta = msgspec.json.Decoder(Meta)
_text = msgspec.json.Decoder(str)
_array = msgspec.json.Decoder(_Array)
_referring = msgspec.json.Decoder(_Referring)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
S = TypeVar("S", Meta, MetaFields)
T = TypeVar("T")


def parse(frame: bytes) -> Message:
    """Parse one frame. Raises InvalidFrame with the JSON-RPC code to answer with, and with the id if it could be read."""
    try:
        if not frame.isascii():
            frame.decode()  # msgspec does not check the strings that it skips
        head = _look(frame)
    except msgspec.ValidationError as error:
        if _holds_messages(frame):
            return Message(frame, MessageKind.BATCH, b"", "", _EMPTY, _EMPTY)
        raise InvalidFrame(INVALID_REQUEST, f"not a JSON-RPC message: {error}", _readable_id(frame)) from error
    except NestedTooDeeply:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if frame.startswith(_BYTE_ORDER_MARK) and not frame.startswith(_BYTE_ORDER_MARK, 3):  # RFC 8259 8.1: one passes
            return parse(frame.removeprefix(_BYTE_ORDER_MARK))
        raise _not_json(frame, error) from error
    id = bytes(head.id)
    if head.jsonrpc != "2.0":
        raise InvalidFrame(INVALID_REQUEST, 'not a JSON-RPC 2.0 message: "jsonrpc" is not "2.0"', _checked(id) or b"null")
    if head.method is not None:
        if not id:
            return Message(frame, MessageKind.NOTIFICATION, b"", head.method, head.params, _EMPTY)
        if not _checked(id):
            raise InvalidFrame(INVALID_REQUEST, "a request's id is a string or an integer, never null")
        return Message(frame, MessageKind.REQUEST, id, head.method, head.params, _EMPTY)
    if not (head.result or head.error) or (id and id != b"null" and not _checked(id)):
        raise InvalidFrame(INVALID_REQUEST, "a message has a method, a result or an error", _checked(id) or b"null")
    failed = head.error if not head.result or head.error != _NULL else _EMPTY  # some servers send both, as JSON-RPC 1.0 does
    return Message(frame, MessageKind.RESPONSE, id, "", _EMPTY, failed)


def _look(frame: bytes) -> _Head:
    """The frame's members. Half surrogate pairs are read as U+FFFD; the frame itself keeps them."""
    try:
        try:
            return _head.decode(frame)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            head = _head.decode(_whole(frame))
            if bytes(head.id) not in frame:
                raise InvalidFrame(INVALID_REQUEST, "an id is not half of a surrogate pair") from None
            return head
    except RecursionError as error:
        raise NestedTooDeeply from error


def decode(frame: bytes, shape: type[T]) -> T:
    """Decode JSON of a peer, with U+FFFD for half surrogate pairs. Raises msgspec.DecodeError; see NestedTooDeeply."""
    try:
        try:
            return msgspec.json.decode(frame, type=shape)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return msgspec.json.decode(_whole(frame), type=shape)
    except RecursionError as error:
        raise NestedTooDeeply from error


def _whole(frame: bytes) -> bytes:
    """The frame with U+FFFD for half surrogate pairs."""
    return _HALVES.sub(lambda match: rb"\ufffd" if match[1] else match[0], frame)


def _holds_messages(frame: bytes) -> bool:
    """Whether a frame that is no message is an array that begins with an object. Raises InvalidFrame for any other array."""
    try:
        first = bytes(_array.decode(frame).first)
    except msgspec.ValidationError:
        return False
    except RecursionError as error:
        raise NestedTooDeeply from error
    except msgspec.DecodeError as error:
        raise _not_json(frame, error) from error
    if not first:
        raise InvalidFrame(INVALID_REQUEST, "an empty batch: JSON-RPC 2.0 does not allow one, send at least one message")
    if first[:1] != b"{":
        raise InvalidFrame(INVALID_REQUEST, "an array whose first element is no JSON-RPC message is no batch")
    return True


def _not_json(frame: bytes, error: Exception) -> InvalidFrame:
    if isinstance(error, UnicodeDecodeError):
        return InvalidFrame(PARSE_ERROR, f"not JSON: not UTF-8, by its byte 0x{frame[error.start]:02x} at {error.start}")
    return InvalidFrame(PARSE_ERROR, f"not JSON: {error}" if frame.strip() else "not JSON: the frame is empty")


def _checked(id: bytes) -> bytes:
    """`id` if it may identify a request (a string or an integer), else empty."""
    return id if id[:1] == b'"' or id.isdigit() or (id[:1] == b"-" and id[1:].isdigit()) else b""


def _readable_id(frame: bytes) -> bytes:
    """The id of a frame whose other members have wrong types, so that the error can name it."""
    try:
        return _checked(bytes(_members.decode(frame).get("id", _EMPTY))) or b"null"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"null"


def meta(message: Message) -> Meta:
    """The metadata of a message's params, decoded once.

    A null, or another value where an object should be, counts as absent: the server judges whether that is allowed.
    """
    if message.seen is not None:
        return message.seen
    if not message.params:
        return _NO_META
    try:
        try:
            seen = _meta.decode(message.params)
        except msgspec.DecodeError:
            seen = _without_fields(message.params)
    except RecursionError as error:
        raise NestedTooDeeply from error
    if _NULL in astuple(seen) or _NULL in astuple(seen.fields):
        seen = msgspec.structs.replace(_given(seen), fields=_given(seen.fields))
    message.seen = seen
    return seen


def _without_fields(params: msgspec.Raw) -> Meta:
    """The metadata of params that are not an object, or whose `_meta` is not one."""
    try:
        members = _members.decode(params)
    except msgspec.DecodeError:
        return _NO_META
    members.pop("_meta", None)
    return _meta.decode(msgspec.json.encode(members))


def _given(seen: S) -> S:
    """The record with empty fields for those that are null."""
    nulls = {name: _EMPTY for name in seen.__struct_fields__ if getattr(seen, name) == _NULL}
    return msgspec.structs.replace(seen, **nulls)


def pings(message: Message) -> bool:
    """Whether a message is a ping of a legacy revision, which a client may send before there is a session."""
    return message.method == "ping" and message.kind is MessageKind.REQUEST and not meta(message).fields.version


def text(raw: msgspec.Raw | bytes) -> str:
    """A raw JSON string's value; empty when it is absent, not a string, or holds a lone surrogate."""
    try:
        return _text.decode(raw) if raw else ""
    except msgspec.DecodeError:
        return ""


def quoted(value: str) -> bytes:
    """The raw JSON of a string."""
    return msgspec.json.encode(value)


def refers_to(message: Message) -> bytes:
    """The raw id or token that a notification names: requestId of a cancel, progressToken, subscription id; empty for none."""
    if not message.params:
        return b""
    try:
        params = _referring.decode(message.params)
    except msgspec.DecodeError:
        return b""
    except RecursionError as error:
        raise NestedTooDeeply from error
    return bytes(params.request_id or params.progress_token or params.fields.subscription)


def progress(message: Message) -> float:
    """The progress value of a progress notification; minus infinity if it has none."""
    try:
        return float(msgspec.json.decode(_referring.decode(message.params).progress, type=float))
    except msgspec.DecodeError:
        return float("-inf")
    except RecursionError as error:
        raise NestedTooDeeply from error


def leading_id(head: bytes) -> bytes:
    """The raw id of a frame, from its beginning alone; empty if the id is not in it."""
    start = head.find(b'"id":') + 5
    if head.count(b"{", 0, start) != 1:
        return b""
    while head[start : start + 1] == b" ":
        start += 1
    end = head.find(b'"', start + 1) + 1 if head[start : start + 1] == b'"' else start
    return _checked(head[start:end]) if end > start + 1 else b""


def message_id(frame: bytes) -> bytes:
    """The raw id of a frame; empty if it has none."""
    return bytes(_look(frame).id)


def result_subscription(frame: bytes) -> bytes:
    """The raw subscription id in the `_meta` of a listen response's result; empty if there is none."""
    return bytes(decode(bytes(_look(frame).result), Meta).fields.subscription)


def request_state(frame: bytes) -> bytes:
    """The raw requestState of a request's params or of a result; empty if there is none."""
    head = _look(frame)
    try:
        return bytes(_meta.decode(head.params or head.result).request_state) if head.params or head.result else b""
    except RecursionError as error:
        raise NestedTooDeeply from error
    except msgspec.DecodeError:
        return b""


def empty_result(id: bytes) -> bytes:
    """The answer to a ping; `id` is raw JSON."""
    return b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}'


def error_frame(id: bytes, code: int, message: str, data: object | None = None) -> bytes:
    """A JSON-RPC error response; `id` is raw JSON."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":' + (id or b"null") + b',"error":' + msgspec.json.encode(error) + b"}"

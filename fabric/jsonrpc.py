"""A look at a JSON-RPC frame without taking it apart: kind, id, method and MCP metadata; and the few bytes the fabric swaps.

A frame is the UTF-8 bytes of one message of MCP's JSON-RPC 2.0. Ids and tokens are handled as raw JSON (`7` and `"7"` differ),
and everything the fabric does not swap stays byte for byte: unknown fields, key order, number formats. What swaps is called
with_something, and raises InvalidFrame where a frame is written in such a way that it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum

import msgspec

from fabric.errors import InvalidFrame

# JSON-RPC's own codes (its section 5.1), then those of MCP's revision 2026-07-28.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

MODERN_VERSION = "2026-07-28"
"""The oldest revision without sessions; later revisions sort after it."""


class MessageKind(IntEnum):
    """The three shapes of a JSON-RPC message, and an array of them (see jsonrpc_batch.py)."""

    REQUEST = 1
    NOTIFICATION = 2
    RESPONSE = 3
    BATCH = 4


class Message(msgspec.Struct, frozen=True):
    """One frame and what was seen in it. `id`, `params`, `error`: raw JSON, empty where there is none. `seen` is for `meta`."""

    frame: bytes
    kind: MessageKind
    id: bytes
    method: str
    params: msgspec.Raw
    error: msgspec.Raw
    seen: Meta | None = None


class MetaFields(msgspec.Struct, frozen=True, gc=False):
    """What `params._meta` holds of the reserved keys, each as raw JSON, empty when absent."""

    progress_token: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="progressToken")
    version: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/protocolVersion")
    capabilities: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/clientCapabilities")
    log_level: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/logLevel")
    subscription: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="io.modelcontextprotocol/subscriptionId")
    traceparent: msgspec.Raw = msgspec.Raw()


_NO_FIELDS = MetaFields()


class Meta(msgspec.Struct, frozen=True, gc=False):
    """The metadata of a request's `params`, each as raw JSON, empty when absent."""

    name: msgspec.Raw = msgspec.Raw()
    uri: msgspec.Raw = msgspec.Raw()
    request_state: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestState")
    input_responses: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="inputResponses")
    fields: MetaFields = msgspec.field(default=_NO_FIELDS, name="_meta")


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
    """The params of the notifications that name a request."""

    progress_token: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="progressToken")
    request_id: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="requestId")
    progress: msgspec.Raw = msgspec.Raw()
    fields: MetaFields = msgspec.field(default=_NO_FIELDS, name="_meta")


_PLACES_TRIED = 8  # each is proven by reading the frame again; one frame may hold thousands that look like the place
_NO_META = Meta()
_EMPTY = msgspec.Raw()
# Half of a surrogate pair: grammatical JSON (RFC 8259 8.2), which servers do send, and which msgspec does not read.
_HALVES = re.compile(rb"\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)")
_head = msgspec.json.Decoder(_Head)
_meta = msgspec.json.Decoder(Meta)
_text = msgspec.json.Decoder(str)
_array = msgspec.json.Decoder(_Array)
_referring = msgspec.json.Decoder(_Referring)


def parse(frame: bytes) -> Message:
    """Look at one frame. Raises InvalidFrame with the JSON-RPC code to answer, and the id where one could be read."""
    try:
        if not frame.isascii():
            frame.decode()  # msgspec does not look into the strings it skips
        head = _look(frame)
    except msgspec.ValidationError as error:
        if _holds_messages(frame):
            return Message(frame, MessageKind.BATCH, b"", "", _EMPTY, _EMPTY)
        raise InvalidFrame(INVALID_REQUEST, f"not a JSON-RPC message: {error}", _readable_id(frame)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
    return Message(frame, MessageKind.RESPONSE, id, "", _EMPTY, head.error)


def _look(frame: bytes) -> _Head:
    """The frame's members. Half surrogate pairs are looked at as U+FFFD, and stay what they are in the frame."""
    try:
        return _head.decode(frame)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        whole = _HALVES.sub(lambda found: rb"\ufffd" if found[1] else found[0], frame)
        if whole == frame:
            raise
        head = _head.decode(whole)
        if bytes(head.id) not in frame:
            raise InvalidFrame(INVALID_REQUEST, "an id is not half of a surrogate pair") from None
        return head


def _holds_messages(frame: bytes) -> bool:
    """Whether a frame that is no message is an array that begins with one. Raises InvalidFrame for any other array."""
    try:
        first = bytes(_array.decode(frame).first)
    except msgspec.ValidationError:
        return False
    except (msgspec.DecodeError, RecursionError) as error:
        raise _not_json(frame, error) from error
    if not first:
        raise InvalidFrame(INVALID_REQUEST, "an empty batch: JSON-RPC 2.0 does not allow one, send at least one message")
    if first[:1] != b"{":
        raise InvalidFrame(INVALID_REQUEST, "an array that begins with no JSON-RPC message is no batch")
    return True


def _not_json(frame: bytes, error: Exception) -> InvalidFrame:
    if isinstance(error, RecursionError):
        return InvalidFrame(PARSE_ERROR, "not JSON that can be read: nested too deeply")
    return InvalidFrame(PARSE_ERROR, f"not JSON: {error}" if frame.strip() else "not JSON: there is nothing")


def _checked(id: bytes) -> bytes:
    """`id` if it may identify a request (a string or an integer), else nothing."""
    return id if id[:1] == b'"' or id.isdigit() or (id[:1] == b"-" and id[1:].isdigit()) else b""


def _readable_id(frame: bytes) -> bytes:
    """The id of a frame whose other fields have wrong types, so that the error can name it."""
    try:
        return _checked(bytes(msgspec.json.decode(frame, type=dict[str, msgspec.Raw]).get("id", _EMPTY))) or b"null"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"null"


def meta(message: Message) -> Meta:
    """The metadata of a message's params, looked at once. Raises InvalidFrame where `params` or `_meta` is not an object."""
    if message.seen is not None:
        return message.seen
    if not message.params:
        return _NO_META
    try:
        seen = _meta.decode(message.params)
    except msgspec.DecodeError as error:
        raise InvalidFrame(INVALID_PARAMS, f"params: {error}", message.id or b"null") from error
    msgspec.structs.force_setattr(message, "seen", seen)
    return seen


def text(raw: msgspec.Raw | bytes) -> str:
    """A raw JSON string's value; empty when it is absent, not a string, or holds a lone surrogate."""
    try:
        return _text.decode(raw) if raw else ""
    except msgspec.DecodeError:
        return ""


def quoted(value: str) -> bytes:
    """A string as raw JSON."""
    return msgspec.json.encode(value)


def refers_to(message: Message) -> bytes:
    """The raw id or token a notification names: requestId of a cancel, progressToken, subscription id; empty for none."""
    if not message.params:
        return b""
    try:
        params = _referring.decode(message.params)
    except msgspec.DecodeError:
        return b""
    return bytes(params.request_id or params.progress_token or params.fields.subscription)


def progress(message: Message) -> float:
    """The progress value of a progress notification; minus infinity when it has none."""
    try:
        return float(msgspec.json.decode(_referring.decode(message.params).progress, type=float))
    except msgspec.DecodeError:
        return float("-inf")


def with_id(message: Message, id: bytes) -> bytes:
    """The frame with its id replaced by raw JSON `id`, everything else untouched."""
    frame = message.frame
    start = frame.find(b'"id":') + 5
    # Valid JSON holds these bytes only as a key, and with one brace before it as the message's own. A second such key may be
    # nested, or a trick: the last one counts, so the result is looked at.
    if frame.count(b"{", 0, start) == 1 and frame.startswith(message.id, start):
        swapped = frame[:start] + id + frame[start + len(message.id) :]
        if frame.find(b'"id"', start) < 0 or bytes(_look(swapped).id) == id:
            return swapped
    return _swap(frame, b'"id"', id, lambda new: bytes(_look(new).id))


def with_answer_id(frame: bytes, minted: str, id: bytes) -> bytes:
    """A response whose id is the string `minted`, with its client's own id in place."""
    key = b'"id":"' + minted.encode() + b'"'
    start = frame.find(key)
    if start > 0 and frame.count(b"{", 0, start) == 1:
        return frame[: start + 5] + id + frame[start + len(key) :]
    return with_id(parse(frame), id)


def leading_id(head: bytes) -> bytes:
    """The raw id of a frame of which only the beginning is there; empty when the id is not in it."""
    start = head.find(b'"id":') + 5
    if head.count(b"{", 0, start) != 1:
        return b""
    while head[start : start + 1] == b" ":
        start += 1
    end = head.find(b'"', start + 1) + 1 if head[start : start + 1] == b'"' else start
    return _checked(head[start:end]) if end > start + 1 else b""


def with_request_state(frame: bytes, state: bytes) -> bytes:
    """A request or an `input_required` result with its requestState (raw JSON) replaced."""
    return _swap(frame, b'"requestState"', state, request_state)


def request_state(frame: bytes) -> bytes:
    """The raw requestState of a request's params or of a result; empty when there is none."""
    head = _look(frame)
    try:
        return bytes(_meta.decode(head.params or head.result).request_state) if head.params or head.result else b""
    except msgspec.DecodeError:
        return b""


def with_progress_token(frame: bytes, token: bytes) -> bytes:
    """A request with its `params._meta.progressToken` replaced."""
    return _swap(frame, b'"progressToken"', token, lambda new: bytes(meta(parse(new)).fields.progress_token))


def with_reference(frame: bytes, reference: bytes) -> bytes:
    """A notification with the id or token it names (see `refers_to`) replaced."""
    for key in (b'"requestId"', b'"progressToken"', b'"io.modelcontextprotocol/subscriptionId"'):
        if key in frame:
            return _swap(frame, key, reference, lambda new: refers_to(parse(new)))
    return frame


def with_result_subscription(frame: bytes, reference: bytes) -> bytes:
    """A listen response with `result._meta`'s subscription id replaced."""
    key = b'"io.modelcontextprotocol/subscriptionId"'

    def read(new: bytes) -> bytes:
        return bytes(_meta.decode(_look(new).result).fields.subscription)

    return _swap(frame, key, reference, read) if key in frame else frame


def with_traceparent(message: Message, traceparent: str) -> bytes:
    """A request whose `params._meta.traceparent` is `traceparent`, added or replaced; as it is where the place is hard to find.

    Raises InvalidFrame where there is one that cannot be replaced.
    """
    frame, value = message.frame, quoted(traceparent)

    def read(new: bytes) -> bytes:
        return bytes(meta(parse(new)).fields.traceparent)

    if meta(message).fields.traceparent:
        return _swap(frame, b'"traceparent"', value, read)
    member = b'"traceparent":' + value
    if not message.params:
        return frame[: frame.index(b"{") + 1] + b'"params":{"_meta":{' + member + b"}}," + frame[frame.index(b"{") + 1 :]
    for key, opening in ((b'"_meta"', member), (b'"params"', b'"_meta":{' + member + b"}")):
        for start in _values(frame, key)[:_PLACES_TRIED]:
            if frame[start : start + 1] == b"{":
                rest = frame[start + 1 :]
                comma = b"" if rest.lstrip()[:1] == b"}" else b","
                new = frame[: start + 1] + opening + comma + rest
                if read(new) == value:
                    return new
    return frame


def error_frame(id: bytes, code: int, message: str, data: object | None = None) -> bytes:
    """A JSON-RPC error response; `id` is raw JSON."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return b'{"jsonrpc":"2.0","id":' + (id or b"null") + b',"error":' + msgspec.json.encode(error) + b"}"


def _values(frame: bytes, key: bytes) -> list[int]:
    """Where the values of `key` (quoted) begin, wherever it stands in the frame as an object key."""
    found = []
    at = frame.find(key)
    while at >= 0:
        start = at + len(key)
        while frame[start : start + 1] in b" \t\r\n" and start < len(frame):
            start += 1
        if frame[start : start + 1] == b":":
            start += 1
            while frame[start : start + 1] in b" \t\r\n" and start < len(frame):
                start += 1
            found.append(start)
        at = frame.find(key, start)
    return found


def _swap(frame: bytes, key: bytes, new: bytes, read: Callable[[bytes], bytes]) -> bytes:
    """Replace the scalar value of `key` at the place that `read` reads. Which place that is, is proven by reading the result.

    Keys of other depths look alike, and one frame may hold thousands of them, so the proof is a bisection: all candidates
    are swapped up to a point, and the point at which `read` sees the new value is the place.
    """
    if read(frame) == new:
        return frame  # no proof could tell one place from another, and none is needed
    places = [(start, start + _length(frame, start)) for start in _values(frame, key) if frame[start] not in b"{["]

    def swapped(low: int, high: int) -> bytes:
        parts, last = [], 0
        for start, end in places[low:high]:
            if start >= last:
                parts += [frame[last:start], new]
                last = end
        return b"".join([*parts, frame[last:]])

    low, high = 0, len(places)
    if not places or read(swapped(low, high)) != new:
        raise InvalidFrame(INVALID_REQUEST, f"{key.decode()} is written in a way that cannot be replaced")
    while high - low > 1:
        middle = (low + high) // 2
        if read(swapped(middle, high)) == new:
            low = middle
        else:
            high = middle
    return swapped(low, high)


def _length(frame: bytes, start: int) -> int:
    """The length in bytes of the scalar JSON value at `start`."""
    if frame[start : start + 1] == b'"':
        end = start + 1
        while True:
            end = frame.index(b'"', end)
            escapes = end - 1
            while frame[escapes : escapes + 1] == b"\\":
                escapes -= 1
            end += 1
            if (end - escapes) % 2 == 0:
                return end - start
    end = start
    while end < len(frame) and frame[end] not in b",}] \t\r\n":
        end += 1
    return end - start

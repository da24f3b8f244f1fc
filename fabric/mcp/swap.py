"""The few bytes of a JSON-RPC frame that the fabric swaps: ids, tokens, states. All else stays byte for byte as it was written.

Unknown fields, key order and number formats are kept. What swaps is called with_something, and raises InvalidFrame where a
frame is written in such a way that it cannot.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.errors import InvalidFrame
from fabric.mcp.jsonrpc import (
    INVALID_REQUEST,
    Message,
    message_id,
    meta,
    parse,
    quoted,
    refers_to,
    request_state,
    result_subscription,
)

_PLACES_TRIED = 8  # each is proven by reading the frame again; one frame may hold thousands that look like the place


def with_id(message: Message, id: bytes) -> bytes:
    """The frame with its id replaced by raw JSON `id`, everything else untouched."""
    frame = message.frame
    start = frame.find(b'"id":') + 5
    # Valid JSON holds these bytes only as a key, and with one brace before it as the message's own. A second such key may be
    # nested, or a trick: the last one counts, so the result is looked at.
    if frame.count(b"{", 0, start) == 1 and frame.startswith(message.id, start):
        swapped = frame[:start] + id + frame[start + len(message.id) :]
        if frame.find(b'"id"', start) < 0 or message_id(swapped) == id:
            return swapped
    return _swap(frame, b'"id"', id, message_id)


def with_answer_id(frame: bytes, minted: str, id: bytes) -> bytes:
    """A response whose id is the string `minted`, with its client's own id in place."""
    key = b'"id":"' + minted.encode() + b'"'
    start = frame.find(key)
    if start > 0 and frame.count(b"{", 0, start) == 1:
        return frame[: start + 5] + id + frame[start + len(key) :]
    return with_id(parse(frame), id)


def with_request_state(frame: bytes, state: bytes) -> bytes:
    """A request or an `input_required` result with its requestState (raw JSON) replaced."""
    return _swap(frame, b'"requestState"', state, request_state)


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
    return _swap(frame, key, reference, result_subscription) if key in frame else frame


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

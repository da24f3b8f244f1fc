"""Replaces single values in a JSON-RPC frame: ids, tokens, states. All other bytes stay as they were written. Pure.

Unknown fields, key order and number formats are kept. Each function raises InvalidFrame for a frame that is written in such a
way that the value cannot be replaced.
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

_PLACES_TRIED = 8  # each try parses the frame again, and a frame may hold thousands of places that look right


def with_id(message: Message, id: bytes) -> bytes:
    """The frame with its id replaced by raw JSON `id`, everything else untouched."""
    frame = message.frame
    start = frame.find(b'"id":') + 5
    # In valid JSON these bytes are always a key, and with one brace before it a key of the message itself. A second such key
    # may be nested or a duplicate, of which the last one counts, so then the result is parsed.
    if frame.count(b"{", 0, start) == 1 and frame.startswith(message.id, start):
        swapped = frame[:start] + id + frame[start + len(message.id) :]
        if frame.find(b'"id"', start) < 0 or message_id(swapped) == id:
            return swapped
    return _swap(frame, b'"id"', id, message_id)


def with_answer_id(frame: bytes, minted: str, id: bytes) -> bytes:
    """A response whose id is the string `minted`, with the client's own id instead."""
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
    """A notification with the id or token that it names (see `refers_to`) replaced."""
    for key in (b'"requestId"', b'"progressToken"', b'"io.modelcontextprotocol/subscriptionId"'):
        if key in frame:
            return _swap(frame, key, reference, lambda new: refers_to(parse(new)))
    return frame


def with_result_subscription(frame: bytes, reference: bytes) -> bytes:
    """A listen response with `result._meta`'s subscription id replaced."""
    key = b'"io.modelcontextprotocol/subscriptionId"'
    return _swap(frame, key, reference, result_subscription) if key in frame else frame


def with_traceparent(message: Message, traceparent: str) -> bytes:
    """A request whose `params._meta.traceparent` is added or replaced; unchanged if the place for it is hard to find.

    Raises InvalidFrame if the request has one that cannot be replaced.
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
    """The positions at which the values of `key` (with quotes) begin, at any depth."""
    positions = []
    at = frame.find(key)
    while at >= 0:
        start = at + len(key)
        while frame[start : start + 1] in b" \t\r\n" and start < len(frame):
            start += 1
        if frame[start : start + 1] == b":":
            start += 1
            while frame[start : start + 1] in b" \t\r\n" and start < len(frame):
                start += 1
            positions.append(start)
        at = frame.find(key, start)
    return positions


def _swap(frame: bytes, key: bytes, new: bytes, read: Callable[[bytes], bytes]) -> bytes:
    """Replace the scalar value of `key` that `read` reads. Reading the result proves which place that is.

    The same key may stand at other depths, thousands of times, so the place is found by bisection: candidates from one on are
    replaced, and the last one from which on `read` gives the new value is the place.
    """
    if read(frame) == new:
        return frame  # nothing to replace
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

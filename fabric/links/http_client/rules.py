"""What a remote MCP server is told in headers, and what its HTTP answers mean, in both eras. Pure."""

from __future__ import annotations

from fabric.errors import EndOfLink, InvalidFrame, LinkError, LinkHandshakeError
from fabric.faults import Fault, Reason, lost
from fabric.links.mcp_headers import NAMED, encoded
from fabric.links.mending import broken, mended
from fabric.mcp import batches, jsonrpc
from fabric.mcp.answers import error_code
from fabric.mcp.jsonrpc import Message, MessageKind, Meta
from fabric.mcp.tools import Catalog

USER_AGENT = "mcp-transport-fabric"
POST = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", "Accept-Encoding": "identity"}
"""Headers of every POST."""
GET = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Accept-Encoding": "identity"}
"""Headers of every GET."""

_RETRY_AFTER = 1.0
OTHER = "is this the URL of an MCP server?"
_SHUT_OUT = frozenset({401, 403, 407})


def modern_headers(message: Message, meta: Meta, tools: Catalog) -> dict[str, str]:
    """A modern request's headers: they mirror its body."""
    headers = {**POST, "MCP-Protocol-Version": jsonrpc.text(meta.fields.version), "Mcp-Method": message.method}
    by_uri = NAMED.get(message.method)
    if by_uri is not None:
        name = jsonrpc.text(meta.uri if by_uri else meta.name)
        headers["Mcp-Name"] = encoded(name)
        if message.method == "tools/call":
            headers |= {f"Mcp-Param-{header}": encoded(value) for header, value in tools.mirrored(name, message)}
    return headers


def mismatched(answer: Message) -> bool:
    """Whether a server refuses a request for what its headers lack."""
    return error_code(answer) == jsonrpc.HEADER_MISMATCH


def own(answer: Message, request: Message, where: str) -> Message:
    """What answers a request without its id, in what only this one can have led to.

    An error is its error. A result whose id is none of ours, which are strings, is not to be passed on.
    """
    if answer.kind is not MessageKind.RESPONSE or answer.id == request.id or (not answer.error and answer.id[:1] == b'"'):
        return answer
    if not answer.error:
        named = f"the id {answer.id.decode()}" if answer.id else "no id"
        return broken(request.id, where, f"it has {named}, not that of the request")
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + request.id + b',"error":' + bytes(answer.error) + b"}")


def answers(reply: Message, request: Message) -> bool:
    """Whether this is the response to the request."""
    return reply.kind is MessageKind.RESPONSE and reply.id == request.id


Judgement = tuple[list[Message], LinkError | None]
"""What a request gets, its answer last; and what its refusal means for a link that never worked."""


def judged(
    request: Message, status: int, where: str, status_text: str, body: bytes, retry_after: str, *, in_session: bool
) -> Judgement:
    """What an answer means that is no event stream.

    where, told: who answers, and the status, for people. retry_after: its header.
    """
    status_text = f"{where} answers {status_text}"
    try:
        said = batches.read(body)
    except InvalidFrame:
        said = mended(body, where)
    replies = [own(reply, request, where) for reply in said]
    if 200 <= status < 300:
        if any(answers(reply, request) for reply in replies):
            return replies, None
        status_text += f" with {len(body)} bytes that do not answer the request; {OTHER}"
        return [unknown(request, status_text)], LinkHandshakeError(status_text)
    error = replies[-1] if replies and replies[-1].error else None
    if in_session and (status == 404 or (status == 400 and not (error and said[-1].id == request.id))):
        why = f"{status_text}: it no longer knows the session"
        fault = Fault(Reason.SESSION_LOST, f"{why}; begin a new one", retryable=True)
        return [lost(request.id, fault, started=False, again=False)], EndOfLink(why)
    status_text += advice(status)
    refusal = LinkHandshakeError(status_text) if status in _SHUT_OUT or not 400 <= status < 500 else None
    if error is not None:
        return [error], refusal
    if refusal is None and request.method == "initialize":
        refusal = LinkHandshakeError(f"{status_text}; {OTHER}")
    return [_refused(request, status, status_text, retry_after)], refusal


def advice(status: int) -> str:
    """What to do where a server answers so, as the end of a sentence; empty where it depends."""
    if status in _SHUT_OUT:
        return ": check the headers configured for it"
    return ": configure the URL that it redirects to" if 300 <= status < 400 else ""


def _refused(request: Message, status: int, status_text: str, retry_after: str) -> Message:
    if status == 429:
        wait = float(retry_after) if retry_after.isdigit() else _RETRY_AFTER
        fault = Fault(Reason.OVERLOADED, status_text, retryable=True, retry_after=wait)
        return lost(request.id, fault, started=False, again=False)
    if status == 413:
        return lost(request.id, Fault(Reason.TOO_LARGE, status_text), started=False, again=False)
    if status >= 500:
        return unknown(request, status_text)
    if status in _SHUT_OUT or status < 400:
        return lost(request.id, Fault(Reason.UNAVAILABLE, status_text), started=False, again=False)
    # so that a legacy server, which refuses a modern probe like this, is taken for one
    return jsonrpc.parse(jsonrpc.error_frame(request.id, jsonrpc.INVALID_REQUEST, status_text))


def unsent(request: Message, why: str) -> Message:
    """What a request gets that never left."""
    return lost(request.id, Fault(Reason.UNAVAILABLE, why, retryable=True), started=False, again=True)


def unknown(request: Message, why: str) -> Message:
    """What a request gets that left, and whose answer did not come."""
    text = f"{why}; the request may have been carried out"
    return lost(request.id, Fault(Reason.OUTCOME_UNKNOWN, text), started=True, again=True)


def too_long(request: Message, why: str) -> Message:
    """What a request gets whose answer is over the limit."""
    return lost(request.id, Fault(Reason.TOO_LARGE, why), started=True, again=False)

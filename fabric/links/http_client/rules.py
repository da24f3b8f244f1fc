"""The rules of Streamable HTTP for a client, in both eras: which headers it sends, and what a server's answers mean. Pure."""

from __future__ import annotations

from fabric.errors import EndOfLink, InvalidFrame, LinkError, LinkHandshakeError
from fabric.faults import Fault, Reason, lost_answer
from fabric.links.mcp_headers import NAMED, encoded
from fabric.links.mending import broken, mended
from fabric.mcp import batches, jsonrpc
from fabric.mcp.answers import error_code
from fabric.mcp.jsonrpc import Message, MessageKind, Meta
from fabric.mcp.tools import Catalog

USER_AGENT = "mcp-transport-fabric"
POST = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", "Accept-Encoding": "identity"}
"""The headers of every POST."""
GET = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Accept-Encoding": "identity"}
"""The headers of every GET."""

_RETRY_AFTER = 1.0  # seconds, if a server that is overloaded names none
OTHER = "is this the URL of an MCP server?"
_SHUT_OUT = frozenset({401, 403, 407})


def modern_headers(message: Message, meta: Meta, tools: Catalog) -> dict[str, str]:
    """The headers of a modern request, which mirror its body."""
    headers = {**POST, "MCP-Protocol-Version": jsonrpc.text(meta.fields.version), "Mcp-Method": message.method}
    by_uri = NAMED.get(message.method)
    if by_uri is not None:
        name = jsonrpc.text(meta.uri if by_uri else meta.name)
        headers["Mcp-Name"] = encoded(name)
        if message.method == "tools/call":
            headers |= {f"Mcp-Param-{header}": encoded(value) for header, value in tools.mirrored(name, message)}
    return headers


def mismatched(answer: Message) -> bool:
    """Whether a server refuses a request because its headers do not match its body."""
    return error_code(answer) == jsonrpc.HEADER_MISMATCH


def own(answer: Message, request: Message, where: str) -> Message:
    """A message of the POST's answer, corrected if it answers the request with a wrong id.

    An error gets the request's id. A result whose id is not a string, as all ids of the fabric are, becomes a LostAnswer.
    """
    if answer.kind is not MessageKind.RESPONSE or answer.id == request.id or (not answer.error and answer.id[:1] == b'"'):
        return answer
    if not answer.error:
        named = f"the id {answer.id.decode()}" if answer.id else "no id"
        return broken(request.id, where, f"it has {named}, not that of the request")
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + request.id + b',"error":' + bytes(answer.error) + b"}")


def answers(reply: Message, request: Message) -> bool:
    """Whether the message is the response to the request."""
    return reply.kind is MessageKind.RESPONSE and reply.id == request.id


Judgement = tuple[list[Message], LinkError | None]
"""The messages to pass on, the answer last; and the error that ends a link which has not worked before, if it is one."""


def judged(
    request: Message, status: int, where: str, status_text: str, body: bytes, retry_after: str, *, in_session: bool
) -> Judgement:
    """What the answer to a POST means, if it is not an event stream.

    where: the server, for people. status_text: the status, for people. retry_after: the Retry-After header.
    """
    status_text = f"{where} answers {status_text}"
    try:
        messages = batches.read(body)
    except InvalidFrame:
        messages = mended(body, where)
    replies = [own(reply, request, where) for reply in messages]
    if 200 <= status < 300:
        if any(answers(reply, request) for reply in replies):
            return replies, None
        status_text += f" with {len(body)} bytes that do not answer the request; {OTHER}"
        return [unknown(request, status_text)], LinkHandshakeError(status_text)
    error = replies[-1] if replies and replies[-1].error else None
    if in_session and (status == 404 or (status == 400 and not (error and messages[-1].id == request.id))):
        reason = f"{status_text}: it no longer knows the session"
        fault = Fault(Reason.SESSION_LOST, f"{reason}; begin a new one", retryable=True)
        return [lost_answer(request.id, fault, started=False, again=False)], EndOfLink(reason)
    status_text += advice(status)
    refusal = LinkHandshakeError(status_text) if status in _SHUT_OUT or not 400 <= status < 500 else None
    if error is not None:
        return [error], refusal
    if refusal is None and request.method == "initialize":
        refusal = LinkHandshakeError(f"{status_text}; {OTHER}")
    return [_refused(request, status, status_text, retry_after)], refusal


def advice(status: int) -> str:
    """What to do about this status, as the end of a sentence; empty if that depends."""
    if status in _SHUT_OUT:
        return ": check the headers configured for it"
    return ": configure the URL that it redirects to" if 300 <= status < 400 else ""


def _refused(request: Message, status: int, status_text: str, retry_after: str) -> Message:
    if status == 429:
        wait = float(retry_after) if retry_after.isdigit() else _RETRY_AFTER
        fault = Fault(Reason.OVERLOADED, status_text, retryable=True, retry_after=wait)
        return lost_answer(request.id, fault, started=False, again=False)
    if status == 413:
        return lost_answer(request.id, Fault(Reason.TOO_LARGE, status_text), started=False, again=False)
    if status >= 500:
        return unknown(request, status_text)
    if status in _SHUT_OUT or status < 400:
        return lost_answer(request.id, Fault(Reason.UNAVAILABLE, status_text), started=False, again=False)
    # a legacy server refuses a modern probe like this, and this error shows its era
    return jsonrpc.parse(jsonrpc.error_frame(request.id, jsonrpc.INVALID_REQUEST, status_text))


def unsent(request: Message, reason: str) -> Message:
    """The LostAnswer of a request that was not sent."""
    return lost_answer(request.id, Fault(Reason.UNAVAILABLE, reason, retryable=True), started=False, again=True)


def unknown(request: Message, reason: str) -> Message:
    """The LostAnswer of a request that was sent, and whose answer did not arrive."""
    text = f"{reason}; the request may have been carried out"
    return lost_answer(request.id, Fault(Reason.OUTCOME_UNKNOWN, text), started=True, again=True)


def too_long(request: Message, reason: str) -> Message:
    """The LostAnswer of a request whose answer is over the limit."""
    return lost_answer(request.id, Fault(Reason.TOO_LARGE, reason), started=True, again=False)

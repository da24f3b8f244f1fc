"""Decides which HTTP requests a listener allows, which server each is for, and who sends it.

Refusals, in this order: no Host (400) or a foreign one (421), a foreign Origin (403), missing credentials (401), an unknown
path or server (404), a method that the path does not have (405). Pages such as `/livez` need no credentials: probes have none.
Behind a listed reverse proxy, the Host is the one that the proxy's headers name.

Above it: service.py. Below it: fabric/security, which judges hosts, origins, credentials and proxies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import msgspec

from fabric.caller import Caller
from fabric.faults import Reason
from fabric.links.base import Purpose
from fabric.links.http.admission import NO_SSE
from fabric.links.http.request_reader import Head
from fabric.links.http.response import Headers, Response, refuse
from fabric.links.http.settings import Page
from fabric.links.settings import Names, Resolve
from fabric.links.websocket.handshake import asks_for_websocket
from fabric.security.access import AccessCheck
from fabric.security.auth.base import ANONYMOUS, Authenticator, Challenge, Principal
from fabric.security.forwarded import Proxies

MCP, WEBSOCKET = b"mcp", b"ws"
"""The endpoints of a server: the last segment of a path."""

_PURPOSES = {
    MCP: {"POST": Purpose.POST, "GET": Purpose.EVENT_STREAM, "DELETE": Purpose.DELETE_SESSION},
    WEBSOCKET: {"GET": Purpose.LONG_LINK},
}
_ALLOWED = {MCP: b"allow: GET, POST, DELETE, OPTIONS\r\n", WEBSOCKET: b"allow: GET, OPTIONS\r\n"}
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9, _-]*")
_SSE = frozenset({b"sse", b"messages", b"message"})
_NAMES_LISTED = 20  # in the answer to a request for an unknown server
_HOSTS_KEPT = 64  # bounded, because a listener on all addresses accepts any address literal
_EXPOSED = b"access-control-expose-headers: mcp-session-id, www-authenticate\r\n"


class Route(msgspec.Struct, frozen=True, gc=False):
    """Where an allowed request leads."""

    purpose: Purpose
    """What the request's link is for."""
    name: str
    """The server's name in the path, empty for the default server."""
    server: str
    """The name of the server that it resolves to."""
    principal: Principal
    """The caller; ANONYMOUS where clients are not authenticated."""


class RequestFilter:
    """The access rules of one listener."""

    def __init__(
        self,
        *,
        access: AccessCheck,
        authenticator: Authenticator | None,
        proxies: Proxies,
        resolve: Resolve,
        names: Names,
        pages: Mapping[str, Page],
        prefix: str,
        endpoints: Set[bytes],
    ) -> None:
        """prefix: the beginning of all paths of servers. endpoints: the endpoints that each server has on this listener."""
        self._access = access
        self._authenticator = authenticator
        self._proxies = proxies
        self.resolve = resolve
        self._names = names
        self._pages = {path.encode(): page for path, page in pages.items()}
        self._prefix = prefix.encode()
        self._endpoints = endpoints
        self._hosts: set[str] = set()  # Host headers that were allowed before

    def cross_origin_lines(self, headers: Headers) -> bytes:
        """The header lines that let a web page of an allowed Origin read the answer; empty for any other."""
        origin = headers.get(b"origin")
        if origin is None or not self._access.origin_allowed(origin.decode("latin-1")):
            return b""
        return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSED)

    def caller(self, address: str, headers: Headers) -> Caller:
        """The caller of a request that came from `address`."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._proxies:
            return Caller(address, "http", host)
        forwarded = self._proxies.caller(address, headers)
        return Caller(forwarded.address, forwarded.scheme or "http", forwarded.host or host)

    def route(self, head: Head, caller: Caller) -> Route | Response:
        """The route of a request, or its refusal. The path is split while raw, so that an escaped slash is part of a name."""
        method, path, headers = head.method, head.path, head.headers
        if caller.host not in self._hosts and (refusal := self._foreign(caller.host)) is not None:
            return refusal
        if b"origin" in headers and not self._access.origin_allowed(headers[b"origin"].decode("latin-1")):
            return refuse(403, Reason.FORBIDDEN, "web pages of this Origin may not call this listener; see allowedOrigins")
        page = self._pages.get(path.removesuffix(b"/"))
        if page is not None:
            return _show(page) if method in ("GET", "HEAD") else _not_allowed(method, b"allow: GET, HEAD\r\n")
        if method == "OPTIONS":
            return _preflight(headers)
        principal = ANONYMOUS
        if self._authenticator is not None:
            verdict = self._authenticator.authenticate(head)
            if isinstance(verdict, Challenge):
                challenge = b"www-authenticate: %b\r\n" % verdict.www_authenticate.encode()
                return refuse(401, Reason.UNAUTHORIZED, verdict.reason, lines=challenge)
            principal = verdict
        path = path[len(self._prefix) :] or b"/" if path.startswith(self._prefix) else b""
        endpoint, name = _parts(path)
        if endpoint in _SSE and MCP in self._endpoints:
            base = (self._prefix + path.removesuffix(b"/").rpartition(b"/")[0]).decode("latin-1")
            return refuse(404, Reason.UNKNOWN_SERVER, f"{NO_SSE}, at {base}/mcp; {self._listed()}")
        if endpoint not in self._endpoints or (path == b"/" and MCP in self._endpoints and not asks_for_websocket(headers)):
            return refuse(404, Reason.UNKNOWN_SERVER, f"no such path: {self._paths()}")
        server = self.resolve(name)
        if server is None:
            return refuse(404, Reason.UNKNOWN_SERVER, self._unknown_server(name, endpoint.decode()))
        purpose = _PURPOSES[endpoint].get(method)
        if purpose is None:
            return _not_allowed(method, _ALLOWED[endpoint])
        return Route(purpose, name, server, principal)

    def _paths(self) -> str:
        prefix, ends = self._prefix.decode(), [end.decode() for end in sorted(self._endpoints)]
        if not ends:
            return f"there are {', '.join(path.decode() for path in self._pages)}"
        return f"servers are at {', '.join(f'{prefix}/{end}, {prefix}/{{server}}/{end}' for end in ends)}; {self._listed()}"

    def _unknown_server(self, name: str, endpoint: str) -> str:
        if name:
            return f"no server is called {name!r}; {self._listed()}"
        return f"there is no default server: use {self._prefix.decode()}/{{server}}/{endpoint}; {self._listed()}"

    def _listed(self) -> str:
        names = self._names()
        more = [f"{len(names) - _NAMES_LISTED} more"] if len(names) > _NAMES_LISTED else []
        return f"known are {', '.join([*names[:_NAMES_LISTED], *more])}" if names else "no server is known yet"

    def _foreign(self, host: str) -> Response | None:
        """The refusal of this Host header; None if it is allowed. Every request has one (RFC 9112 3.2)."""
        if not host or "," in host:
            return refuse(400, Reason.INVALID, "a request has exactly one Host header")
        if not self._access.host_allowed(host):
            return refuse(421, Reason.FORBIDDEN, "the Host header names no host of this listener; see allowedHosts")
        if len(self._hosts) < _HOSTS_KEPT:
            self._hosts.add(host)
        return None


@lru_cache(maxsize=256)
def _parts(path: bytes) -> tuple[bytes, str]:
    """The endpoint that a raw path may name, and the server's name in it: empty for the default server.

    A slash at the end is ignored, and letters may be escaped (RFC 3986 6.2.2).
    """
    if path == b"/":
        return WEBSOCKET, ""
    root, slash, rest = path.removesuffix(b"/").partition(b"/")
    segment, slash, endpoint = rest.partition(b"/")
    if root or not slash:
        return b"" if root else unquote_to_bytes(segment), ""
    try:
        return unquote_to_bytes(endpoint) if segment else b"", unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return b"", ""


def _preflight(headers: Headers) -> Response:
    """The answer to a browser's preflight (Fetch standard, CORS), whose Origin is allowed."""
    wanted = headers.get(b"access-control-request-headers", b"")
    allowed = wanted if _HEADER_NAMES.fullmatch(wanted) else b""
    return Response(
        200,
        b"",
        b"access-control-allow-methods: GET, POST, DELETE\r\naccess-control-max-age: 600\r\n"
        + (b"access-control-allow-headers: %b\r\n" % allowed if allowed else b""),
    )


def _show(page: Page) -> Response:
    status, body, media_type = page()
    return Response(status, body, b"content-type: %b\r\n" % media_type.encode())


def _not_allowed(method: str, allow: bytes) -> Response:
    allowed = allow.decode().partition(": ")[2].rstrip()
    return refuse(405, Reason.INVALID, f"{method} is not allowed here; {allowed} are", lines=allow)

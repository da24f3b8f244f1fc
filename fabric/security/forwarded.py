"""Finds the client behind listed reverse proxies: Forwarded (RFC 7239), X-Forwarded-For, -Proto and -Host. Pure.

Each proxy appends the address that called it, so the nearest one wrote the right end. Read from there, the first address that
is not a listed proxy's is the client. The entries to the left of it come from that client, and are ignored.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from fabric.caller import Caller

_PAIR = re.compile(r"([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|\"((?:[^\"\\]|\\.)*)\")", re.ASCII)
_BLANK = re.compile(r"[ \t]*")
_ESCAPED = re.compile(r"\\(.)")
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w+)?|([^\[\]:]+)(?::\w+)?", re.ASCII)
_NO_ADDRESS = re.compile(r"unknown|_[\w.-]{1,64}", re.ASCII)  # RFC 7239 6.2, 6.3
_HOST = re.compile(r"[\w.\[\]:-]{1,255}", re.ASCII)
_X_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
_SHORT_BYTES = 512
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Proxies:
    """The reverse proxies whose headers are trusted."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        """listed: addresses, and networks such as `10.0.0.0/8`. Raises ValueError for anything else."""
        self._networks = tuple(ipaddress.ip_network(text) for text in listed)
        self.trusts = lru_cache(maxsize=1024)(self._trusts)
        """Whether an address is a listed proxy's."""
        self._read_cached = lru_cache(maxsize=1024)(self._read)  # the same clients call again

    def __bool__(self) -> bool:
        return bool(self._networks)

    def caller(self, peer: str, headers: Mapping[bytes, bytes]) -> Caller:
        """The client behind a request from the address `peer`: `peer` itself, if no trusted header names another.

        headers: by lower-case name, repeated ones joined by commas. A proxy that writes one kind of header may pass on the
        other kind as its client wrote it, so if both kinds are there and differ, neither is trusted.
        """
        if not self.trusts(peer):
            return Caller(peer)
        values = (headers.get(b"forwarded"), *(headers.get(name) for name in _X_FORWARDED))
        read = self._read_cached if sum(len(value) for value in values if value) <= _SHORT_BYTES else self._read
        return read(peer, *values)

    def _read(self, peer: str, forwarded: bytes | None, *x_forwarded: bytes | None) -> Caller:
        clients = []
        if forwarded is not None:
            clients.append(self._client(peer, reversed(_forwarded(forwarded.decode("latin-1")))))
        if x_forwarded[0] is not None:
            clients.append(self._client(peer, _x_forwarded(x_forwarded)))
        elif not clients:
            clients.append(msgspec.structs.replace(next(_x_forwarded(x_forwarded)), address=peer))
        return clients[0] if clients.count(clients[0]) == len(clients) else Caller(peer)

    def _client(self, peer: str, hops: Iterator[Caller]) -> Caller:
        """Walk from the nearest proxy outwards, through the listed ones, to the first address that is not listed."""
        client = Caller(peer)
        for hop in hops:
            address = _address(hop.address)
            if hop.address and not address:
                return client  # this entry is unreadable, so the proxy that wrote it is the last known address
            client = msgspec.structs.replace(hop, address=address or client.address)
            if not self.trusts(address):
                return client
        return client

    def _trusts(self, address: str) -> bool:
        ip = _ip(address)
        return ip is not None and any(ip in network for network in self._networks)


def _forwarded(text: str) -> list[Caller]:
    """The hops of a Forwarded header, the outermost first; none if any part of it is malformed.

    An unbalanced quote that a client sent swallows the part that a proxy appends, so a readable part proves nothing.
    """
    hops: list[Caller] = []
    pairs: dict[str, str] = {}
    at = 0
    while True:
        at = _end(_BLANK, text, at)
        if (pair := _PAIR.match(text, at)) is not None:
            name = pair[1].lower()
            if name in pairs:
                return []
            pairs[name] = pair[2] or _ESCAPED.sub(r"\1", pair[3])
            at = _end(_BLANK, text, pair.end())
        mark = text[at : at + 1]
        if mark not in ("", ",", ";"):
            return []
        if mark != ";" and pairs:
            hops.append(_hop(pairs.get("for", ""), pairs.get("proto", ""), pairs.get("host", "")))
            pairs = {}
        if not mark:
            return hops
        at += 1


def _x_forwarded(values: Sequence[bytes | None]) -> Iterator[Caller]:
    """The hops of the X-Forwarded- headers, the nearest first. A shorter list of schemes or hosts repeats its outermost one."""
    clients, schemes, hosts = (_listed((value or b"").decode("latin-1")) for value in values)
    for number, client in enumerate(clients or [""]):
        scheme, host = (each[min(number, len(each) - 1)] if each else "" for each in (schemes, hosts))
        yield _hop(client, scheme, host)


def _listed(text: str) -> list[str]:
    return [part for item in reversed(text.split(",")) if (part := item.strip())]


def _hop(client: str, scheme: str, host: str) -> Caller:
    return Caller(client, _SCHEMES.get(scheme.lower(), ""), host if _HOST.fullmatch(host) else "")


def _address(node: str) -> str:
    """The address in a node's name, with or without a port; `unknown` and `_hidden` unchanged; empty for anything else."""
    match = _NODE.fullmatch(node)
    text = (match[1] or match[2]) if match is not None else node  # an IPv6 address may lack its brackets
    if _NO_ADDRESS.fullmatch(text):
        return text
    address = _ip(text)
    return str(address) if address is not None and "%" not in text else ""


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address  # a listener on [::] sees IPv4 clients as mapped addresses


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at

"""The open subscriptions/listen requests of a legacy server's modern clients, and the notifications that each gets.

A legacy server sends list_changed to every client, and resources/updated to those that have asked for the URI by
resources/subscribe. (2026-07-28 basic/patterns/subscriptions; 2025-11-25 server/resources, Subscriptions.)
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.job import Job
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras.discover import Initialized
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, joined, members, notification

UPDATED = "notifications/resources/updated"
KINDS = {
    "notifications/tools/list_changed": ("toolsListChanged", "tools"),
    "notifications/prompts/list_changed": ("promptsListChanged", "prompts"),
    "notifications/resources/list_changed": ("resourcesListChanged", "resources"),
}
"""The field of the filter that asks for each notification, and the capability of a server that sends it as `listChanged`."""

_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class _Filter(msgspec.Struct):
    tools: bool = msgspec.field(default=False, name="toolsListChanged")
    prompts: bool = msgspec.field(default=False, name="promptsListChanged")
    resources: bool = msgspec.field(default=False, name="resourcesListChanged")
    uris: list[str] = msgspec.field(default_factory=list, name="resourceSubscriptions")


class _Params(msgspec.Struct):
    notifications: _Filter


class _Listener(msgspec.Struct, frozen=True):
    job: Job
    kinds: frozenset[str]
    uris: frozenset[str]


class _Updated(msgspec.Struct):
    uri: str = ""


class Listeners:
    """The listeners at one process."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, _Listener] = {}  # by exchange

    def __len__(self) -> int:
        return len(self._open)

    def open(self, job: Job, params: bytes, server: Initialized) -> tuple[bytes, list[str]] | None:
        """A client listens. Returns its acknowledgement, and the URIs that are new at the server; None for wrong params."""
        try:
            wanted = jsonrpc.decode(params, _Params).notifications
        except msgspec.DecodeError:
            return None
        capabilities = members(server.capabilities)
        kinds, filter = set(), dict[str, bytes]()
        for method, (field, name) in KINDS.items():
            if getattr(wanted, name) and _offers(capabilities, name, "listChanged"):
                kinds.add(method)
                filter[field] = b"true"
        uris: list[str] = []
        if wanted.uris and _offers(capabilities, "resources", "subscribe"):
            uris = list(dict.fromkeys(wanted.uris))
            filter["resourceSubscriptions"] = msgspec.json.encode(uris)
        fresh = [uri for uri in uris if not self._wanted(uri)]
        self._open[job.exchange] = _Listener(job, frozenset(kinds), frozenset(uris))
        acknowledged = {"_meta": _meta(job), "notifications": joined(filter)}
        return notification("notifications/subscriptions/acknowledged", joined(acknowledged)), fresh

    def close(self, job: Job) -> list[str]:
        """A client listens no more. Returns the URIs without a listener."""
        closed = self._open.pop(job.exchange, None)
        return [uri for uri in sorted(closed.uris) if not self._wanted(uri)] if closed is not None else []

    def notified(self, message: Message) -> list[tuple[Job, bytes]]:
        """The listeners that get a notification of the server, each with its frame."""
        if message.method == UPDATED:
            try:
                uri = jsonrpc.decode(bytes(message.params), _Updated).uri
            except msgspec.DecodeError:
                return []
            found = [each for each in self._open.values() if uri in each.uris]
        else:
            found = [each for each in self._open.values() if message.method in each.kinds]
        return [(each.job, _for(each.job, message)) for each in found]

    def _wanted(self, uri: str) -> bool:
        return any(uri in each.uris for each in self._open.values())


def _offers(capabilities: Members, name: str, what: str) -> bool:
    return bytes(members(capabilities.get(name, b"")).get(what, b"")) == b"true"


def _for(job: Job, message: Message) -> bytes:
    params = members(message.params)
    meta = members(params.pop("_meta", b"")) | {_SUBSCRIPTION: msgspec.Raw(jsonrpc.quoted(job.exchange))}
    return notification(message.method, joined({"_meta": joined(meta)} | params))


def _meta(job: Job) -> bytes:
    return joined({_SUBSCRIPTION: jsonrpc.quoted(job.exchange)})

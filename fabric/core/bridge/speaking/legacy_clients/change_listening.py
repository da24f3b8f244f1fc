"""The one subscriptions/listen request by which a modern server notifies a legacy client of changes.

It asks for the list changes that the server declares, and for the resources that the client subscribes to. Another set is asked
for in a new request, and the old one is cancelled once that is acknowledged: no change is missed, none is notified twice.
(2026-07-28 basic/patterns/subscriptions.)
"""

from __future__ import annotations

from math import inf

import msgspec

from fabric.core.bridge.job import Job
from fabric.core.bridge.speaking.base import Answer, Output, ServerMessage, cancelled
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import modern_requests
from fabric.mcp.jsonrpc import Message
from fabric.mcp.members import Members, notification

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

_CHANGED = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0
"""Seconds from the end of a request, or the refusal of its renewal, to the next renewal. The pause doubles each time, until one
has lived that long: each renewal has the client refresh all that it listens to."""

ACKNOWLEDGED_WITHIN = 10.0
"""Seconds after which a request that the server has not acknowledged counts as refused: the next one waits for it."""


class _Filter(msgspec.Struct):
    uris: list[str] = msgspec.field(default_factory=list, name="resourceSubscriptions")


class _Acknowledged(msgspec.Struct):
    notifications: _Filter = msgspec.field(default_factory=_Filter)


class ChangeListening:
    """What one client listens to. Each method that may ask the server takes the `id` of such a request."""

    __slots__ = (
        "_current", "_current_since", "_kinds", "_lost", "_meta", "_opening", "_opening_jobs", "_overdue", "_pause",
        "_renewed_at", "_stale", "_uris", "_waiting",
    )  # fmt: skip

    def __init__(self, meta: Members) -> None:
        self._meta = meta
        self._kinds: tuple[str, ...] = ()
        self._uris: dict[str, None] = {}
        self._current = ""  # the id of the request that was acknowledged last
        self._current_since = 0.0  # since when there has been one
        self._opening = ""  # of the one that is not yet
        self._overdue = inf  # when that one is given up; infinite until the first look at it
        self._opening_jobs: list[tuple[Job, str]] = []  # the clients' requests that it answers; with the URI of a subscribe
        self._waiting: list[tuple[Job, str]] = []  # those that the next one answers
        self._stale = False  # another set than that of the opening one is wanted
        self._lost = False  # the server has ended the current one
        self._renewed_at = 0.0  # when it may be asked for again
        self._pause = FIRST_PAUSE  # before the renewal after that

    def begin(self, kinds: tuple[str, ...], id: str) -> tuple[Output, ...]:
        """The client is ready to be notified of these kinds of changes, by their names in the filter."""
        self._kinds = kinds
        return self._renew(id) if kinds else ()

    def subscribe(self, job: Job, uri: str, id: str) -> tuple[Output, ...]:
        """The client subscribes to a resource; it is answered when the server has agreed."""
        self._uris[uri] = None
        self._waiting.append((job, uri))
        return self._renew(id)

    def unsubscribe(self, job: Job, uri: str, id: str) -> tuple[Output, ...]:
        """The client wants no more updates of a resource."""
        self._uris.pop(uri, None)
        self._waiting.append((job, ""))
        return self._renew(id)

    def forget(self, job: Job) -> None:
        """The client has cancelled its request."""
        self._opening_jobs = [each for each in self._opening_jobs if each[0] is not job]
        self._waiting = [each for each in self._waiting if each[0] is not job]

    def look(self, id: str, now: float) -> tuple[Output, ...]:
        """The regular look: give up a request that is not acknowledged; listen again, if the server has ended that."""
        if self._opening:
            self._overdue = min(self._overdue, now + ACKNOWLEDGED_WITHIN)
            if now < self._overdue:
                return ()
            return (cancelled(self._opening), *self.ended(self._opening, msgspec.Raw(), id, now))
        return self._renew(id) if self._lost and now >= self._renewed_at else ()

    # ------------------------------------------------------------ from the process
    def asked(self, id: str) -> bool:
        """Whether a listen request of this id is open."""
        return bool(id) and id in (self._current, self._opening)

    def current(self, message: Message) -> bool:
        """Whether a notification is of the request that counts, or of none."""
        return jsonrpc.text(jsonrpc.refers_to(message)) in ("", self._current)

    def acknowledged(self, message: Message, id: str, now: float) -> tuple[Output, ...]:
        """The server has agreed to a request, or to a part of it."""
        if jsonrpc.text(jsonrpc.refers_to(message)) != self._opening or not self._opening:
            return ()
        try:
            honoured = jsonrpc.decode(bytes(message.params), _Acknowledged).notifications.uris
        except msgspec.DecodeError:
            honoured = []
        outputs: list[Output] = [cancelled(self._current)] if self._current else []
        if not self._current:
            self._current_since = now
        self._current, self._opening = self._opening, ""
        for job, uri in self._opening_jobs:
            if uri and uri not in honoured:
                self._uris.pop(uri, None)
            outputs.append(_done(job) if not uri or uri in honoured else _refused(job, uri))
        if self._lost:
            outputs += self._refresh()
        self._lost, self._opening_jobs = False, []
        return (*outputs, *(self._renew(id) if self._stale else ()))

    def ended(self, ended: str, error: msgspec.Raw, id: str, now: float) -> tuple[Output, ...]:
        """The server has ended the request of the id `ended`, or refused it. error: why, raw JSON; empty for a graceful end."""
        if ended and ended == self._current:
            self._current, self._lost = "", True
            if now - self._current_since >= self._pause:
                self._pause = FIRST_PAUSE
            self._put_off(now)
        if not ended or ended != self._opening:
            return ()
        jobs, self._opening, self._opening_jobs = self._opening_jobs, "", []
        if self._lost:
            self._put_off(now)
        outputs = []
        for job, uri in jobs:
            self._uris.pop(uri, None)
            outputs.append((_failed(job, error) if error else _refused(job, uri)) if uri else _done(job))
        return (*outputs, *(self._renew(id) if self._stale else ()))

    def _put_off(self, now: float) -> None:
        """Renew after a pause, which is longer the next time."""
        self._renewed_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _renew(self, id: str) -> tuple[Output, ...]:
        """Ask for what is wanted now; while another such request is not acknowledged, after that."""
        self._stale = bool(self._opening)
        if self._stale:
            return ()
        jobs, self._waiting = self._waiting, []
        if not self._kinds and not self._uris:
            ended, self._current, self._lost = self._current, "", False
            return (*([cancelled(ended)] if ended else ()), *(_done(job) for job, _ in jobs))
        self._opening, self._opening_jobs, self._overdue = id, jobs, inf
        return (modern_requests.listen(jsonrpc.quoted(id), self._meta, self._kinds, self._uris),)

    def _refresh(self) -> list[Output]:
        """Nobody has listened for a while: whatever the client knows may have changed."""
        frames = [notification(_CHANGED[kind], b"{}") for kind in self._kinds]
        frames += [notification("notifications/resources/updated", msgspec.json.encode({"uri": uri})) for uri in self._uris]
        return [ServerMessage(jsonrpc.parse(frame), frame, None) for frame in frames]


def _done(job: Job) -> Answer:
    return Answer(job, jsonrpc.empty_result(jsonrpc.quoted(job.exchange)))


def _failed(job: Job, error: msgspec.Raw) -> Answer:
    return Answer(job, b'{"jsonrpc":"2.0","id":' + jsonrpc.quoted(job.exchange) + b',"error":' + bytes(error) + b"}")


def _refused(job: Job, uri: str) -> Answer:
    text = f"the server does not notify of updates of {uri}"
    return Answer(job, jsonrpc.error_frame(jsonrpc.quoted(job.exchange), jsonrpc.INVALID_PARAMS, text))

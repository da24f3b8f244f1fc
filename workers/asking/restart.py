"""`mcp-fabric restart`: new processes for one server, at every bridge, while calls go on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

import msgspec

from fabric.config.settings.process import Settings
from fabric.core.events import RestartAsked
from fabric.core.peers.announcement import Announcement, Restart, Role
from fabric.runtime.observer import Observer
from fabric.runtime.retry import Dialer
from workers.asking.join import join, start_commands, unless_stopped, wait_until
from workers.process.logs import configure_logging
from workers.screen.terminal import complain, moving, say
from workers.tools.shape import among

NO_ANSWER_AFTER = 5.0
"""Seconds without an answer after which a bridge counts as one of an older release, which knows no restart."""
LOOK = 0.05
"""Seconds between two looks at the announcements of bridges."""


class Outcome(msgspec.Struct, frozen=True):
    """The result at one bridge."""

    bridge: str
    """Its machine and process id."""
    ok: bool
    """Whether new processes serve there."""
    detail: str
    """The result, for people."""
    calls: int = 0
    """Calls that still run in old processes."""
    sessions: int = 0
    """Sessions that keep their old processes."""


async def run(settings: Settings, name: str, *, json: bool) -> int:
    """Ask, wait and print. Returns the exit code: 0 only if new processes serve at every bridge."""
    configure_logging(settings, "warning")
    return await unless_stopped(_run(settings, name, json=json))


async def _run(settings: Settings, name: str, *, json: bool) -> int:
    async with join(settings) as context:
        observer = Observer(context.url, settings.fabric.name, context.identity(), Dialer(context.settings.fabric.retry))
        observer.node.start()
        try:
            await wait_until(observer.node, context, lambda: observer.node.ready)
            bridges = _bridges(observer)
            serving = {id: bridge for id, bridge in bridges.items() if name in bridge.serves}
            if not serving:
                others = {server for bridge in bridges.values() for server in bridge.serves}
                complain(_missing(settings, name, sorted(others)))
                return 3
            outcomes = await _restarted(observer, name, serving)
        finally:
            await observer.node.aclose()
    if json:
        print(msgspec.json.format(msgspec.json.encode(outcomes)).decode())
    else:
        for outcome in outcomes:
            say([(f"{'ok  ' if outcome.ok else 'FAIL'}  bridge {outcome.bridge}: {outcome.detail}", "")], result=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _bridges(observer: Observer) -> dict[str, Announcement]:
    return {id: other for id, other in observer.node.announcements() if other.role is Role.BRIDGE}


def _missing(settings: Settings, name: str, served: list[str]) -> str:
    if not served:
        return f"nobody serves {name!r}; start it: {start_commands(settings, 'bridge')}"
    return f"no server is named {name!r} here{among(name, served)}"


async def _restarted(observer: Observer, name: str, serving: Mapping[str, Announcement]) -> list[Outcome]:
    """The results, once each of these bridges has restarted the server, has failed to, or is gone."""
    token = secrets.token_hex(8)
    observer.node.feed(RestartAsked(name, token))
    began = time.monotonic()
    with moving() as show:
        while True:
            bridges = _bridges(observer)
            answers = {id: _answer(bridges[id], name) if id in bridges else None for id in serving}
            late = time.monotonic() - began > NO_ANSWER_AFTER
            waiting = [
                id
                for id, answer in answers.items()
                if id in bridges and not (answer.done if answer is not None and answer.token == token else late)
            ]
            if not waiting:
                break
            show(f"restarting {name} at {', '.join(serving[id].host for id in waiting)}")
            await asyncio.sleep(LOOK)
    return [
        _outcome(bridge.host or id, answers[id], token, gone=id not in bridges)
        for id, bridge in sorted(serving.items(), key=lambda item: item[1].host)
    ]


def _answer(bridge: Announcement, name: str) -> Restart | None:
    served = bridge.serves.get(name)
    return served.restart if served is not None else None


def _outcome(bridge: str, answer: Restart | None, token: str, *, gone: bool) -> Outcome:
    if gone:
        return Outcome(bridge, ok=False, detail="the bridge is gone, and its processes with it")
    if answer is None:
        return Outcome(bridge, ok=False, detail="the bridge does not answer, as older releases do; restart the bridge itself")
    if answer.token != token:
        return Outcome(bridge, ok=False, detail="another restart was asked for meanwhile; ask again")
    if answer.failure:
        return Outcome(bridge, ok=False, detail=f"no new process serves: {answer.failure}")
    done = ["new processes serve"]
    if answer.calls:
        done.append(f"calls that still run in old ones: {answer.calls}")
    if answer.sessions:
        done.append(f"sessions that keep theirs until they end: {answer.sessions}")
    return Outcome(bridge, True, "; ".join(done), answer.calls, answer.sessions)

"""Simulated processes: a real core each, with the loop, the timer, the writer and the links that the runtime would give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fabric.addressing import ChannelKind
from fabric.core.bridge.core import BridgeCore
from fabric.core.edge.core import EdgeCore
from fabric.core.effects import (
    Accept,
    Ack,
    CloseLink,
    Complain,
    Completed,
    Conflict,
    Consume,
    Effect,
    Establish,
    Finish,
    HoldLink,
    HoldServer,
    Idle,
    Nack,
    Pause,
    Publish,
    ReleaseLink,
    ReleaseServer,
    Send,
    Skipped,
    StartServer,
    StatusChanged,
    StopServer,
    Unasked,
    Write,
)
from fabric.core.events import (
    DrainStarted,
    Event,
    FrameArrived,
    LinkBehind,
    LinkCaughtUp,
    LinkGone,
    PackNotConfirmed,
    RestartAsked,
)
from fabric.core.peers.observer import ObserverCore
from fabric.mcp.jsonrpc import Message
from tests.sim.modern_only import ModernOnly
from tests.sim.servers import Era, SimServer
from tests.sim.wires import Wire

if TYPE_CHECKING:
    from tests.sim.world import World

TURN = 0.0003
"""Seconds between an event and the write of what it left, so that what comes together leaves together."""


class Process:
    """A core that is driven as the runtime drives it: events one at a time, effects in order, what came in before any timer."""

    def __init__(self, world: World, core: EdgeCore | BridgeCore | ObserverCore) -> None:
        self.world = world
        self.core = core
        self.name = core.member.me
        self.alive = True
        self.frozen = False
        self.leaving = False
        self.touched: list[str] = []  # faults that befell this process alone
        self._skew = world.random.uniform(1.0, 1000.0)  # no two monotonic clocks agree,
        self._rate = world.random.uniform(0.99, 1.01)  # nor run alike
        self._backlog: list[Event] = []
        self._queue: list[Publish] = []
        self._writing = False
        self._write_due = False
        self._timer_at = float("inf")

    def begin(self) -> None:
        """Connect, and start the timer."""
        self.world.broker.connect(self)
        self._schedule()

    @property
    def clock(self) -> float:
        """What this process's monotonic clock shows."""
        return self._skew + self.world.now * self._rate

    # ------------------------------------------------------------ the loop
    def feed(self, event: Event) -> None:
        """Something happened to this process."""
        if self.frozen:
            self._backlog.append(event)
        elif self.alive:
            self.world.note(self.name, event)
            self._act(self.core.handle(event, self.clock))

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Publish:
                self._queue.append(effect)
            elif type(effect) not in (Completed, StatusChanged):
                self.perform(effect)
        if not self._write_due and (self._queue or self.core.unsent):
            self._write_due = True
            self.world.after(TURN, self._write)
        if self.core.soonest < self._timer_at:
            self._schedule()

    def _schedule(self) -> None:
        self._timer_at = self.core.next_deadline()
        self.world.after(max(0.0, self._timer_at - self.clock) / self._rate, self._tick, self._timer_at)

    def _tick(self, due: float) -> None:
        if self.alive and not self.frozen and due == self._timer_at:
            self._timer_at = float("inf")
            self._act(self.core.expire(max(self.clock, due)))
            self._check_judgement()
            if self._timer_at == float("inf"):
                self._schedule()

    def _check_judgement(self) -> None:
        """Who lives untouched is not given up by another who lives untouched."""
        pairs = self.core.member.pairs
        if not self.touched:
            for other in self.world.processes:
                if pairs.given_up(other.name) and other.alive and not other.leaving and not other.touched:
                    self.world.violated(f"{self.name} gave up {other.name}, though both lived untouched")
                    other.touched.append("given up")

    def perform(self, effect: Effect) -> None:
        """Do what the core wants."""
        raise NotImplementedError

    # ------------------------------------------------------------ the writer
    def _write(self) -> None:
        self._write_due = False
        if self._writing or self.frozen or not self.alive:
            return
        batch, self._queue = [*self._queue, *(effect for effect in self.core.transmit() if isinstance(effect, Publish))], []
        if batch:
            self._writing = True
            self.world.broker.publish(self, batch)

    def written(self, failed: list[tuple[Publish, bool]]) -> None:
        """The broker is done with a batch. failed: what it did not confirm, and whether that may have been sent."""
        self._writing = False
        for publish, sent in failed:
            self.feed(PackNotConfirmed(publish.pack, publish.channel.kind is ChannelKind.TOPIC, sent, "simulated"))
        if not self._write_due:
            self._write_due = True
            self.world.after(TURN, self._write)

    # ------------------------------------------------------------ what may befall it
    def freeze(self) -> None:
        """SIGSTOP, or a machine that sleeps."""
        self.frozen = True

    def thaw(self) -> None:
        """It goes on, and finds what came meanwhile."""
        if not self.frozen or not self.alive:
            return
        self.frozen = False
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self.feed(event)
        self._write()
        self._schedule()

    def kill(self, late: bool = False) -> None:
        """SIGKILL. late: what it had written to the broker arrives all the same, later."""
        if self.alive:
            self.alive = False
            self.touched.append("killed")
            self.world.note(self.name, "killed")
            self.world.broker.disconnect(self, late=late)

    def leave(self) -> None:
        """Say goodbye and go."""
        if self.alive and not self.frozen:
            self.leaving = True
            self._act(self.core.leave(self.clock))
            self.world.after(0.2, self.kill)


class ClientLink(Protocol):
    """A client's end of a link."""

    def sent(self, effect: Send) -> None: ...

    def accepted(self) -> None: ...

    def finished(self) -> None: ...

    def established(self, effect: Establish) -> None: ...

    def closed(self, reason: str, unread: frozenset[bytes]) -> None: ...

    def broken(self) -> None: ...


class EdgeProcess(Process):
    """An edge and the links of its clients."""

    core: EdgeCore

    def __init__(self, world: World, core: EdgeCore) -> None:
        super().__init__(world, core)
        self.links: dict[str, ClientLink] = {}
        self.wires: dict[str, Wire] = {}  # of links whose clients were stopped
        self.skipped: dict[str, int] = {}
        self._releasing: set[str] = set()
        self._held: dict[str, list[Message]] = {}  # what clients have written, on links that are not read now

    def stop_taking(self, link: str) -> Wire:
        """A client takes nothing more of what is sent to it. Its wire is told to go when it does again."""
        wire = self.wires[link] = Wire(
            self.world,
            behind=lambda waiting: self.feed(LinkBehind(link, waiting)),
            caught_up=lambda: self.feed(LinkCaughtUp(link)),
            given_up=lambda: self.drop(link) if link in self.links else None,
        )
        wire.stop()
        return wire

    def arrived(self, link: str, message: Message) -> None:
        """A client wrote a frame on its long link."""
        if link in self._held:
            self._held[link].append(message)
        else:
            self.feed(FrameArrived(link, message))

    def _say(self, link: str, say: Callable[[ClientLink], None], size: int) -> None:
        """Have the client hear something, once it takes it and if it is there then."""
        end, wire = self.links[link], self.wires.get(link)
        if wire is None:
            say(end)
        else:
            wire.send(lambda: say(end) if self.links.get(link) is end else None, size)

    def _shut(self, link: str, reason: str) -> None:
        unread = frozenset(message.id for message in self._held.pop(link, ()))
        self.links.pop(link).closed(reason, unread)

    def _release(self, link: str) -> None:
        if link in self._releasing:  # else it was held again meanwhile
            self._releasing.discard(link)
            for message in self._held.pop(link, ()):
                self.arrived(link, message)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Send(link) if link in self.links:
                self.world.note(self.name, effect)
                self._say(link, lambda end: end.sent(effect), len(effect.frame))
            case HoldLink(link):
                self._held.setdefault(link, [])
                self._releasing.discard(link)
            case ReleaseLink(link):
                self._releasing.add(link)
                self.world.after(0.0, self._release, link)
            case Skipped(link, count):
                self.skipped[link] = self.skipped.get(link, 0) + count
            case Accept(link) if link in self.links:
                self._say(link, lambda end: end.accepted(), 0)
            case Finish(link) if link in self.links:
                self._say(link, lambda end: end.finished(), 0)
            case Establish(link) if link in self.links:
                self._say(link, lambda end: end.established(effect), 0)
            case CloseLink(link, reason) if link in self.links:
                self._held.setdefault(link, [])  # what its client writes while it still takes what it was sent is not read
                self._releasing.discard(link)
                self._say(link, lambda _: self._shut(link, reason), 0)
                self.world.after(0.0, self.feed, LinkGone(link))
            case Conflict(reason):
                self.world.conflicts.append((self.name, reason))
            case Send() | Accept() | Finish() | Establish() | CloseLink():
                pass  # the client has left
            case _:
                raise TypeError(f"not an effect of an edge: {effect}")

    def hang_up(self, link: str) -> None:
        """A client leaves."""
        if self.links.pop(link, None) is not None:
            self.feed(LinkGone(link))

    def drop(self, link: str) -> None:
        """A connection breaks, which both ends notice."""
        end = self.links.pop(link)
        self.feed(LinkGone(link))
        end.broken()

    def kill(self, late: bool = False) -> None:
        super().kill(late)
        links, self.links = list(self.links.values()), {}
        for link in links:
            link.broken()

    def retire(self) -> None:
        """An orderly end: no new client, and off when the last answer is out."""
        self.leaving = True
        if self.alive and not self.frozen and not self.core.snapshot(self.clock).unanswered:
            self.leave()
        elif self.alive:
            self.world.after(0.05, self.retire)


class ObserverProcess(Process):
    """A person's command that asks all bridges for something."""

    core: ObserverCore

    def perform(self, effect: Effect) -> None:
        raise TypeError(f"not an effect of an observer: {effect}")

    def restart(self, server: str, token: str) -> None:
        """Ask for new processes of this server."""
        self.feed(RestartAsked(server, token))


class BridgeProcess(Process):
    """A bridge and the processes of its servers."""

    core: BridgeCore

    def __init__(self, world: World, core: BridgeCore) -> None:
        super().__init__(world, core)
        self.children: dict[str, SimServer] = {}

    def perform(self, effect: Effect) -> None:
        match effect:
            case Write(child, frame):
                if child in self.children:
                    self.children[child].write(frame)
            case StartServer(server, child):
                era = self.world.settings.servers[server]
                kind = ModernOnly if era is Era.MODERN_ONLY else SimServer
                self.children[child] = kind(self.world, self, child, era)
            case Complain():
                pass  # for people
            case HoldServer(child):
                if child in self.children:
                    self.children[child].hold()
            case ReleaseServer(child):
                if child in self.children:
                    self.children[child].release()
            case StopServer(child):
                self.children.pop(child).stop()
            case Ack(delivery):
                self.world.broker.settle(self, delivery, done=True)
            case Nack(delivery):
                self.world.broker.settle(self, delivery, done=False)
            case Consume(server):
                self.world.broker.consume(self, server)
            case Pause(server):
                self.world.broker.pause(self, server)
            case Idle():
                self.leave()
            case Unasked():
                pass  # a simulated server writes no flood
            case Conflict(reason):
                self.world.conflicts.append((self.name, reason))
            case _:
                raise TypeError(f"not an effect of a bridge: {effect}")

    def _act(self, effects: list[Effect]) -> None:
        super()._act(effects)
        self.world.broker.room(self)

    def kill(self, late: bool = False) -> None:
        super().kill(late)
        for child in self.children.values():
            child.stop(killed=True)
        self.children = {}

    def retire(self) -> None:
        """Drain, then leave."""
        if self.alive and not self.leaving:
            self.leaving = True
            self.feed(DrainStarted())

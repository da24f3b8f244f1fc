"""The simulated broker, of two kinds: one that keeps work until it is acknowledged, and one that forgets it. Both can fail.

Packs pass through it as bytes. Those of one connection arrive in order unless a fault changes that. Topics and inboxes reach
connected processes only; a broker that keeps work also keeps the inbox of a process that is about to come back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fabric.addressing import Channel, ChannelKind
from fabric.core.effects import Publish
from fabric.core.events import BrokerConnected, BrokerLost, PackArrived, WorkArrived
from fabric.envelope import Pack, decode, encode

if TYPE_CHECKING:
    from tests.sim.process import BridgeProcess, Process
    from tests.sim.world import World

HOP = (0.0005, 0.003)
"""Seconds that a message takes one way, from least to most."""
REDELIVER = (0.05, 3.0)
"""Seconds until the work of a lost consumer is delivered to another, from least to most."""


class Connection:
    """One process's connection, from its beginning to its loss."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.up = True
        self.arrives = 0.0  # when the newest message of this connection reaches the broker
        self.delivers = 0.0  # when the newest message for it reaches the process
        self.deaf_until = 0.0
        self.mute_until = 0.0
        self.pending: dict[int, tuple[str, bytes]] = {}  # deliveries not acknowledged


class SimBroker:
    """Channels, connections, and the faults in force."""

    def __init__(self, world: World, *, keeps: bool) -> None:
        self.world = world
        self.keeps = keeps
        self.queues: dict[str, deque[bytes]] = {}
        self.loss = self.doubling = self.reordering = 0.0  # probabilities, per message
        self.ack_loss = self.refusal = self.confirm_loss = 0.0
        self.intercept: Callable[[Process, Pack], float | None] | None = None  # a test's: seconds of delay, None to drop
        self.stalled_until = 0.0
        self.down_until = 0.0
        self._connections: dict[str, Connection] = {}
        self._consumers: dict[str, dict[str, Connection]] = {}
        self._parked: dict[str, list[Pack]] = {}
        self._deliveries = 0

    def _hop(self) -> float:
        return self.world.random.uniform(*HOP)

    # ------------------------------------------------------------ connections
    def connect(self, process: Process) -> None:
        """Connect a process, or connect it again."""
        if not process.alive or process.name in self._connections:
            return
        if self.world.now < self.down_until:
            self.world.after(self.down_until - self.world.now + 0.05, self.connect, process)
            return
        connection = self._connections[process.name] = Connection(process)
        for server, consumers in self._consumers.items():
            if process.name in consumers:
                consumers[process.name] = connection
                self._pump(server)
        process.feed(BrokerConnected(self.keeps, self.world.settings.largest_message_bytes))
        for pack in self._parked.pop(process.name, ()):
            self._send(connection, pack)

    def disconnect(self, process: Process, *, late: bool = False, back_after: float = 0.0) -> None:
        """End a connection; its process connects again if it lives. late: messages on their way from it still arrive."""
        connection = self._connections.pop(process.name, None)
        if connection is None:
            return
        connection.up = False
        if not late:
            connection.mute_until = float("inf")
        for number in list(connection.pending):
            self.world.after(self.world.random.uniform(*REDELIVER), self._requeue, connection, number)
        if process.alive:
            process.feed(BrokerLost("simulated"))
            self.world.after(back_after, self.connect, process)
        else:
            for consumers in self._consumers.values():
                consumers.pop(process.name, None)

    def restart(self, down: float) -> None:
        """The broker stops, loses all it holds, and comes back empty after `down` seconds."""
        self.down_until = self.world.now + down
        self.queues.clear()
        self._parked.clear()
        for connection in list(self._connections.values()):
            connection.pending.clear()
            self.disconnect(connection.process, back_after=down + self.world.random.uniform(0.0, 0.3))

    # ------------------------------------------------------------ publishing
    def publish(self, process: Process, batch: list[Publish]) -> None:
        """Take a batch, and call `process.written` when it is confirmed; at once where the broker confirms nothing."""
        connection = self._connections.get(process.name)
        if connection is None:
            self.world.after(0.0, process.written, [(publish, False) for publish in batch])
            return
        failed: list[tuple[Publish, bool]] = []
        random = self.world.random
        at = max(connection.arrives, self.world.now + self._hop())
        connection.arrives = at
        for publish in batch:
            data = encode(publish.pack)
            if len(data) > self.world.settings.largest_message_bytes or (self.refusal and random.random() < self.refusal):
                self.world.fault("refused publish")
                failed.append((publish, False))
                continue
            if self.confirm_loss and random.random() < self.confirm_loss:
                self.world.fault("lost confirm")
                failed.append((publish, True))
            self.world.after(at - self.world.now, self._arrived, connection, publish.channel, data)
        if self.keeps:
            self.world.after(at - self.world.now + self._hop(), self._confirmed, connection, batch, failed)
        else:
            process.written(failed)

    def _confirmed(self, connection: Connection, batch: list[Publish], failed: list[tuple[Publish, bool]]) -> None:
        late = self.world.now < max(self.stalled_until, connection.mute_until)
        if not connection.up:
            connection.process.written([(publish, True) for publish in batch])
        elif late and max(self.stalled_until, connection.mute_until) < float("inf"):
            wait = max(self.stalled_until, connection.mute_until) - self.world.now
            self.world.after(wait, self._confirmed, connection, batch, failed)
        else:
            connection.process.written(failed)

    def _arrived(self, connection: Connection, channel: Channel, data: bytes) -> None:
        wait = max(self.stalled_until, connection.mute_until) - self.world.now
        if wait == float("inf"):
            return  # its connection was lost
        if wait > 0:
            self.world.after(wait, self._arrived, connection, channel, data)
        elif channel.kind is ChannelKind.TOPIC:
            pack = decode(data)
            for other in list(self._connections.values()):
                self._deliver(other, pack)
        elif channel.kind is ChannelKind.INBOX:
            pack = decode(data)
            owner = self._connections.get(channel.name)
            if owner is not None:
                self._deliver(owner, pack)
            elif self.keeps:
                self._park(channel.name, pack)
        elif self.keeps:
            self.queues.setdefault(channel.name, deque()).append(data)
            self._pump(channel.name)
        else:
            consumers = [consumer for consumer in self._consumers.get(channel.name, {}).values() if consumer.up]
            if consumers:
                self._deliver(self.world.random.choice(consumers), decode(data), work=True)

    def _park(self, name: str, pack: Pack) -> None:
        if any(process.name == name and process.alive for process in self.world.processes):
            self._parked.setdefault(name, []).append(pack)

    # ------------------------------------------------------------ delivering
    def _deliver(self, connection: Connection, pack: Pack, *, work: bool = False) -> None:
        """Send a pack to a process, as far as the faults in force let it through."""
        random = self.world.random
        if self.intercept is not None:
            extra = self.intercept(connection.process, pack)
            if extra is None or extra > 0:
                self.world.fault("interception", lasts=extra or 0.0)
                if extra is not None:
                    self.world.after(extra, self._send, connection, pack, work)
                return
        if self.loss and random.random() < self.loss:
            self.world.fault("loss")
            return
        self._send(connection, pack, work)
        if self.doubling and random.random() < self.doubling:
            self.world.fault("double")
            self._send(connection, pack, work, late=random.choice((0.0, 0.01, 1.0)))

    def _send(self, connection: Connection, pack: Pack, work: bool = False, *, late: float = 0.0) -> None:
        at = self.world.now + self._hop() + late
        if self.reordering and self.world.random.random() < self.reordering:
            self.world.fault("reorder")
            at += self.world.random.choice((0.01, 0.2))
        elif not late:
            at = connection.delivers = max(at, connection.delivers)
        self.world.after(at - self.world.now, self._received, connection, pack, work)

    def _received(self, connection: Connection, pack: Pack, work: bool) -> None:
        wait = max(self.stalled_until, connection.deaf_until) - self.world.now
        if not connection.up:
            if self.keeps and not work and pack.generation:
                current = self._connections.get(connection.process.name)
                if current is None:
                    self._park(connection.process.name, pack)
                else:
                    self._send(current, pack)
        elif wait > 0:
            self.world.after(wait, self._received, connection, pack, work)
        elif work:
            connection.process.feed(WorkArrived(pack.source, pack.envelopes[0], 0))
        else:
            connection.process.feed(PackArrived(pack))

    # ------------------------------------------------------------ kept work
    def consume(self, process: BridgeProcess, server: str) -> None:
        """A bridge reads this queue from now on."""
        connection = self._connections.get(process.name)
        dead = Connection(process)
        dead.up = False  # until it is connected
        self._consumers.setdefault(server, {})[process.name] = connection or dead
        self._pump(server)

    def pause(self, process: BridgeProcess, server: str) -> None:
        """A bridge stops reading this queue."""
        self._consumers.get(server, {}).pop(process.name, None)

    def room(self, process: BridgeProcess) -> None:
        """A bridge may have free slots now."""
        for server, queue in self.queues.items():
            if queue and process.name in self._consumers.get(server, {}):
                self._pump(server)

    def _pump(self, server: str) -> None:
        queue = self.queues.get(server)
        while queue:
            consumers = self._consumers.get(server, {}).values()
            ready = [consumer for consumer in consumers if consumer.up and self._credit(consumer, server)]
            if not ready:
                return
            self._give(self.world.random.choice(ready), server, queue.popleft())

    def _credit(self, consumer: Connection, server: str) -> bool:
        process = consumer.process
        coming = sum(1 for number, (name, _) in consumer.pending.items() if name == server and (number < 0 or process.frozen))
        return process.core.credit(server) > coming  # type: ignore[union-attr]  # only bridges consume

    def _give(self, connection: Connection, server: str, data: bytes) -> None:
        self._deliveries += 1
        number = self._deliveries
        connection.pending[-number] = (server, data)  # negative while it is on its way
        self.world.after(self._hop(), self._given, connection, number)

    def _given(self, connection: Connection, number: int) -> None:
        wait = max(self.stalled_until, connection.deaf_until) - self.world.now
        if wait > 0:
            self.world.after(wait, self._given, connection, number)
            return
        work = connection.pending.pop(-number, None)
        if work is None:
            return
        connection.pending[number] = work
        if connection.up:
            pack = decode(work[1])
            connection.process.feed(WorkArrived(pack.source, pack.envelopes[0], number))
        else:
            self._requeue(connection, number)

    def settle(self, process: BridgeProcess, delivery: int, *, done: bool) -> None:
        """Acknowledge a delivery, or return it. For a delivery of an older connection this has no effect."""
        connection = self._connections.get(process.name)
        if connection is None or delivery not in connection.pending:
            return
        if done and self.ack_loss and self.world.random.random() < self.ack_loss:
            self.world.fault("lost ack")
            self.world.after(self.world.random.uniform(*REDELIVER), self._requeue, connection, delivery)
        elif done:
            self.world.after(self._hop(), connection.pending.pop, delivery, None)
        else:
            self.world.after(self._hop(), self._requeue, connection, delivery)

    def redeliver(self, process: BridgeProcess) -> bool:
        """Deliver the work that this bridge holds again, to any bridge. Returns False when it holds none."""
        connection = self._connections.get(process.name)
        numbers = [number for number in connection.pending if number > 0] if connection is not None else []
        for number in numbers:
            self.world.fault("redelivery")
            self._requeue(connection, number)
        return bool(numbers)

    def _requeue(self, connection: Connection | None, number: int) -> None:
        work = connection.pending.pop(number, None) if connection is not None else None
        if work is not None:
            server, data = work
            self.queues.setdefault(server, deque()).append(data)
            self._pump(server)

    # ------------------------------------------------------------ partitions
    def cut_off(self, process: Process, seconds: float, *, deaf: bool, mute: bool) -> None:
        """For a while hold back all messages to this process (deaf) or from it (mute); then let them pass."""
        connection = self._connections.get(process.name)
        if connection is not None:
            if deaf:
                connection.deaf_until = self.world.now + seconds
            if mute:
                connection.mute_until = self.world.now + seconds

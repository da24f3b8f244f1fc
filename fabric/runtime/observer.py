"""The observer at run time: an observer core and its node. `ls`, `restart` and `doctor` use it to see a fabric."""

from __future__ import annotations

from fabric.core.effects import Effect
from fabric.core.peers.member import Identity
from fabric.core.peers.observer import ObserverCore
from fabric.runtime.node import Node
from fabric.runtime.retry import Dialer


class Observer:
    """One observer. Its `node` is started on a running event loop; once `ready`, it has the announcements of all members."""

    def __init__(self, url: str, fabric: str, identity: Identity, dialer: Dialer) -> None:
        self.node = Node(url, fabric, ObserverCore(identity), self._perform, dialer)

    def _perform(self, effect: Effect) -> None:
        raise TypeError(f"not an effect of an observer: {type(effect).__name__}")

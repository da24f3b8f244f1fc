"""Flow control: reports to the core links whose peer falls behind, and holds links that the core does not want to read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fabric.core.events import Event
from fabric.errors import LinkBroken, LinkError

log = logging.getLogger(__name__)

BEHIND_BYTES = 1024 * 1024
"""A link with more unsent bytes than this is behind."""


class Sending(Protocol):
    """The part of a link that Pacing needs."""

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        ...

    async def drain(self) -> None:
        """See Link.drain."""
        ...


class Pacing:
    """The flow control of all links of one core, by id.

    feed: called with the events that `behind` (link, unsent bytes) and `caught_up` (link) make.

    Only a link that is behind has a task, which waits until it has caught up.
    """

    def __init__(
        self, feed: Callable[[Event], None], behind: Callable[[str, int], Event], caught_up: Callable[[str], Event]
    ) -> None:
        self.held: dict[str, asyncio.Event] = {}
        """Links that are not read now, each with an event that is set when they are read again."""
        self._feed = feed
        self._made_behind, self._made_caught_up = behind, caught_up
        self._behind: dict[str, asyncio.Task[None]] = {}

    def sent(self, id: str, link: Sending) -> None:
        """A frame was sent on a link: report the link to the core if it has too many unsent bytes."""
        unsent = link.unsent_bytes
        if unsent > BEHIND_BYTES and id not in self._behind:
            self._behind[id] = asyncio.create_task(self._catch_up(id, link))
            self._feed(self._made_behind(id, unsent))

    async def _catch_up(self, id: str, link: Sending) -> None:
        try:
            await link.drain()
        except LinkBroken as error:
            log.info("link %s, whose peer had fallen behind: %s", id, error)
        except LinkError:
            pass  # it was closed here
        finally:
            del self._behind[id]
        self._feed(self._made_caught_up(id))

    def hold(self, id: str) -> None:
        """Stop reading a link."""
        self.held.setdefault(id, asyncio.Event())

    def release(self, id: str) -> None:
        """Read a link again, if it was held."""
        held = self.held.pop(id, None)
        if held is not None:
            held.set()

"""The requests to a new process that show which eras its server speaks, and the time it has to answer them.

(2026-07-28 basic/transports/stdio.mdx, Backward Compatibility.) server/discover is sent first. Initialize is sent to the same
process if the answer is not a modern one, or none has come for a while, and the first answer of the two counts: a slow process
is not killed to be sent another request. Eras that are known already are not probed again. A process that ended, or was silent,
may have stuck at server/discover: the probe of the next one begins with initialize.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.processes.child import Child
from fabric.mcp import eras, requests
from fabric.mcp.answers import complaint
from fabric.mcp.jsonrpc import Message

SECOND_REQUEST = 2.0
"""Seconds without an answer to server/discover after which initialize is sent as well."""
DISCOVER, INITIALIZE = "server/discover", "initialize"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server before its process is probed."""

    eras: tuple[str, ...] = ()
    """The eras that it speaks; empty if they are not known."""
    configured: bool = False
    """Whether the configuration says so; then no other era is probed."""
    early: bool = False
    """Whether it has answered a request before the handshake, so that a ping before it probably does no harm."""
    pinged: bool = False
    """Whether it has answered a ping before the handshake."""
    refused: bool = False
    """Whether it takes no initialize, so that sessions at it cross the eras."""


def configured(era: str) -> Known:
    """The knowledge from the configuration; none for an empty era."""
    return Known(eras=(era,), configured=True, refused=era == eras.MODERN) if era else Known()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next step of a probe; if all fields are empty, it is to wait."""

    write: bytes = b""
    """The next request."""
    found: Known | None = None
    """The result, which ends the probe."""
    failure: str = ""
    """Why the process is given up."""


class Probe:
    """The requests to one process. Its owner writes the requests that it returns, and calls `late` at `due`."""

    def __init__(self, child: Child, known: Known, now: float, timeout: float) -> None:
        self.child = child
        self.due = now + min(SECOND_REQUEST, timeout)
        self._known = known
        self._timeout = timeout
        self._ends = now + timeout
        self._asked: list[str] = []
        self._open: set[str] = set()
        self._early = known.early

    def begin(self) -> bytes:
        """The first request."""
        return self._ask(INITIALIZE if self._known.eras == (eras.LEGACY,) else DISCOVER)

    def late(self, now: float) -> Step:
        """The time `due` has passed."""
        if now >= self._ends:
            asked = " nor ".join(self._asked)
            answered = "answered neither" if len(self._asked) > 1 else "did not answer"
            spared = "" if self._known.eras else ', era: "legacy" spares it server/discover'
            may_take = f"startTimeout says how long it may take{spared}"
            return Step(failure=f"it {answered} {asked} within {self._timeout:g} s; {may_take}")
        self.due = self._ends
        return Step() if self._known.eras or INITIALIZE in self._asked else Step(write=self._ask(INITIALIZE))

    def answered(self, id: str, answer: Message) -> Step | None:
        """The process has answered the request of this id. Returns None if that is not one of the probe's."""
        method = id.removeprefix("probe ")
        if method not in self._open:
            return None
        self._open.discard(method)
        spoken = self._spoken(method, answer)
        if spoken:
            return Step(found=msgspec.structs.replace(self._known, eras=spoken, early=self._early))
        if len(self._asked) < 2 and not self._known.configured:
            return Step(write=self._ask(INITIALIZE if method == DISCOVER else DISCOVER))
        if self._open:
            return Step()
        asked = " nor ".join(self._asked)
        answers = "answers neither" if len(self._asked) > 1 else "does not answer"
        return Step(failure=f"it {answers} {asked}{complaint(answer)}")

    def _spoken(self, method: str, answer: Message) -> tuple[str, ...]:
        """The eras that an answer shows; empty if it shows none."""
        if method == INITIALIZE:
            return () if answer.error else (eras.LEGACY,)
        judged = eras.judge(answer)
        if judged != (eras.LEGACY,):
            return judged
        self._early = True
        return ()

    @property
    def only_open(self) -> str:
        """The id of the request that waits for an answer; empty if none does, or two do."""
        return f"probe {next(iter(self._open))}" if len(self._open) == 1 else ""

    @property
    def may_have_harmed(self) -> bool:
        """Whether server/discover, where the process expects initialize first, may have ended the process or got it stuck."""
        return DISCOVER in self._open and self.child.started and not self._known.eras

    def _ask(self, method: str) -> bytes:
        self._asked.append(method)
        self._open.add(method)
        return (requests.discover if method == DISCOVER else requests.initialize)(f"probe {method}")

"""The questions to a new process that show which eras its server speaks, and the time it has to answer them.

(2026-07-28 basic/transports/stdio.mdx, Backward Compatibility.) server/discover is asked first. Initialize is asked of the same
process when the answer to that is no modern one, or none has come for a while, and whichever is answered first counts: a slow
process is not killed to be asked another question. What is known of the server already is not asked again. A process
that ended, or was silent, may have stuck at server/discover: the next one begins with initialize.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.processes.child import Child
from fabric.mcp import eras, requests
from fabric.mcp.answers import complaint
from fabric.mcp.jsonrpc import Message

SECOND_QUESTION = 2.0
"""Seconds without an answer to server/discover after which initialize is asked as well."""
DISCOVER, INITIALIZE = "server/discover", "initialize"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a server before its process is asked."""

    eras: tuple[str, ...] = ()
    """The eras that it speaks; none where that is not known."""
    configured: bool = False
    """Whether the configuration says so, and nothing else is asked."""
    early: bool = False
    """Whether it has answered a request that came before the handshake, so that a ping may do it no harm."""
    pinged: bool = False
    """Whether it has answered a ping before the handshake."""


def configured(era: str) -> Known:
    """What the configuration says; nothing for an empty era."""
    return Known(eras=(era,), configured=True) if era else Known()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next in a probe; where all fields are empty, to wait."""

    write: bytes = b""
    """The next question."""
    found: Known | None = None
    """What the process has shown, which ends the probe."""
    failure: str = ""
    """Why the process is given up."""


class Probe:
    """The questions to one process. Its owner writes the questions that it returns, and calls `late` at `due`."""

    def __init__(self, child: Child, known: Known, now: float, timeout: float) -> None:
        self.child = child
        self.due = now + min(SECOND_QUESTION, timeout)
        self._known = known
        self._timeout = timeout
        self._ends = now + timeout
        self._asked: list[str] = []
        self._open: set[str] = set()
        self._early = known.early

    def begin(self) -> bytes:
        """The first question."""
        return self._ask(INITIALIZE if self._known.eras == (eras.LEGACY,) else DISCOVER)

    def late(self, now: float) -> Step:
        """`due` has come."""
        if now >= self._ends:
            asked = " nor ".join(self._asked)
            answered = "answered neither" if len(self._asked) > 1 else "did not answer"
            spared = "" if self._known.eras else ', era: "legacy" spares it server/discover'
            may_take = f"startTimeout says how long it may take{spared}"
            return Step(failure=f"it {answered} {asked} within {self._timeout:g} s; {may_take}")
        self.due = self._ends
        return Step() if self._known.eras or INITIALIZE in self._asked else Step(write=self._ask(INITIALIZE))

    def answered(self, id: str, answer: Message) -> Step | None:
        """The process has answered the request of this id. Returns None where that was not one of these questions."""
        method = id.removeprefix("probe ")
        if method not in self._open:
            return None
        self._open.discard(method)
        found = self._spoken(method, answer)
        if found:
            return Step(found=msgspec.structs.replace(self._known, eras=found, early=self._early))
        if len(self._asked) < 2 and not self._known.configured:
            return Step(write=self._ask(INITIALIZE if method == DISCOVER else DISCOVER))
        if self._open:
            return Step()
        asked = " nor ".join(self._asked)
        answers = "answers neither" if len(self._asked) > 1 else "does not answer"
        return Step(failure=f"it {answers} {asked}{complaint(answer)}")

    def _spoken(self, method: str, answer: Message) -> tuple[str, ...]:
        """The eras that the answer to a question shows; none where it shows none."""
        if method == INITIALIZE:
            return () if answer.error else (eras.LEGACY,)
        judged = eras.judge(answer)
        if judged != (eras.LEGACY,):
            return judged
        self._early = True
        return ()

    @property
    def only_open(self) -> str:
        """The id of the question that waits for an answer; empty where two do."""
        return f"probe {next(iter(self._open))}" if len(self._open) == 1 else ""

    @property
    def may_have_harmed(self) -> bool:
        """The process may have ended of server/discover, or stick at it: its first message, where it expects initialize."""
        return DISCOVER in self._open and self.child.started and not self._known.eras

    def _ask(self, method: str) -> bytes:
        self._asked.append(method)
        self._open.add(method)
        return (requests.discover if method == DISCOVER else requests.initialize)(f"probe {method}")

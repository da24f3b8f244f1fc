"""Planted bugs in rare behaviour that varied seeds find: eviction, batches, tool lists, ended input, restarts, checks, sizes.

As in test_planted_bugs.py, each is a faulty subclass of one part of a core.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.job import Job
from fabric.core.bridge.processes.checkup import Checkup
from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.renewal import Renewal
from fabric.core.bridge.sessions.eviction import Eviction
from fabric.core.bridge.sessions.session import Session
from fabric.core.edge.clients.long_link import LongLink
from fabric.core.edge.clients.long_links import LongLinks
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.exchange import Exchange
from fabric.core.edge.routing import RequestRouting
from fabric.core.edge.tool_lists import ToolList, ToolLists
from fabric.faults import Fault
from fabric.mcp import batches
from fabric.mcp.jsonrpc import Message
from tests.sim.seeds import run
from tests.sim.test_rule_worlds import a_cancel_of_the_oldest
from tests.sim.world import Plant

WITHIN = 150
"""How many seeds have to find a planted bug."""


class AnySession(Eviction):
    """The first session gives way, even to one that is in use."""

    def next(self, sessions: Iterable[Session], pool: Pool, work: str, now: float) -> Session | None:
        return next((session for session in sessions if session.server == pool.name and not session.bound), None)


def a_session_in_use_that_gives_way(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions._eviction.__class__ = AnySession


class OneByOne(LongLinks):
    """The members of a batch are answered like requests of their own."""

    def _batch(self, long_link: LongLink, message: Message, now: float) -> None:
        for member in batches.split(message):
            if isinstance(member, Message):
                self._session_frame(long_link, member, now)


def a_batch_answered_one_by_one(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.long_links.__class__ = OneByOne


class DroppedByAFailure(ToolLists):
    """Calls that wait for a tool list are forgotten when it fails."""

    def listed(self, tool_list: ToolList, answer: bytes, now: float) -> bool:
        if b'"result"' not in answer:
            tool_list.waiting.clear()
        return super().listed(tool_list, answer, now)


def calls_lost_with_their_list(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.tools.__class__ = DroppedByAFailure


class AllButTheNewest(LongLinks):
    """The newest request of a client that has ended its input is not answered."""

    def unanswered(self, link: str) -> list[Exchange]:
        return super().unanswered(link)[:-1]


def an_ended_input_that_leaves_one_open(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.long_links.__class__ = AllButTheNewest


class Uncounted(CorrelationRouter):
    """A call that kills its servers is started again without end."""

    def _failed_too_often(self, exchange: Exchange, reason: str, now: float) -> bool:
        exchange.failed_runs = 0
        return super()._failed_too_often(exchange, reason, now)


def starts_without_a_limit(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.router.__class__ = Uncounted


class Impatient(Renewal):
    """Old processes are stopped, with the calls that they run, as soon as new ones serve."""

    def finished(self, now: float) -> list[Child]:
        return [child for child, _ in self._retired.values()]


def a_restart_that_waits_for_no_call(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        for pool in core.pools.values():
            pool.renewal.__class__ = Impatient


class NeverLate(Checkup):
    """A check without an answer has not failed."""

    def look(self, now: float) -> str:
        super().look(now)
        return ""


def a_check_without_an_end(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        for pool in core.pools.values():
            pool.checkup.__class__ = NeverLate


class AnyProcess(RequestRouting):
    """A call that waits for input goes on in any process."""

    def _to_parked(self, exchange: Exchange, incarnation: str, now: float) -> None:
        self._router.offer(exchange, now)


def a_retry_that_any_process_gets(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.routing.__class__ = AnyProcess


class AnySize(RequestRouting):
    """A message that is too large for the broker is sent all the same."""

    def _oversized(self, body: bytes, names_bytes: int = 0) -> Fault | None:
        return None


def no_limit_of_the_broker(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.routing.__class__ = AnySize


class HeldForGood(SlowLinks):
    """A process that was held for a client is not released when the client has caught up."""

    def caught_up(self, link: str, now: float, *, gone: bool = False) -> None:
        if link in self.behind:
            self.behind[link].held.clear()
        super().caught_up(link, now, gone=gone)


def a_client_that_catches_up_in_vain(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.slow.__class__ = HeldForGood


class Retaken(Renewal):
    """A call that may not be repeated is taken from an old process, too."""

    def overdue(self, now: float) -> list[Job]:
        return [job for child, _ in self._retired.values() for job in child.jobs.values() if job.queued]


def a_restart_that_repeats_anything(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        for pool in core.pools.values():
            pool.renewal.__class__ = Retaken


VARIED: dict[Plant, str] = {
    a_session_in_use_that_gives_way: "ends the session of",
    a_batch_answered_one_by_one: "answered alone",
    calls_lost_with_their_list: "never answered",
    an_ended_input_that_leaves_one_open: "ended its input",
    starts_without_a_limit: "killed",
    a_restart_that_waits_for_no_call: "",
    a_restart_that_repeats_anything: "may not be repeated",
    a_check_without_an_end: "",
    a_retry_that_any_process_gets: "was sent the state",
    no_limit_of_the_broker: "",
    a_cancel_of_the_oldest: "never answered",
}
"""Bugs that varied seeds find, each with a word of the rule that it must break; an empty one stands for any rule."""

SLOW: dict[Plant, str] = {a_client_that_catches_up_in_vain: ""}
"""Bugs that slow seeds find."""


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11")
@pytest.mark.parametrize("plant", [*VARIED, *SLOW], ids=lambda plant: plant.__name__)
def test_a_planted_bug_in_rare_behaviour_is_found(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    word = (VARIED | SLOW)[plant]

    def detects(seed: int) -> bool:
        violations = run(seed, varied=plant in VARIED, slow=plant in SLOW, plant=plant).violations
        return any(word in violation for violation in violations)

    first_seed = next(filter(detects, range(WITHIN)), None)
    with capsys.disabled():
        print(f"\n{plant.__name__}: found by seed {first_seed}", end="")
    assert first_seed is not None

"""A pool of server processes: it probes their era, keeps some warm for sessions, checks them, and restarts them ever later."""

from typing import Any

import pytest

from fabric.core.bridge.job import job_of
from fabric.core.bridge.processes.health import Checks
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.probe import SECOND_REQUEST
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.processes.restarts import FORGIVEN
from fabric.core.bridge.timers import Timer, Timers
from fabric.core.effects import CheckServer, Complain, Effect, StartServer, StopServer, Write
from fabric.core.peers.announcement import Health
from fabric.envelope import Envelope, Kind
from fabric.mcp import jsonrpc

MODERN = b'"result":{"supportedVersions":["2026-07-28"]}'
DUAL = b'"result":{"supportedVersions":["2026-07-28","2025-11-25"]}'
UNKNOWN = b'"error":{"code":-32601,"message":"unknown"}'


class DrivenPool:
    """A pool that has started its first process, and its effects."""

    def __init__(self, **limits: Any) -> None:
        self.out: list[Effect] = []
        self.timers = Timers()
        limits_of = ServerLimits(digest="d", **limits)
        self.processes = ProcessRegistry("b", self.out)
        self.pool = Pool("s", limits_of, self.processes, self.timers, self.out)
        self.pool.start(0.0)
        self.first = next(iter(self.pool.children.values()))

    def of(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.out if type(effect) is kind]

    def up(self, answer: bytes, now: float = 0.1) -> None:
        """The newest process has started and answers the newest request."""
        child = list(self.pool.children.values())[-1]
        self.processes.started(child)
        self.reply(answer, now)

    def reply(self, answer: bytes, now: float = 0.1) -> None:
        question = self.of(Write)[-1]
        assert isinstance(question, Write)
        id = jsonrpc.parse(question.frame).id
        message = jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b"," + answer + b"}")
        assert self.pool.probed(self.pool.children[question.child], jsonrpc.text(id), message, now)


def test_a_modern_server_shares_the_process_that_was_probed() -> None:
    driven = DrivenPool()
    assert driven.of(Write) == []  # nothing is written before it runs
    driven.up(MODERN)
    assert driven.pool.condition.health is Health.HEALTHY
    assert driven.pool.shared() is driven.first
    assert len(driven.of(StartServer)) == 1


def test_a_legacy_server_gets_both_probes_and_fresh_processes_for_sessions() -> None:
    driven = DrivenPool(warm=2, max_processes=3)
    driven.up(UNKNOWN)
    driven.reply(b'"result":{"protocolVersion":"2025-11-25"}')
    assert driven.pool.eras == ("legacy",)
    assert driven.of(StopServer) == [StopServer(driven.first.id)]
    assert driven.pool.shared() is None
    warm = list(driven.pool.children.values())
    assert [driven.pool.for_session(id, 1.0) for id in "ab"] == warm
    assert driven.pool.for_session("c", 1.0) is not None
    assert driven.pool.for_session("d", 1.0) is None
    assert driven.pool.full


def test_a_server_that_dies_of_the_modern_probe_gets_the_legacy_one() -> None:
    driven = DrivenPool()
    driven.processes.started(driven.first)
    driven.pool.exited(driven.first, "died", 0.1)
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}', 0.2)
    assert driven.pool.eras == ("legacy",)


def test_a_server_that_dies_of_the_modern_probe_after_a_long_start_gets_the_legacy_one() -> None:
    driven = DrivenPool()
    driven.processes.started(driven.first)
    driven.pool.late(SECOND_REQUEST)
    driven.pool.exited(driven.first, "died", 40.0)
    assert driven.pool.condition.health is Health.CHECKING
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}', 80.0)
    assert driven.pool.eras == ("legacy",)


def test_a_silent_process_is_starting_until_its_start_timeout() -> None:
    driven = DrivenPool(start_timeout=30.0)
    driven.processes.started(driven.first)
    for now in (SECOND_REQUEST, 29.0):
        assert driven.timers.next() == (SECOND_REQUEST if now == SECOND_REQUEST else 30.0)
        served = driven.pool.describe(True, now)
        assert (served.health, served.reason, served.free) == (Health.CHECKING, f"starting for {now:.0f} s", 0)
        driven.pool.late(now)
        driven.timers.expired(now)
    assert list(driven.pool.children.values()) == [driven.first]
    driven.pool.late(30.0)
    assert driven.pool.describe(True, 30.0).health is Health.UNHEALTHY
    assert driven.pool.describe(True, 30.0).reason == driven.pool.condition.reason
    assert "neither" in driven.pool.condition.reason
    assert not driven.pool.children


def test_a_process_that_hangs_on_the_modern_probe_is_followed_by_one_without_that_probe() -> None:
    driven = DrivenPool(start_timeout=5.0)
    driven.processes.started(driven.first)
    driven.pool.late(2.0)
    driven.pool.late(5.0)
    assert 'era: "legacy" spares it server/discover' in driven.pool.condition.reason
    for start, asked in ((6.0, ["initialize"]), (20.0, ["server/discover", "initialize"])):  # in turn, until one answers
        driven.out.clear()
        driven.pool.start(start)
        driven.processes.started(next(iter(driven.pool.children.values())))
        driven.pool.late(start + 2.0)
        assert [jsonrpc.parse(effect.frame).method for effect in driven.of(Write) if isinstance(effect, Write)] == asked
        driven.pool.late(start + 5.0)
    driven.pool.start(30.0)
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}', 30.1)
    assert (driven.pool.eras, driven.pool.condition.health) == (("legacy",), Health.HEALTHY)


def test_a_crashed_server_that_starts_slowly_is_starting_and_not_unhealthy() -> None:
    driven = DrivenPool()
    driven.up(MODERN)
    driven.pool.exited(driven.first, "killed", 100.0)
    assert driven.pool.describe(True, 100.0).health is Health.HEALTHY  # most servers are back before a client notices
    driven.pool.start(100.1)
    driven.pool.late(100.1 + SECOND_REQUEST)
    assert driven.pool.describe(True, 125.1).reason == "starting for 25 s"
    driven.up(MODERN, 126.0)
    assert driven.pool.describe(True, 126.0).health is Health.HEALTHY


def test_a_server_that_has_served_is_unhealthy_only_after_several_failed_starts() -> None:
    driven = DrivenPool(warm=0)
    driven.up(MODERN)
    driven.pool.exited(driven.first, "killed", 1.0)
    for again in range(FORGIVEN):
        assert driven.pool.condition.health is Health.HEALTHY
        driven.pool.start(2.0 + again)
        driven.pool.exited(next(iter(driven.pool.children.values())), "no database", 2.0 + again)
    assert driven.pool.condition.health is Health.UNHEALTHY
    assert driven.pool.condition.reason == "no database"


def test_a_warm_process_that_dies_young_is_replaced_and_no_session_is_refused() -> None:
    driven = DrivenPool()
    driven.up(UNKNOWN)
    driven.reply(b'"result":{"protocolVersion":"2025-11-25"}')
    [warm] = driven.pool.children.values()
    driven.pool.exited(warm, "killed", 1.0)
    assert driven.pool.condition.health is Health.HEALTHY
    assert driven.pool.for_session("s", 1.0) is not None
    assert driven.timers.expired(1.2) == [(Timer.RESTART, "s")]


def test_the_next_process_of_a_definition_is_not_probed_for_its_known_era() -> None:
    driven = DrivenPool()
    driven.up(UNKNOWN)
    driven.reply(b'"result":{"protocolVersion":"2025-11-25"}')
    [warm] = driven.pool.children.values()
    driven.pool.exited(warm, "killed", 1.0)
    driven.out.clear()
    driven.pool.start(1.1)
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}', 1.2)
    assert [jsonrpc.parse(effect.frame).method for effect in driven.of(Write) if isinstance(effect, Write)] == ["initialize"]
    assert driven.pool.eras == ("legacy",)


def test_a_configured_era_is_not_probed() -> None:
    driven = DrivenPool(era="legacy")
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}')
    assert len(driven.of(Write)) == 1
    assert driven.pool.eras == ("legacy",)


def test_a_server_that_dies_at_start_is_started_again_later_each_time() -> None:
    driven = DrivenPool()
    now, waits = 0.0, []
    for _ in range(9):
        child = next(iter(driven.pool.children.values()))
        driven.pool.exited(child, "no such command", now)
        due = driven.timers.next()
        assert due is not None
        waits.append(round(due - now, 3))
        now = due
        driven.timers.expired(now)
        driven.pool.start(now)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert driven.pool.describe(True, 0.0).reason == "no such command"
    assert driven.pool.describe(True, 0.0).free == 0


def test_a_warm_process_that_dies_young_does_not_take_the_shared_one_with_it() -> None:
    driven = DrivenPool()
    driven.up(DUAL)
    warm = list(driven.pool.children.values())[-1]
    assert warm is not driven.first
    driven.pool.exited(warm, "died", 1.0)
    assert driven.pool.shared() is driven.first
    assert driven.pool.condition.health is Health.HEALTHY


def test_a_server_whose_processes_all_die_stays_healthy_while_it_restarts() -> None:
    driven = DrivenPool()
    driven.up(DUAL)
    for child in list(driven.pool.children.values()):
        driven.pool.exited(child, "killed", 1.0)
    assert driven.pool.condition.health is Health.HEALTHY
    assert driven.timers.expired(1.2) == [(Timer.RESTART, "s")]


def test_a_server_that_refuses_the_handshake_is_unhealthy_with_its_own_reason() -> None:
    driven = DrivenPool()
    driven.up(UNKNOWN)
    driven.reply(b'"error":{"code":-32600,"message":"no such server"}')
    assert driven.pool.condition.health is Health.UNHEALTHY
    assert driven.pool.condition.reason.endswith(": no such server")


def test_a_server_whose_session_process_was_refused_a_connection_is_probed_again() -> None:
    driven = DrivenPool(warm=0)
    driven.up(UNKNOWN)
    driven.reply(b'"result":{"protocolVersion":"2025-11-25"}')
    for refused, health in ((False, Health.HEALTHY), (True, Health.UNHEALTHY)):
        child = driven.pool.for_session("a", 1.0)
        assert child
        driven.pool.exited(child, "nobody listens", 50.0, refused=refused)
        assert driven.pool.condition.health is health
    assert driven.timers.expired(51.0) == [(Timer.RESTART, "s")]


CHECKS = Checks(interval=10.0, timeout=2.0)


class CheckedPool(DrivenPool):
    """A pool whose server came up at 0.1 s, with health checks."""

    def __init__(self, answer: bytes = MODERN, checks: Checks = CHECKS, **limits: Any) -> None:
        super().__init__(checks=checks, **limits)
        self.up(answer)
        if answer is UNKNOWN:
            self.reply(b'"result":{"protocolVersion":"2025-11-25"}')
            for child in self.pool.children.values():
                self.processes.started(child)
        self.out.clear()

    def methods(self) -> list[str]:
        return [jsonrpc.parse(effect.frame).method for effect in self.of(Write) if isinstance(effect, Write)]

    def fail(self, now: float, times: int = 1) -> float:
        """Let so many checks fail; returns the time at which the last one did."""
        for _ in range(times):
            assert self.pool.checkup.look(now) == ""
            now += CHECKS.timeout
            reason = self.pool.checkup.look(now)
            assert "within 2 s" in reason
            self.pool.checkup.failed(reason, now)
            now += CHECKS.interval
        return now - CHECKS.interval


@pytest.mark.requirement("R07")
def test_a_shared_process_is_checked_after_the_interval() -> None:
    driven = CheckedPool()
    assert (driven.pool.checkup.look(10.0), driven.methods()) == ("", [])
    assert (driven.pool.checkup.look(10.1), driven.methods()) == ("", ["server/discover"])
    assert driven.pool.checkup.look(11.0) == ""
    driven.pool.checkup.passed(11.0)
    assert driven.pool.condition.health is Health.HEALTHY
    assert (driven.pool.checkup.look(20.9), len(driven.methods())) == ("", 1)
    driven.pool.checkup.look(21.0)
    assert len(driven.methods()) == 2


@pytest.mark.requirement("R07")
def test_a_check_of_a_legacy_server_pings_a_warm_process_and_starts_none_for_it() -> None:
    driven = CheckedPool(UNKNOWN)
    driven.pool.checkup.look(10.1)
    assert driven.methods() == ["ping"]
    driven = CheckedPool(UNKNOWN, warm=0)
    for now in range(100):
        assert driven.pool.checkup.look(now) == ""
    assert driven.out == []
    driven = CheckedPool(UNKNOWN, Checks(interval=10.0, ping=False))
    assert (driven.pool.checkup.look(10.1), driven.out) == ("", [])


@pytest.mark.requirement("R07")
def test_a_process_that_may_exit_on_early_messages_is_not_checked_before_its_handshake() -> None:
    driven = DrivenPool(checks=CHECKS)
    driven.processes.started(driven.first)
    driven.pool.exited(driven.first, "it expects initialize", 0.1)
    driven.up(b'"result":{"protocolVersion":"2025-11-25"}', 0.2)
    for child in driven.pool.children.values():
        driven.processes.started(child)
    driven.out.clear()
    for now in range(100):
        assert driven.pool.checkup.look(now) == ""
    assert (driven.out, driven.pool.condition.health) == ([], Health.HEALTHY)


@pytest.mark.requirement("R07")
@pytest.mark.parametrize("ends", [True, False])
def test_a_server_that_an_early_ping_has_harmed_gets_no_other(ends: bool) -> None:
    driven = CheckedPool(UNKNOWN)
    [pinged] = driven.pool.children.values()
    driven.pool.checkup.look(10.1)
    assert driven.methods() == ["ping"]
    if ends:
        driven.pool.exited(pinged, "it expects initialize", 10.2)
    else:
        assert driven.pool.checkup.look(12.1) == ""
        assert driven.of(StopServer) == [StopServer(pinged.id)]
    [fresh] = driven.pool.children.values()
    assert driven.of(Complain) == [
        Complain(
            "s",
            "a ping before its handshake did it harm, and it gets none any more: "
            + ("it expects initialize" if ends else "it did not answer within 2 s"),
        )
    ]
    driven.processes.started(fresh)
    for now in range(13, 100):
        assert driven.pool.checkup.look(now) == ""
    assert (driven.methods(), list(driven.pool.children.values())) == (["ping"], [fresh])
    assert driven.pool.condition.health is Health.HEALTHY


@pytest.mark.requirement("R07")
def test_a_server_that_has_answered_a_ping_fails_when_it_ignores_the_next() -> None:
    driven = CheckedPool(UNKNOWN)
    driven.pool.checkup.look(10.1)
    driven.pool.checkup.answered(next(iter(driven.pool.children.values())), "check-1")
    driven.pool.checkup.passed(10.2)
    driven.fail(20.2)
    assert driven.pool.condition.health is Health.DEGRADED


@pytest.mark.requirement("R07")
def test_three_failed_checks_replace_all_processes_but_those_of_sessions() -> None:
    driven = CheckedPool(DUAL, warm=2)
    session = driven.pool.for_session("s", 1.0)
    assert session is not None
    now = driven.fail(10.1, 2)
    assert (driven.pool.condition.health, driven.of(StopServer)) == (Health.DEGRADED, [])
    assert driven.pool.describe(True, 0.0).free == 64
    driven.fail(now + 10.0)
    assert driven.pool.describe(True, 0.0).health is Health.UNHEALTHY
    assert driven.pool.describe(True, 0.0).free == 0
    assert list(driven.pool.children.values()) == [session]
    assert len(driven.of(StopServer)) == 2
    assert driven.timers.expired(now + 20.0) == [(Timer.RESTART, "s")]
    driven.pool.start(now + 20.0)
    driven.up(DUAL, now + 20.0)
    assert driven.pool.condition.health is Health.DEGRADED
    assert driven.pool.shared() is not None


@pytest.mark.requirement("R07")
def test_a_busy_process_is_not_replaced_until_the_patience_ends() -> None:
    driven = CheckedPool(checks=Checks(interval=10.0, timeout=2.0, patience=50.0))
    job = job_of("edge", Envelope(kind=Kind.REQUEST, exchange="e", body=b"{}"), 0, 5.0, queued=True)
    job.begun = 5.0
    driven.first.jobs["e"] = job
    now = driven.fail(10.1, 4)
    assert (driven.pool.condition.health, driven.of(StopServer)) == (Health.DEGRADED, [])
    driven.fail(now + 10.0, 1)
    assert driven.pool.condition.health is Health.UNHEALTHY


@pytest.mark.requirement("R07")
def test_a_check_command_runs_while_the_server_has_a_process_and_decides_its_health() -> None:
    driven = CheckedPool(checks=Checks(interval=10.0, timeout=2.0, down=1, command=True))
    driven.pool.checkup.look(10.1)
    assert driven.of(CheckServer) == [CheckServer("s")]
    assert driven.of(Write) == []
    driven.pool.checkup.failed("no database", 11.0)
    assert driven.pool.describe(True, 0.0).health is Health.UNHEALTHY
    assert driven.pool.describe(True, 0.0).reason == "no database"
    driven.pool.start(12.0)
    driven.up(MODERN, 12.0)
    assert driven.pool.describe(True, 0.0).free == 0  # the server answers, but the command has not passed yet
    for now in (22.0, 33.0):
        driven.pool.checkup.look(now)
        driven.pool.checkup.passed(now + 1.0)
    assert driven.pool.describe(True, 0.0).free == 64
    driven = CheckedPool(UNKNOWN, Checks(interval=10.0, command=True), warm=0)
    for now in range(100):
        driven.pool.checkup.look(now)
    assert driven.out == []


def test_a_check_of_a_process_that_has_exited_does_not_fail() -> None:
    driven = CheckedPool()
    driven.pool.checkup.look(10.1)
    driven.pool.exited(driven.first, "killed", 11.0)
    assert driven.pool.checkup.failed(driven.pool.checkup.look(12.1), 12.1) == []
    assert driven.pool.condition.health is Health.HEALTHY


def test_checks_can_be_switched_off() -> None:
    driven = CheckedPool(checks=Checks(enabled=False))
    assert (driven.pool.checkup.look(1000.0), driven.out) == ("", [])


def test_the_reason_of_a_silent_server_quotes_its_last_stderr_lines() -> None:
    driven = DrivenPool(last_words=lambda: "; its last stderr lines: waiting for the database")
    assert driven.pool.describe(True, 3.0).reason == "starting for 3 s; its last stderr lines: waiting for the database"
    driven.processes.started(driven.first)
    for now in (SECOND_REQUEST, 120.0):
        driven.pool.late(now)
    assert driven.pool.condition.health is Health.UNHEALTHY
    assert driven.pool.condition.reason.endswith("; its last stderr lines: waiting for the database")

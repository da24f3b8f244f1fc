"""The server directory: when new work is refused at once, and when started work waits."""

from fabric.core.edge.directory import RESTART_PATIENCE, ServerDirectory
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from fabric.core.peers.lease import Leases
from fabric.faults import Reason


def announced(leases: Leases, health: Health, now: float, bridge: str = "b") -> None:
    served = Served(digest="d", free=1, health=health, reason="it fell over")
    leases.announced(bridge, Announcement(role=Role.BRIDGE, number=1, key="k", versions=(1,), serves={"s": served}), now)


def test_an_unhealthy_server_refuses_new_work_at_once_and_started_work_waits_for_its_restart() -> None:
    leases = Leases("me")
    directory = ServerDirectory(leases, frozenset({"s"}))
    announced(leases, Health.HEALTHY, 0.0)
    directory.look(0.0)
    assert directory.hopeless("s", 0.0) is None
    announced(leases, Health.UNHEALTHY, 1.0)
    for now in (1.0, 5.0):
        directory.look(now)
        fault = directory.hopeless("s", now)
        assert fault is not None
        assert (fault.reason, fault.retryable) == (Reason.UNAVAILABLE, True)
        assert "it fell over" in fault.message
        assert directory.hopeless("s", now, begun=True) is None
    directory.look(1.0 + RESTART_PATIENCE)
    assert directory.hopeless("s", 1.0 + RESTART_PATIENCE, begun=True) is not None


def test_the_patience_for_a_restart_begins_anew_after_a_recovery() -> None:
    leases = Leases("me")
    directory = ServerDirectory(leases, frozenset({"s"}))
    for now, health in ((0.0, Health.UNHEALTHY), (9.0, Health.DEGRADED), (10.0, Health.UNHEALTHY)):
        announced(leases, health, now)
        directory.look(now)
    assert directory.hopeless("s", 10.0 + RESTART_PATIENCE - 1.0, begun=True) is None

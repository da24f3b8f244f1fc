"""Leases: a process that misses its own announcements gives up no peer, and after such a gap every lease starts anew."""

from fabric.core.peers.lease import GAP, LEASE, SETTLE, Leases


def settled_leases(now: float = 0.0) -> Leases:
    """Leases of a process that has just received its own announcement."""
    leases = Leases("me")
    leases.echoed(leases.force(now), now)
    return leases


def announce_until(leases: Leases, start: float, end: float) -> float:
    """Announce each second, receive each announcement at once, and return the time at the end."""
    now = start
    while now < end:
        number = leases.next_number(now)
        if number is not None:
            leases.echoed(number, now)
        now += 0.25
    return now


def test_a_silent_peer_is_dead_after_the_lease_and_not_before() -> None:
    leases = settled_leases()
    leases.renew("peer", 0.0)
    announce_until(leases, 0.0, LEASE)
    assert leases.dead(LEASE) == []
    assert leases.dead(LEASE + 0.1) == ["peer"]


def test_a_process_that_misses_its_own_announcements_gives_up_no_peer() -> None:
    leases = settled_leases()
    leases.renew("peer", 0.0)
    leases.force(1.0)
    assert leases.in_gap(GAP + 0.1)
    assert leases.dead(100.0) == []


def test_after_a_gap_every_lease_starts_afresh() -> None:
    leases = settled_leases()
    leases.renew("peer", 0.0)
    assert leases.echoed(leases.force(60.0), 60.0)
    now = announce_until(leases, 60.0, 60.0 + LEASE)
    assert leases.dead(60.0 + LEASE) == []
    assert leases.dead(now + 0.1) == ["peer"]


def test_an_old_echo_ends_no_gap() -> None:
    leases = settled_leases()
    number = leases.force(1.0)
    assert not leases.echoed(number, 10.0)
    assert leases.in_gap(10.0)


def test_a_reconnect_is_a_gap() -> None:
    leases = settled_leases()
    leases.disconnected()
    assert leases.in_gap(0.1)
    assert leases.echoed(leases.force(0.2), 0.3)


def test_leases_are_settled_after_a_time_to_answer_and_sure_after_a_full_lease() -> None:
    leases = settled_leases()
    assert not leases.settled(SETTLE / 2)
    assert leases.settled(SETTLE)
    announce_until(leases, 0.0, LEASE)
    assert not leases.sure(LEASE - 0.1)
    assert leases.sure(LEASE)


def test_announcements_are_a_second_apart_whenever_the_core_looks() -> None:
    leases = Leases("me")
    announced = [now / 100 for now in range(0, 1000, 25) if leases.next_number(now / 100 - (now % 50) * 1e-9) is not None]
    assert announced == [float(second) for second in range(10)]

"""A crowd: the same number for the same workers, and for no others."""

from fabric.core.peers.crowd import Crowd, mark


def crowd(me: str, *others: str) -> Crowd:
    found = Crowd(me)
    for other in others:
        found.add(other)
    return found


def test_the_same_workers_are_one_number_in_whatever_order_they_came() -> None:
    first, second = crowd("a", "b", "c"), crowd("c", "b", "a", "b")
    assert first.number(with_me=True) == second.number(with_me=True) == mark("a") ^ mark("b") ^ mark("c")


def test_it_is_complete_when_another_knows_of_the_same_workers_whether_or_not_of_us() -> None:
    newcomer = crowd("new", "a")
    newcomer.compare(crowd("a", "b").number(with_me=True))
    assert not newcomer.complete
    newcomer.add("b")
    assert newcomer.complete
    second = crowd("new", "a", "b")
    second.compare(crowd("a", "b", "new").number(with_me=True))
    assert second.complete


def test_who_has_left_counts_no_more_and_who_never_came_leaves_nothing() -> None:
    newcomer = crowd("new", "a", "b")
    newcomer.remove("b")
    newcomer.remove("never")
    newcomer.compare(crowd("a").number(with_me=True))
    assert newcomer.complete


def test_what_was_forgotten_completes_nothing() -> None:
    newcomer = crowd("new", "a")
    newcomer.compare(crowd("a").number(with_me=True))
    newcomer.forget()
    assert not newcomer.complete

"""A crowd: equal sets of workers have equal numbers, and other sets have others."""

from fabric.core.peers.crowd import Crowd, mark


def crowd(me: str, *others: str) -> Crowd:
    made = Crowd(me)
    for other in others:
        made.add(other)
    return made


def test_the_number_of_a_crowd_does_not_depend_on_the_order_of_arrival() -> None:
    first, second = crowd("a", "b", "c"), crowd("c", "b", "a", "b")
    assert first.number(with_me=True) == second.number(with_me=True) == mark("a") ^ mark("b") ^ mark("c")


def test_a_crowd_is_complete_when_another_worker_knows_the_same_others() -> None:
    newcomer = crowd("new", "a")
    newcomer.compare(crowd("a", "b").number(with_me=True))
    assert not newcomer.complete
    newcomer.add("b")
    assert newcomer.complete
    second = crowd("new", "a", "b")
    second.compare(crowd("a", "b", "new").number(with_me=True))
    assert second.complete


def test_a_worker_that_has_left_does_not_count_and_an_unknown_one_leaves_no_trace() -> None:
    newcomer = crowd("new", "a", "b")
    newcomer.remove("b")
    newcomer.remove("never")
    newcomer.compare(crowd("a").number(with_me=True))
    assert newcomer.complete


def test_a_forgotten_comparison_does_not_complete_a_crowd() -> None:
    newcomer = crowd("new", "a")
    newcomer.compare(crowd("a").number(with_me=True))
    newcomer.forget()
    assert not newcomer.complete

"""Deadlines: each due one expires once, earliest first, and cleared ones cost nothing."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.deadlines import Deadlines, Delay

KEYS = st.sampled_from("abcdef")
STEPS = st.lists(st.one_of(st.tuples(st.just("set"), KEYS, st.floats(0, 100)), st.tuples(st.just("clear"), KEYS, st.just(0.0))))


@given(STEPS, st.floats(0, 100))
def test_due_deadlines_expire_once_and_earliest_first(steps: list[tuple[str, str, float]], now: float) -> None:
    deadlines, model = Deadlines[str](), dict[str, float]()
    for what, key, due in steps:
        if what == "set":
            deadlines.set(key, due)
            model[key] = due
        else:
            deadlines.clear(key)
            model.pop(key, None)
    assert deadlines.soonest <= min(model.values(), default=float("inf"))
    assert deadlines.next() == min(model.values(), default=None)
    came = deadlines.expired(now)
    assert sorted(came) == sorted(key for key, due in model.items() if due <= now)
    assert [model[key] for key in came] == sorted(model[key] for key in came)
    assert deadlines.expired(now) == []
    assert len(deadlines) == len(model) - len(came)


def test_cleared_deadlines_do_not_stay_in_the_heap() -> None:
    deadlines = Deadlines[str]()
    for number in range(10_000):
        deadlines.set(f"k{number}", 3600.0)
        deadlines.clear(f"k{number}")
    assert len(deadlines) == 0
    assert len(deadlines._heap) < 100


def test_delays_expire_in_the_order_they_were_set() -> None:
    delay = Delay(0.5)
    delay.set("a", 1.0)
    delay.set("b", 1.2)
    delay.set("c", 1.4)
    delay.clear("b")
    assert delay.next() == 1.5
    assert delay.expired(1.4) == []
    assert delay.expired(1.9) == ["a", "c"]
    assert delay.next() is None

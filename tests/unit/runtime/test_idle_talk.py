"""What nobody waits for: so much of it is read in a second."""

from fabric.runtime.idle_talk import MOST, WINDOW, IdleTalk


def test_a_process_may_say_much_that_nobody_waits_for_and_a_flood_is_read_in_portions() -> None:
    talk = IdleTalk()
    assert not any(talk.pause(5.0) for _ in range(MOST - 1))
    assert (talk.floods, talk.pause(5.25), talk.floods) == (False, 0.75, True)
    assert not any(talk.pause(5.0 + WINDOW) for _ in range(MOST - 1))
    assert talk.pause(5.0 + WINDOW) == WINDOW
    assert talk.count == 2 * MOST


def test_what_comes_now_and_then_is_never_a_flood() -> None:
    talk = IdleTalk()
    assert not any(talk.pause(number / 100) for number in range(5 * MOST))
    assert not talk.floods

"""Messages of a server that nobody waits for: so many are read in a second."""

from fabric.runtime.servers.unasked_messages import MOST, WINDOW, UnaskedMessages


def test_a_process_may_say_much_that_nobody_waits_for_and_a_flood_is_read_in_portions() -> None:
    messages = UnaskedMessages()
    assert not any(messages.pause(5.0) for _ in range(MOST - 1))
    assert (messages.floods, messages.pause(5.25), messages.floods) == (False, 0.75, True)
    assert not any(messages.pause(5.0 + WINDOW) for _ in range(MOST - 1))
    assert messages.pause(5.0 + WINDOW) == WINDOW
    assert messages.count == 2 * MOST


def test_what_comes_now_and_then_is_never_a_flood() -> None:
    messages = UnaskedMessages()
    assert not any(messages.pause(number / 100) for number in range(5 * MOST))
    assert not messages.floods

"""Unasked messages of a server: how many are read in a second."""

from fabric.runtime.servers.unasked_messages import READ_PER_WINDOW, WINDOW, UnaskedMessages


def pause(messages: UnaskedMessages, now: float) -> float:
    """One more comes; for how many seconds nothing more is read then."""
    messages.pause = 0.0
    messages.came(now)
    return messages.pause


def test_unasked_messages_are_read_freely_up_to_a_limit_and_a_flood_in_portions() -> None:
    messages = UnaskedMessages()
    assert not any(pause(messages, 5.0) for _ in range(READ_PER_WINDOW - 1))
    assert (messages.floods, pause(messages, 5.25), messages.floods) == (False, 0.75, True)
    assert not any(pause(messages, 5.0 + WINDOW) for _ in range(READ_PER_WINDOW - 1))
    assert pause(messages, 5.0 + WINDOW) == WINDOW
    assert messages.count == 2 * READ_PER_WINDOW


def test_unasked_messages_now_and_then_are_never_a_flood() -> None:
    messages = UnaskedMessages()
    assert not any(pause(messages, number / 100) for number in range(5 * READ_PER_WINDOW))
    assert not messages.floods

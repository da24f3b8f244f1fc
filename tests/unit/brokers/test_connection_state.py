"""ConnectionState: a connection is lost once or closed once, and each waiting caller gets the reason."""

from __future__ import annotations

import asyncio

import pytest

from fabric.brokers.connection_state import ConnectionState
from fabric.errors import BrokerClosed, BrokerReset, BrokerTimeout, PublishFailed

RESET = BrokerReset("the broker closed the connection")


async def test_a_connection_that_is_up_refuses_nothing() -> None:
    state = ConnectionState()
    state.check_open()
    state.check_up()
    state.check_can_publish(1)
    assert state.loss is None


async def test_only_the_first_loss_counts() -> None:
    state = ConnectionState()
    assert state.lose(RESET)
    assert not state.lose(BrokerTimeout("silent"))
    assert state.loss is RESET
    assert await state.lost() == "the broker closed the connection"


async def test_a_lost_connection_is_still_open_and_not_up() -> None:
    state = ConnectionState()
    state.lose(RESET)
    state.check_open()
    with pytest.raises(BrokerReset) as raised:
        state.check_up()
    assert raised.value is not RESET  # each caller gets an error of its own


async def test_a_lost_connection_sends_none_of_a_publish() -> None:
    state = ConnectionState()
    state.lose(RESET)
    with pytest.raises(PublishFailed) as raised:
        state.check_can_publish(3)
    assert (raised.value.unsent, raised.value.unknown, raised.value.__cause__) == ((0, 1, 2), (), RESET)


async def test_a_closed_connection_is_not_lost_any_more() -> None:
    state = ConnectionState()
    waiting = asyncio.ensure_future(state.lost())
    assert state.close()
    assert not state.close()
    assert not state.lose(RESET)
    with pytest.raises(BrokerClosed):
        state.check_up()
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_cancelled_waiter_does_not_end_the_wait_of_another() -> None:
    state = ConnectionState()
    first, second = asyncio.ensure_future(state.lost()), asyncio.ensure_future(state.lost())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    state.lose(RESET)
    assert await asyncio.wait_for(second, 5) == "the broker closed the connection"

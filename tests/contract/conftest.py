"""The event loops of the contract suites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=list(LOOPS))


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on uvloop, as the workers do; those marked BOTH_LOOPS run on asyncio's loop too, where libraries differ."""
    marker = item.get_closest_marker("asyncio")
    return LOOPS if marker is not None and "loop_factories" in marker.kwargs else {"uvloop": LOOPS["uvloop"]}

"""The connections to a remote MCP server: shared by all links to it, kept alive, bounded, closed when idle."""

from __future__ import annotations

import asyncio

import pytest

from fabric.links.settings import ConnectSettings
from tests.contract.http_server import WAIT, Asked, Upstream, answer, frame, modern, received, result, session

pytestmark = pytest.mark.requirement("L21")


async def answering(asked: Asked) -> None:
    asked.result()


async def test_links_to_one_server_share_connections_that_are_kept_alive() -> None:
    async with Upstream(answering) as upstream:
        links = [await upstream.link(f"far#{number}") for number in range(5)]
        for number in range(20):
            link = links[number % 5]
            link.send(modern(f"x{number}"))
            await answer(link, f"x{number}")
        assert upstream.connections == 1


async def test_connections_are_bounded_and_what_waits_gets_its_turn() -> None:
    async def slow(asked: Asked) -> None:
        await asyncio.sleep(0.01)
        asked.result()

    async with Upstream(slow) as upstream:
        links = [await upstream.link(f"far#{number}", connections=8) for number in range(3)]
        for number in range(100):
            links[number % 3].send(modern(f"x{number}"))
        for number in range(100):
            await received(links[number % 3])
        assert upstream.most == 7, "an eighth is kept for what is short"


async def test_what_is_cancelled_while_it_waits_for_a_connection_is_never_sent() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(connections=2)
        link.send(modern("x1"))
        link.send(modern("x2"))
        link.send(modern("x3"))
        first = await upstream.asked()
        link.send(frame(None, "notifications/cancelled", requestId="x2"))
        first.result()
        await answer(link, "x1")
        assert (await upstream.asked()).id == "x3"


async def test_a_proxy_that_the_environment_names_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with Upstream(answering) as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        await answer(link, "x1")


async def test_calls_that_wait_for_their_client_leave_room_for_its_answers() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(connections=4)
        (await session(upstream, link)).stream(b": open\n\n")
        for number in range(5):
            link.send(frame(f"x{number}", "tools/call"))
        calls = [await upstream.asked() for _ in range(2)]
        link.send(result("q"))
        (await upstream.asked()).answer(202)
        for call in calls:
            call.result()
        for _ in range(3):
            (await upstream.asked()).result()
        for _ in range(5):
            await received(link)
        assert upstream.most == 4


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with Upstream(answering) as upstream:
        link = await upstream.link(idle=0.1)
        link.send(modern("x1"))
        await answer(link, "x1")
        assert upstream.connections == 1
        async with asyncio.timeout(WAIT):
            while upstream.open:  # noqa: ASYNC110 - closed by a timer of the pool
                await asyncio.sleep(0.01)
        link.send(modern("x2"))
        await answer(link, "x2")


async def test_the_last_link_closes_the_connections() -> None:
    async with Upstream(answering) as upstream:
        links = [await upstream.link(f"far#{number}") for number in range(2)]
        links[0].send(modern("x1"))
        await answer(links[0], "x1")
        await links[0].aclose()
        assert upstream.open == 1
        links[1].send(modern("x2"))
        await answer(links[1], "x2")
        await links[1].aclose()
        async with asyncio.timeout(WAIT):
            while upstream.open:  # noqa: ASYNC110 - the other side of the socket
                await asyncio.sleep(0.005)


async def test_what_is_closed_leaves_no_descriptor_and_no_task_behind() -> None:
    async with Upstream() as upstream:
        tasks = len(asyncio.all_tasks())
        for number in range(3):
            link = await upstream.link(f"far#{number}")
            (await session(upstream, link)).stream(b": open\n\n")
            link.send(modern("x1"))
            asked = await upstream.asked()
            closing = asyncio.create_task(link.aclose())
            await asked.left()
            (await upstream.asked()).answer(200)
            await asyncio.wait_for(closing, WAIT)
        async with asyncio.timeout(WAIT):
            while upstream.open or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 - no event tells of either
                await asyncio.sleep(0.005)


def test_the_idle_time_is_below_that_of_common_servers() -> None:
    assert ConnectSettings().idle < 5

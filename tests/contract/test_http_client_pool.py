"""The connection pool of a remote HTTP server: shared by all its links, kept alive, bounded, closed when idle."""

from __future__ import annotations

import asyncio

import pytest

from fabric.links.settings import ConnectSettings
from tests.contract.http_server import WAIT, HttpRequest, Upstream, answer, frame, modern, received, result, session
from tests.waiting import until

pytestmark = pytest.mark.requirement("L21")


async def answering(posted: HttpRequest) -> None:
    posted.result()


async def test_links_to_one_server_share_connections_that_are_kept_alive() -> None:
    async with Upstream(answering) as upstream:
        links = [await upstream.link(f"far#{number}") for number in range(5)]
        for number in range(20):
            link = links[number % 5]
            link.send(modern(f"x{number}"))
            await answer(link, f"x{number}")
        assert upstream.connections == 1


async def test_connections_are_bounded_and_waiting_requests_are_sent_later() -> None:
    async def slow(posted: HttpRequest) -> None:
        await asyncio.sleep(0.01)
        posted.result()

    async with Upstream(slow) as upstream:
        links = [await upstream.link(f"far#{number}", connections=8) for number in range(3)]
        for number in range(100):
            links[number % 3].send(modern(f"x{number}"))
        for number in range(100):
            await received(links[number % 3])
        assert upstream.most == 7, "an eighth is kept for what is short"


async def test_a_request_cancelled_while_waiting_for_a_connection_is_never_sent() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(connections=2)
        link.send(modern("x1"))
        link.send(modern("x2"))
        link.send(modern("x3"))
        first = await upstream.next_request()
        link.send(frame(None, "notifications/cancelled", requestId="x2"))
        first.result()
        await answer(link, "x1")
        assert (await upstream.next_request()).id == "x3"


async def test_a_proxy_named_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with Upstream(answering) as upstream:
        link = await upstream.link()
        link.send(modern("x1"))
        await answer(link, "x1")


async def test_open_calls_leave_a_connection_for_the_clients_answers() -> None:
    async with Upstream() as upstream:
        link = await upstream.link(connections=4)
        (await session(upstream, link)).stream(b": open\n\n")
        for number in range(5):
            link.send(frame(f"x{number}", "tools/call"))
        calls = [await upstream.next_request() for _ in range(2)]
        link.send(result("q"))
        (await upstream.next_request()).answer(202)
        for call in calls:
            call.result()
        for _ in range(3):
            (await upstream.next_request()).result()
        for _ in range(5):
            await received(link)
        assert upstream.most == 4


async def test_an_idle_connection_is_closed() -> None:
    async with Upstream(answering) as upstream:
        link = await upstream.link(idle=0.1)
        link.send(modern("x1"))
        await answer(link, "x1")
        assert upstream.connections == 1
        await until(lambda: upstream.open == 0)
        link.send(modern("x2"))
        await answer(link, "x2")


async def test_closing_the_last_link_closes_the_connections() -> None:
    async with Upstream(answering) as upstream:
        links = [await upstream.link(f"far#{number}") for number in range(2)]
        links[0].send(modern("x1"))
        await answer(links[0], "x1")
        await links[0].aclose()
        assert upstream.open == 1
        links[1].send(modern("x2"))
        await answer(links[1], "x2")
        await links[1].aclose()
        await until(lambda: upstream.open == 0)


async def test_a_closed_link_leaves_no_connection_and_no_task() -> None:
    async with Upstream() as upstream:
        tasks = len(asyncio.all_tasks())
        for number in range(3):
            link = await upstream.link(f"far#{number}")
            (await session(upstream, link)).stream(b": open\n\n")
            link.send(modern("x1"))
            posted = await upstream.next_request()
            closing = asyncio.create_task(link.aclose())
            await posted.disconnected()
            (await upstream.next_request()).answer(200)
            await asyncio.wait_for(closing, WAIT)
        await until(lambda: upstream.open == 0 and len(asyncio.all_tasks()) <= tasks)


def test_the_idle_timeout_is_shorter_than_that_of_common_servers() -> None:
    assert ConnectSettings().idle < 5

"""The contract of fabric/links/base.py, checked on every lasting link over its real transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest

from fabric.errors import InvalidFrame, LinkBroken, LinkClosed, LinkOverflow, LinkProtocolError, LinkTimeout
from fabric.faults import LostAnswer, Reason
from fabric.links.base import Link
from fabric.mcp.jsonrpc import MessageKind
from tests.contract.links import MEMBERS, WAIT, Joined, Member
from tests.waiting import open_descriptors, until

T = TypeVar("T")
NOT_UTF8 = b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'
pytestmark = pytest.mark.requirement("L01", "L02", "L04", "L05", "L06")


@pytest.fixture(params=MEMBERS, ids=lambda member: member.name)
def member(request: pytest.FixtureRequest) -> Member:
    member: Member = request.param
    return member


@pytest.fixture(params=[member for member in MEMBERS if member.bytewise], ids=lambda member: member.name)
def bytewise(request: pytest.FixtureRequest) -> Member:
    """A member whose peer writes bytes, not frames."""
    member: Member = request.param
    return member


def frame(number: int, size: int = 0) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"method":"echo","params":{"text":"%s"}}' % (number, b"x" * size)


def in_time(awaitable: Awaitable[T]) -> Awaitable[T]:
    return asyncio.wait_for(awaitable, WAIT)


async def received(link: Link, count: int) -> list[bytes]:
    return [(await in_time(link.receive())).frame for _ in range(count)]


async def test_ten_thousand_frames_arrive_whole_and_in_order_each_way(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number, number % 300) for number in range(10_000)]

        async def send() -> None:
            for number, each in enumerate(frames):
                joined.link.send(each)
                if number % 100 == 0:
                    await joined.link.drain()

        async def read() -> list[bytes]:
            return [await joined.peer.line() for _ in frames]

        _, arrived = await in_time(asyncio.gather(send(), read()))
        assert arrived == frames
        _, back = await in_time(asyncio.gather(joined.peer.write(b"\n".join(frames) + b"\n"), received(joined.link, 10_000)))
        assert back == frames


async def test_frames_are_whole_when_the_peer_writes_byte_by_byte(bytewise: Member) -> None:
    async with bytewise.open() as joined:
        frames = [frame(number) for number in range(3)]
        for byte in b"\r\n".join(frames) + b"\n":
            await joined.peer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await received(joined.link, 3) == frames


async def test_a_frame_over_the_limit_raises_once_and_the_next_one_arrives(member: Member) -> None:
    async with member.open(max_frame_bytes=1000) as joined:
        await joined.peer.write(frame(1) + b"\n" + frame(2, 300_000) + b"\n" + frame(3) + b"\n")
        assert await received(joined.link, 1) == [frame(1)]
        with pytest.raises(LinkOverflow, match=r"1000 bytes \(maxFrameBytes\)"):
            await in_time(joined.link.receive())
        assert await received(joined.link, 1) == [frame(3)]
        joined.link.send(frame(4))
        assert await joined.peer.line() == frame(4)


@pytest.mark.parametrize("bad", [b"not json", b"{}", NOT_UTF8, b"[" * 5000, b"[1]", b" "])
async def test_an_invalid_line_is_reported_and_the_link_survives(member: Member, bad: bytes) -> None:
    async with member.open() as joined:
        if member.text and bad is NOT_UTF8:
            return await assert_ends_by_the_rules_of_its_transport(joined)
        await joined.peer.write(bad + b"\n" + frame(1) + b"\n")
        if joined.noise is None:
            with pytest.raises(InvalidFrame):
                await in_time(joined.link.receive())
        assert await received(joined.link, 1) == [frame(1)]
        assert joined.noise in (None, [bad])
    return None


async def test_a_byte_order_mark_in_front_of_a_message_is_skipped(member: Member) -> None:
    async with member.open() as joined:
        await joined.peer.write(b"\xef\xbb\xbf" + frame(1) + b"\n" + frame(2) + b"\n")
        assert await received(joined.link, 2) == [frame(1), frame(2)]


@pytest.mark.parametrize("member", [each for each in MEMBERS if each.server], ids=lambda member: member.name)
async def test_an_invalid_answer_is_reported_and_an_answer_behind_log_text_is_received(member: Member) -> None:
    answer = b'{"jsonrpc":"2.0","id":"x","result":{"number":1}}'
    async with member.open() as joined:
        await joined.peer.write(answer.replace(b"1}}", b"NaN}}") + b"\n" + b"INFO: " + answer + b"\n")
        broken = await in_time(joined.link.receive())
        assert isinstance(broken, LostAnswer)
        assert (broken.id, broken.fault.reason) == (b'"x"', Reason.INVALID)
        assert broken.fault.message.endswith(" sent an answer that cannot be passed on: not JSON: it holds NaN")
        assert "(pid" not in broken.fault.message, "it is reported once for many processes"
        assert await received(joined.link, 1) == [answer]
        assert not joined.noise


@pytest.mark.requirement("P14")
async def test_an_array_of_messages_arrives_as_a_batch_or_as_single_messages(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number) for number in range(4)]
        array = b"[" + b",".join(frames[:3]) + b"]"
        await joined.peer.write(array + b"\n" + frames[3] + b"\n")
        first = await in_time(joined.link.receive())
        if first.kind is MessageKind.BATCH:
            assert first.frame == array
            assert await received(joined.link, 1) == frames[3:]
        else:  # a link over HTTP matches each message with its request
            assert [first.frame, *await received(joined.link, 3)] == frames


async def assert_ends_by_the_rules_of_its_transport(joined: Joined) -> None:
    await joined.peer.write(frame(1) + b"\n" + NOT_UTF8 + b"\n")
    assert await received(joined.link, 1) == [frame(1)]
    with pytest.raises(LinkProtocolError):
        await in_time(joined.link.receive())


async def test_a_pretty_printed_frame_leaves_as_one_line(member: Member) -> None:
    async with member.open() as joined:
        joined.link.send(b'{\r\n  "jsonrpc": "2.0",\n  "method": "a\\nb"\n}')
        assert await joined.peer.line() == b'{    "jsonrpc": "2.0",   "method": "a\\nb" }'


async def test_the_end_is_raised_after_the_last_message_and_on_every_later_receive(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number, 1000) for number in range(200)]
        await joined.peer.write(b"\n".join(frames) + b"\n")
        await joined.peer.close()
        assert await received(joined.link, 200) == frames
        for _ in range(2):
            with pytest.raises(member.end):
                await in_time(joined.link.receive())


async def test_a_last_message_without_its_newline_still_arrives(bytewise: Member) -> None:
    async with bytewise.open() as joined:
        await joined.peer.write(frame(1))
        await joined.peer.close()
        assert await received(joined.link, 1) == [frame(1)]


async def test_a_peer_that_vanishes_breaks_the_link_for_receive_send_and_drain(bytewise: Member) -> None:
    async with bytewise.open() as joined:
        receiving = asyncio.create_task(joined.link.receive())
        await joined.peer.vanish()
        with pytest.raises(LinkBroken):
            await in_time(receiving)
        with pytest.raises(LinkBroken):
            joined.link.send(frame(1))
        with pytest.raises(LinkBroken):
            await in_time(joined.link.drain())


async def test_after_close_every_call_raises_link_closed_and_so_does_a_pending_receive(member: Member) -> None:
    async with member.open() as joined:
        receiving = asyncio.create_task(joined.link.receive())
        await asyncio.sleep(0)
        await in_time(joined.link.aclose())
        with pytest.raises(LinkClosed):
            await in_time(receiving)
        with pytest.raises(LinkClosed):
            await in_time(joined.link.receive())
        with pytest.raises(LinkClosed):
            joined.link.send(frame(1))
        with pytest.raises(LinkClosed):
            await in_time(joined.link.drain())


async def test_close_sends_the_queued_frames(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number, 1000) for number in range(50)]  # over HTTP each takes a round trip, within the close timeout
        for each in frames:
            joined.link.send(each)
        _, arrived = await in_time(asyncio.gather(joined.link.aclose(), lines(joined, 50)))
        assert arrived == frames


async def lines(joined: Joined, count: int) -> list[bytes]:
    return [await joined.peer.line() for _ in range(count)]


async def test_close_may_be_called_twice_concurrently_and_cancelled(member: Member) -> None:
    async with member.open() as joined:
        first, second = asyncio.create_task(joined.link.aclose()), asyncio.create_task(joined.link.aclose())
        await asyncio.sleep(0)
        first.cancel()
        await in_time(second)
        await in_time(joined.link.aclose())
        assert first.cancelled() or first.exception() is None


async def test_a_peer_that_reads_nothing_for_the_stall_timeout_breaks_its_own_link_which_lists_the_unsent_frames(
    member: Member,
) -> None:
    async with member.open(stall_timeout=0.4) as stalled, MEMBERS[2].open() as other:
        frames = [frame(number, 60_000) for number in range(200)]
        for each in frames:
            stalled.link.send(each)
        with pytest.raises((LinkBroken, LinkTimeout)):
            await in_time(stalled.link.receive())
        unsent = [*stalled.link.unsent]
        assert unsent == frames[-len(unsent) :]
        assert 0 < len(unsent) < 200
        with pytest.raises((LinkBroken, LinkTimeout)):
            stalled.link.send(frame(1))
        assert stalled.link.unsent[-1] == frame(1)
        other.link.send(frame(2))
        assert await other.peer.line() == frame(2)


async def test_a_peer_that_reads_slowly_is_waited_for(member: Member) -> None:
    async with member.open(stall_timeout=1.0) as joined:
        frames = [frame(number, 500_000) for number in range(20)]
        for each in frames:
            joined.link.send(each)
        assert joined.link.unsent_bytes > 5_000_000
        for each in frames[:4]:  # longer in all than the stall timeout
            await asyncio.sleep(0.3)
            assert await joined.peer.line() == each
        assert await in_time(lines(joined, 16)) == frames[4:]
        await in_time(joined.link.drain())
        assert joined.link.unsent_bytes < 1_000_000


async def test_drain_waits_for_a_peer_that_does_not_read_and_returns_when_it_does(member: Member) -> None:
    async with member.open() as joined:
        count = 130
        for number in range(count):
            joined.link.send(frame(number, 60_000))
        await asyncio.sleep(0)
        draining = asyncio.create_task(joined.link.drain())
        await asyncio.wait({draining}, timeout=0.3)
        assert not draining.done()
        arrived = await in_time(lines(joined, count))
        assert [len(line) for line in arrived] == [len(frame(number, 60_000)) for number in range(count)]
        await in_time(draining)


async def test_a_link_that_is_not_read_holds_its_peer_back_and_loses_no_frame(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number, 60_000) for number in range(200)]

        async def write() -> None:
            for each in frames:
                await joined.peer.write(each + b"\n")

        writing = asyncio.create_task(write())
        await asyncio.wait({writing}, timeout=0.3)
        assert not writing.done()
        assert await received(joined.link, 200) == frames
        await in_time(writing)


async def test_a_cancelled_receive_loses_no_frame(member: Member) -> None:
    async with member.open() as joined:
        frames = [frame(number) for number in range(200)]
        arrived: list[bytes] = []
        for each in frames:
            receiving = asyncio.create_task(joined.link.receive())
            await joined.peer.write(each + b"\n")
            for _ in range(len(arrived) % 5):
                await asyncio.sleep(0)
            receiving.cancel()
            try:
                arrived.append((await receiving).frame)
            except asyncio.CancelledError:
                continue
        arrived += await received(joined.link, len(frames) - len(arrived))
        assert arrived == frames


async def test_receive_does_not_suspend_while_a_message_is_buffered(member: Member) -> None:
    async with member.open() as joined:
        await joined.peer.write(b"".join(frame(number) + b"\n" for number in range(3)))
        await received(joined.link, 1)
        for number in (1, 2):
            receiving: Any = joined.link.receive()
            with pytest.raises(StopIteration) as returned:
                receiving.send(None)
            assert returned.value.value.frame == frame(number)


async def test_a_closed_link_leaves_no_descriptor_and_no_task(member: Member) -> None:
    async with member.open():
        pass
    await asyncio.sleep(0)
    before, tasks = open_descriptors(), len(asyncio.all_tasks())
    for _ in range(5):
        async with member.open() as joined:
            joined.link.send(frame(1))
            await joined.peer.line()
    await until(lambda: open_descriptors() <= before and len(asyncio.all_tasks()) <= tasks)

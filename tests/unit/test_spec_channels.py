"""docs/spec/channels.md has the channel names and figures of the code."""

from __future__ import annotations

import pytest

from fabric.addressing import MAX_NAME_BYTES, Channel, ChannelKind, channel_name, escape
from fabric.brokers import mailbox, memory
from fabric.brokers.amqp import adapter as amqp
from fabric.brokers.amqp import connection as amqp_connection
from fabric.brokers.amqp import work_reader as amqp_work
from fabric.brokers.embedded import keeper
from fabric.brokers.nats import adapter as nats
from fabric.brokers.nats import connection as nats_connection
from fabric.brokers.nats import jetstream
from fabric.brokers.nats import work_reader as nats_work
from fabric.brokers.redis import adapter as redis
from fabric.brokers.redis import blocking_reader as redis_reads
from fabric.brokers.redis import inbox_reader as redis_inbox
from fabric.brokers.redis import work_reader as redis_work
from tests.pages import DOCS, table

PAGE = DOCS / "spec" / "channels.md"
PROSE = " ".join(PAGE.read_text().split())
MIB = 1024 * 1024


@pytest.mark.parametrize(("fabric", "kind", "name", "channel"), table(PAGE, "fabric"))
def test_each_example_on_the_page_is_the_name_that_the_code_gives(fabric: str, kind: str, name: str, channel: str) -> None:
    assert channel_name(fabric, Channel(ChannelKind(kind), name)) == channel


def test_the_page_lists_the_channel_kinds_of_the_code() -> None:
    assert [row[0] for row in table(PAGE, "kind | name")] == list(ChannelKind)


@pytest.mark.parametrize(
    "words",
    [
        f"longer than {MAX_NAME_BYTES} bytes when escaped",
        f"`max_payload` less {nats.HEADER_RESERVE_BYTES} bytes.",
        f"The embedded server takes {keeper.LARGEST_PAYLOAD_BYTES // MIB} MiB",
        f"per subject beyond {jetstream.MOST_WORK} messages, a message is kept {jetstream.WORK_TTL} s",
        f"acknowledgement after at most {nats_work.ACK_WAIT} s, any number pending, gone {nats_work.INACTIVE} s after",
        f"refuses what comes (error {jetstream.QUEUE_FULL})",
        f"request for at most {nats_work.MOST_WORK_AT_ONCE} messages standing for {nats_work.PULL:g} s",
        f"Every {nats_connection.PULSE:g} s it says `+WPI`",
        f"The largest body is {redis.LARGEST_MESSAGE_BYTES // MIB} MiB",
        f"group `{redis_work.GROUP}`",
        f"the channel's name and `{redis_work.consumers('')}`",
        f"refused beyond {redis.MOST_WORK} entries",
        f"{redis_work.WORK_TTL} s after the last publish",
        f"{redis_inbox.INBOX_TTL} s after its owner's last sign of life",
        f"shows every {redis.PULSE:g} s that it lives",
        f"`XREADGROUP`, at most {redis_work.MOST_WORK_AT_ONCE} entries at once, waiting {redis_reads.BLOCK:g} s",
        f"`XREAD` from `0-0` on, at most {redis_inbox.MOST_MESSAGES_AT_ONCE} entries at once",
        f"not renewed for {redis_work.CLAIM_AFTER:g} s is claimed",
        f"silent for {redis_work.FORGET_AFTER} s and holds nothing",
        f"The largest body is {amqp.LARGEST_MESSAGE_BYTES // MIB} MiB. A fabric has one exchange",
        f"`x-expires` {amqp.WORK_TTL * 1000}, `x-max-length` {amqp.MOST_WORK}, `x-overflow` `reject-publish`",
        f"again after {amqp.DECLARE_EVERY:g} s of use",
        f"lives {amqp.WORK_TTL} s after its last declaration",
        f"at most {amqp_work.MOST_WORK_AT_ONCE} messages, and it cancels",
        f"The heartbeat is {amqp_connection.HEARTBEAT} s",
        f"takes bodies of {memory.LARGEST_MESSAGE_BYTES // MIB} MiB",
        f"when each reader has {mailbox.LARGEST_MAILBOX_BYTES // MIB} MiB waiting",
    ],
)
def test_the_page_gives_each_figure_of_the_code(words: str) -> None:
    assert words in PROSE


def test_no_escaped_name_can_be_the_set_of_consumers() -> None:
    assert "." not in escape("a.consumers")

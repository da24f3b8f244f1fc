"""PublishReport: what PublishFailed says of a publish of which some messages were refused or may not have arrived."""

from __future__ import annotations

import pytest

from fabric.brokers.publish_report import PublishReport
from fabric.errors import BrokerDenied, BrokerReset, PublishFailed


def failure(report: PublishReport, *unknown: int, loss: BrokerReset | None = None) -> PublishFailed:
    with pytest.raises(PublishFailed) as raised:
        report.conclude(unknown, loss=loss, unconfirmed="not confirmed")
    return raised.value


def test_nothing_is_raised_where_everything_was_published() -> None:
    PublishReport().conclude()


def test_the_reason_is_that_of_the_first_message_that_was_refused() -> None:
    report = PublishReport()
    report.refuse(3, "the queue is full")
    report.refuse(1, "too long")
    failed = failure(report)
    assert (str(failed), failed.unsent, failed.unknown, failed.__cause__) == ("too long", (1, 3), (), None)


def test_a_missing_right_is_the_cause_wherever_it_stands() -> None:
    report, denied = PublishReport(), BrokerDenied("may not publish there")
    report.refuse(2, denied)
    report.refuse(0, "too long")
    failed = failure(report)
    assert (str(failed), failed.unsent, failed.__cause__) == ("too long", (0, 2), denied)


def test_a_lost_connection_explains_what_is_unknown() -> None:
    report, loss = PublishReport(), BrokerReset("the connection was closed")
    report.refuse(0, "too long")
    failed = failure(report, 1, 2, loss=loss)
    assert (str(failed), failed.unsent, failed.unknown, failed.__cause__) == ("the connection was closed", (0,), (1, 2), loss)


def test_a_lost_connection_does_no_harm_to_what_was_published_before() -> None:
    PublishReport().conclude(loss=BrokerReset("the connection was closed"))


def test_without_a_loss_the_adapter_says_why_nothing_is_known() -> None:
    failed = failure(PublishReport(), 0)
    assert (str(failed), failed.unsent, failed.unknown) == ("not confirmed", (), (0,))

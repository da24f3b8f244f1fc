"""PublishReport: the PublishFailed error for a publish of which messages were refused or may not have arrived."""

from __future__ import annotations

import pytest

from fabric.brokers.publish_report import PublishReport
from fabric.errors import BrokerDenied, BrokerReset, PublishFailed


def failure(report: PublishReport, *unknown: int, loss: BrokerReset | None = None) -> PublishFailed:
    with pytest.raises(PublishFailed) as raised:
        report.conclude(unknown, loss=loss, unconfirmed="not confirmed")
    return raised.value


def test_a_complete_publish_raises_nothing() -> None:
    PublishReport().conclude()


def test_the_error_gives_the_reason_of_the_first_refused_message() -> None:
    report = PublishReport()
    report.refuse(3, "the queue is full")
    report.refuse(1, "too long")
    failed = failure(report)
    assert (str(failed), failed.unsent, failed.unknown, failed.__cause__) == ("too long", (1, 3), (), None)


def test_a_missing_right_is_the_cause_of_the_error_in_any_position() -> None:
    report, denied = PublishReport(), BrokerDenied("may not publish there")
    report.refuse(2, denied)
    report.refuse(0, "too long")
    failed = failure(report)
    assert (str(failed), failed.unsent, failed.__cause__) == ("too long", (0, 2), denied)


def test_a_lost_connection_is_the_reason_for_messages_of_unknown_outcome() -> None:
    report, loss = PublishReport(), BrokerReset("the connection was closed")
    report.refuse(0, "too long")
    failed = failure(report, 1, 2, loss=loss)
    assert (str(failed), failed.unsent, failed.unknown, failed.__cause__) == ("the connection was closed", (0,), (1, 2), loss)


def test_a_lost_connection_does_not_fail_a_publish_that_was_complete() -> None:
    PublishReport().conclude(loss=BrokerReset("the connection was closed"))


def test_without_a_loss_the_error_gives_the_adapters_reason() -> None:
    failed = failure(PublishReport(), 0)
    assert (str(failed), failed.unsent, failed.unknown) == ("not confirmed", (), (0,))

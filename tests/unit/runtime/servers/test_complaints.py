"""Complaints about a server that keeps failing: each reason is logged once, and again after a steady time."""

from fabric.runtime.servers.complaints import RELAPSES, STEADY, Complaints


def test_a_reason_is_news_once_and_again_when_it_changes() -> None:
    complaints = Complaints()
    news = [complaints.is_news(reason, 0.0) for reason in ("no database", "no database", "status 1", "status 2", "no database")]
    assert news == [True, False, True, True, False]


def test_times_process_ids_and_addresses_do_not_make_a_reason_new() -> None:
    complaints = Complaints()
    assert complaints.is_news("2026-11-29 10:00:01,123 [4711] no database at 0x7f8e", 0.0)
    assert not complaints.is_news("2026-11-29 10:00:11,456 [4722] no database at 0x7a01", 10.0)


def test_a_server_that_keeps_failing_is_news_a_few_times_and_again_after_a_long_steady_time() -> None:
    complaints, news = Complaints(), []
    for now in range(10):
        complaints.serving(now)
        news.append(complaints.is_news("it fell over", now))
        complaints.paused()
    assert news == [True] * RELAPSES + [False] * (10 - RELAPSES)
    complaints.serving(10.0)
    assert not complaints.is_news("it fell over", 10.0)
    assert complaints.is_news("it fell over", 10.0 + STEADY)

"""A session: which of its requests a cancel ends, and which stream each message of the server belongs to."""

from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.sessions.session import Session
from fabric.envelope import Envelope, Kind
from fabric.mcp import jsonrpc


def job(exchange: str, client_id: bytes = b"1", *, kind: Kind = Kind.REQUEST) -> Job:
    return job_of("edge", Envelope(kind=kind, exchange=exchange, client_id=client_id), 0, 0.0, queued=False)


def session() -> Session:
    opened = Session("s", "server", "child", job("s", kind=Kind.OPEN), 0.0)
    opened.jobs.clear()
    return opened


def parsed(text: str) -> jsonrpc.Message:
    return jsonrpc.parse(text.encode())


def test_the_newest_request_of_an_id_is_the_one_to_cancel() -> None:
    open = session()
    for exchange, id in (("a", b"1"), ("b", b'"1"'), ("c", b"1"), ("d", b"2")):
        open.join(job(exchange, id))
    newest = open.newest(b"1")
    assert newest is not None
    assert newest.exchange == "c"
    assert open.newest(b"9") is None


def test_each_message_belongs_to_the_stream_of_its_request_or_to_the_sessions_own() -> None:
    open = session()
    progress = parsed('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a","progress":1}}')
    log = parsed('{"jsonrpc":"2.0","method":"notifications/message","params":{}}')
    changed = parsed('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    assert open.related(log) is None
    a, b = job("a"), job("b")
    open.join(a)
    open.join(b)
    assert open.related(progress) is a
    assert open.related(log) is b
    assert open.related(changed) is b  # nothing else is open
    open.own.edge = "edge"
    assert open.related(changed) is None


def test_a_message_that_names_no_request_belongs_to_the_newest_one_though_its_stream_is_unread() -> None:
    open = session()
    log = parsed('{"jsonrpc":"2.0","method":"notifications/message","params":{}}')
    older, newer = job("older"), job("newer")
    for each in (older, newer):
        open.join(each)
        stream = open.resumable(each)
        assert stream is not None
        stream.leave()
    assert open.related(log) is newer
    open.own.edge = "edge"
    assert open.related(log) is None

"""A pool: a probe that finds the era, warm processes for sessions, and restarts that wait longer each time."""

from fabric import jsonrpc
from fabric.core.announcement import Health
from fabric.core.deadlines import Deadlines
from fabric.core.effects import Effect, StartServer, StopServer, Write
from fabric.core.pool import PROBE_TIMEOUT, Pool, ServerLimits

MODERN = b'"result":{"supportedVersions":["2026-07-28"]}'
DUAL = b'"result":{"supportedVersions":["2026-07-28","2025-11-25"]}'
UNKNOWN = b'"error":{"code":-32601,"message":"unknown"}'


class Scene:
    """A pool that has started its first process."""

    def __init__(self, **limits: int) -> None:
        self.out: list[Effect] = []
        self.deadlines = Deadlines()
        self.pool = Pool("s", ServerLimits(digest="d", **limits), self.deadlines, self.out)
        self.pool.start(0.0)
        self.first = next(iter(self.pool.children.values()))

    def of(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.out if type(effect) is kind]

    def up(self, answer: bytes, now: float = 0.1) -> None:
        """The newest process runs and answers the newest question."""
        child = list(self.pool.children.values())[-1]
        self.pool.started(child)
        self.reply(answer, now)

    def reply(self, answer: bytes, now: float = 0.1) -> None:
        question = self.of(Write)[-1]
        assert isinstance(question, Write)
        id = jsonrpc.parse(question.frame).id
        message = jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b"," + answer + b"}")
        assert self.pool.probed(self.pool.children[question.child], jsonrpc.text(id), message, now)


def test_a_modern_server_shares_the_process_that_was_probed() -> None:
    scene = Scene()
    assert scene.of(Write) == []  # nothing is written before it runs
    scene.up(MODERN)
    assert scene.pool.health is Health.HEALTHY
    assert scene.pool.shared() is scene.first
    assert len(scene.of(StartServer)) == 1


def test_a_legacy_server_is_asked_twice_and_gets_fresh_processes_for_sessions() -> None:
    scene = Scene(warm=2, most=3)
    scene.up(UNKNOWN)
    scene.reply(b'"result":{"protocolVersion":"2025-11-25"}')
    assert scene.pool.eras == ("legacy",)
    assert scene.of(StopServer) == [StopServer(scene.first.id)]
    assert scene.pool.shared() is None
    warm = list(scene.pool.children.values())
    assert [scene.pool.for_session(id, 1.0) for id in "ab"] == warm
    assert scene.pool.for_session("c", 1.0) is not None
    assert scene.pool.for_session("d", 1.0) is None
    assert scene.pool.full


def test_a_server_that_dies_of_the_modern_question_is_asked_the_legacy_one() -> None:
    scene = Scene()
    scene.pool.started(scene.first)
    scene.pool.exited(scene.first, "died", 0.1)
    scene.up(b'"result":{"protocolVersion":"2025-11-25"}', 0.2)
    assert scene.pool.eras == ("legacy",)


def test_a_silent_server_is_unhealthy_after_both_questions() -> None:
    scene = Scene()
    scene.pool.started(scene.first)
    scene.pool.silent(PROBE_TIMEOUT)
    assert scene.pool.describe(True).health is Health.STARTING
    scene.pool.silent(2 * PROBE_TIMEOUT)
    assert scene.pool.describe(True).health is Health.UNHEALTHY
    assert "neither" in scene.pool.reason
    assert not scene.pool.children


def test_a_server_that_dies_at_start_is_started_again_later_each_time() -> None:
    scene = Scene()
    now, waits = 0.0, []
    for _ in range(9):
        child = next(iter(scene.pool.children.values()))
        scene.pool.exited(child, "no such command", now)
        due = scene.deadlines.next()
        assert due is not None
        waits.append(round(due - now, 3))
        now = due
        scene.deadlines.expired(now)
        scene.pool.start(now)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert scene.pool.describe(True).reason == "no such command"
    assert scene.pool.describe(True).free == 0


def test_a_warm_process_that_dies_young_does_not_take_the_shared_one_with_it() -> None:
    scene = Scene()
    scene.up(DUAL)
    warm = list(scene.pool.children.values())[-1]
    assert warm is not scene.first
    scene.pool.exited(warm, "died", 1.0)
    assert scene.pool.shared() is scene.first
    assert scene.pool.health is Health.HEALTHY

"""A probe: which questions a new process gets, in which order, and what its answers show."""

import pytest

from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.probe import SECOND_QUESTION, Known, Probe, Step, configured
from fabric.mcp import jsonrpc
from fabric.mcp.eras import LEGACY, MODERN

DISCOVERED = b'"result":{"supportedVersions":["2026-07-28"]}'
BOTH = b'"result":{"supportedVersions":["2026-07-28","2025-11-25"]}'
INITIALIZED = b'"result":{"protocolVersion":"2025-11-25"}'
UNKNOWN = b'"error":{"code":-32601,"message":"no such method"}'
TIMEOUT = 120.0


class Scene:
    """A probe that has begun, and what it asks."""

    def __init__(self, known: Known | None = None) -> None:
        self.child = Child("s", "s#1", "b", 0.0)
        self.child.started = True
        self.probe = Probe(self.child, known or Known(), 0.0, TIMEOUT)
        self.asked: list[jsonrpc.Message] = []
        self._took(Step(write=self.probe.begin()))

    def _took(self, step: Step | None) -> Step:
        assert step is not None
        if step.write:
            self.asked.append(jsonrpc.parse(step.write))
        return step

    @property
    def methods(self) -> list[str]:
        return [message.method for message in self.asked]

    def late(self) -> Step:
        return self._took(self.probe.late(self.probe.due))

    def reply(self, method: str, answer: bytes) -> Step:
        [id] = [message.id for message in self.asked if message.method == method]
        message = jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b"," + answer + b"}")
        return self._took(self.probe.answered(jsonrpc.text(id), message))


def found(step: Step) -> tuple[tuple[str, ...], bool]:
    assert step.found is not None
    return step.found.eras, step.found.early


def test_a_modern_server_is_recognised_by_its_first_answer() -> None:
    for answer, eras in ((DISCOVERED, (MODERN,)), (BOTH, (MODERN, LEGACY))):
        scene = Scene()
        assert found(scene.reply("server/discover", answer)) == (eras, False)
        assert scene.methods == ["server/discover"]


def test_a_legacy_server_that_refuses_discovery_is_initialized_and_may_get_early_requests() -> None:
    scene = Scene()
    assert scene.reply("server/discover", UNKNOWN).found is None
    assert scene.methods == ["server/discover", "initialize"]
    assert found(scene.reply("initialize", INITIALIZED)) == ((LEGACY,), True)


def test_a_server_that_ignores_discovery_is_initialized_and_gets_no_early_request_again() -> None:
    scene = Scene()
    assert scene.probe.due == SECOND_QUESTION
    scene.late()
    assert found(scene.reply("initialize", INITIALIZED)) == ((LEGACY,), False)


@pytest.mark.parametrize(
    ("method", "answer", "eras"), [("server/discover", DISCOVERED, (MODERN,)), ("initialize", INITIALIZED, (LEGACY,))]
)
def test_the_probe_with_a_good_answer_counts_when_two_are_open(method: str, answer: bytes, eras: tuple[str, ...]) -> None:
    scene = Scene()
    scene.late()
    other = "initialize" if method == "server/discover" else "server/discover"
    assert scene.reply(other, UNKNOWN) == Step()
    assert found(scene.reply(method, answer))[0] == eras


def test_a_process_may_use_its_whole_start_timeout() -> None:
    scene = Scene()
    assert scene.late().failure == ""
    assert scene.probe.due == TIMEOUT
    failure = scene.late().failure
    assert failure == (
        "it answered neither server/discover nor initialize within 120 s; startTimeout says how long it may take, "
        'era: "legacy" spares it server/discover'
    )


def test_a_server_that_refuses_both_probes_fails_with_its_own_reason() -> None:
    scene = Scene()
    scene.reply("server/discover", UNKNOWN)
    failure = scene.reply("initialize", b'"error":{"code":-32600,"message":"no such server"}').failure
    assert failure == "it answers neither server/discover nor initialize: no such server"


@pytest.mark.parametrize(("eras", "method"), [((LEGACY,), "initialize"), ((MODERN,), "server/discover")])
def test_a_known_era_is_probed_first_and_the_other_only_when_it_proves_wrong(eras: tuple[str, ...], method: str) -> None:
    known = Known(eras=eras, early=True)
    scene = Scene(known)
    scene.late()
    assert scene.methods == [method]
    scene.reply(method, UNKNOWN)
    [_, other] = scene.methods
    answer, now = (INITIALIZED, (LEGACY,)) if other == "initialize" else (DISCOVERED, (MODERN,))
    assert found(scene.reply(other, answer))[0] == now


@pytest.mark.parametrize(("era", "method"), [(LEGACY, "initialize"), (MODERN, "server/discover")])
def test_a_server_with_a_configured_era_gets_only_the_probe_of_that_era(era: str, method: str) -> None:
    scene = Scene(configured(era))
    scene.late()
    assert scene.reply(method, UNKNOWN).failure == f"it does not answer {method}: no such method"
    assert scene.methods == [method]
    scene = Scene(configured(era))
    assert "did not answer" in (scene.late().failure or scene.late().failure)


def test_only_an_open_discovery_may_have_harmed_a_process() -> None:
    scene = Scene()
    assert scene.probe.may_have_harmed
    scene.late()
    assert scene.probe.may_have_harmed
    scene.reply("server/discover", UNKNOWN)
    assert not scene.probe.may_have_harmed
    assert not Scene(Known(eras=(LEGACY,))).probe.may_have_harmed
    scene = Scene()
    scene.child.started = False
    assert not scene.probe.may_have_harmed


def test_answers_to_other_requests_are_not_the_probes() -> None:
    scene = Scene()
    answer = jsonrpc.parse(b'{"jsonrpc":"2.0","id":"x","result":{}}')
    for id in ("x", "probe initialize", "probe x", ""):
        assert scene.probe.answered(id, answer) is None

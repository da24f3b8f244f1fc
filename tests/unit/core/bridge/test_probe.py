"""A probe: which requests a new process gets, in which order, and what its answers show."""

import pytest

from fabric.core.bridge.processes.child import Child
from fabric.core.bridge.processes.probe import SECOND_REQUEST, Known, Probe, Step, configured
from fabric.mcp import jsonrpc
from fabric.mcp.eras import LEGACY, MODERN

DISCOVERED = b'"result":{"supportedVersions":["2026-07-28"]}'
BOTH = b'"result":{"supportedVersions":["2026-07-28","2025-11-25"]}'
INITIALIZED = b'"result":{"protocolVersion":"2025-11-25"}'
UNKNOWN = b'"error":{"code":-32601,"message":"no such method"}'
TIMEOUT = 120.0


class DrivenProbe:
    """A probe that has begun, and the requests that it has sent."""

    def __init__(self, known: Known | None = None) -> None:
        self.child = Child("s", "s#1", "b", 0.0)
        self.child.started = True
        self.probe = Probe(self.child, known or Known(), 0.0, TIMEOUT)
        self.questions: list[jsonrpc.Message] = []
        self._took(Step(write=self.probe.begin()))

    def _took(self, step: Step | None) -> Step:
        assert step is not None
        if step.write:
            self.questions.append(jsonrpc.parse(step.write))
        return step

    @property
    def methods(self) -> list[str]:
        return [message.method for message in self.questions]

    def late(self) -> Step:
        return self._took(self.probe.late(self.probe.due))

    def reply(self, method: str, answer: bytes) -> Step:
        [id] = [message.id for message in self.questions if message.method == method]
        message = jsonrpc.parse(b'{"jsonrpc":"2.0","id":' + id + b"," + answer + b"}")
        return self._took(self.probe.answered(jsonrpc.text(id), message))


def judgement(step: Step) -> tuple[tuple[str, ...], bool]:
    assert step.found is not None
    return step.found.eras, step.found.early


def test_a_modern_server_is_recognised_by_its_first_answer() -> None:
    for answer, eras in ((DISCOVERED, (MODERN,)), (BOTH, (MODERN, LEGACY))):
        driven = DrivenProbe()
        assert judgement(driven.reply("server/discover", answer)) == (eras, False)
        assert driven.methods == ["server/discover"]


def test_a_legacy_server_that_refuses_discovery_is_initialized_and_may_get_early_requests() -> None:
    driven = DrivenProbe()
    assert driven.reply("server/discover", UNKNOWN).found is None
    assert driven.methods == ["server/discover", "initialize"]
    assert judgement(driven.reply("initialize", INITIALIZED)) == ((LEGACY,), True)


def test_a_server_that_ignores_discovery_is_initialized_and_gets_no_early_request_again() -> None:
    driven = DrivenProbe()
    assert driven.probe.due == SECOND_REQUEST
    driven.late()
    assert judgement(driven.reply("initialize", INITIALIZED)) == ((LEGACY,), False)


@pytest.mark.parametrize(
    ("method", "answer", "eras"), [("server/discover", DISCOVERED, (MODERN,)), ("initialize", INITIALIZED, (LEGACY,))]
)
def test_the_probe_with_a_good_answer_counts_when_two_are_open(method: str, answer: bytes, eras: tuple[str, ...]) -> None:
    driven = DrivenProbe()
    driven.late()
    other = "initialize" if method == "server/discover" else "server/discover"
    assert driven.reply(other, UNKNOWN) == Step()
    assert judgement(driven.reply(method, answer))[0] == eras


def test_a_process_may_use_its_whole_start_timeout() -> None:
    driven = DrivenProbe()
    assert driven.late().failure == ""
    assert driven.probe.due == TIMEOUT
    failure = driven.late().failure
    assert failure == (
        "it answered neither server/discover nor initialize within 120 s; startTimeout says how long it may take, "
        'era: "legacy" spares it server/discover'
    )


def test_a_server_that_refuses_both_probes_fails_with_its_own_reason() -> None:
    driven = DrivenProbe()
    driven.reply("server/discover", UNKNOWN)
    failure = driven.reply("initialize", b'"error":{"code":-32600,"message":"no such server"}').failure
    assert failure == "it answers neither server/discover nor initialize: no such server"


@pytest.mark.parametrize(("eras", "method"), [((LEGACY,), "initialize"), ((MODERN,), "server/discover")])
def test_a_known_era_is_probed_first_and_the_other_only_when_it_proves_wrong(eras: tuple[str, ...], method: str) -> None:
    known = Known(eras=eras, early=True)
    driven = DrivenProbe(known)
    driven.late()
    assert driven.methods == [method]
    driven.reply(method, UNKNOWN)
    [_, other] = driven.methods
    answer, now = (INITIALIZED, (LEGACY,)) if other == "initialize" else (DISCOVERED, (MODERN,))
    assert judgement(driven.reply(other, answer))[0] == now


@pytest.mark.parametrize(("era", "method"), [(LEGACY, "initialize"), (MODERN, "server/discover")])
def test_a_server_with_a_configured_era_gets_only_the_probe_of_that_era(era: str, method: str) -> None:
    driven = DrivenProbe(configured(era))
    driven.late()
    assert driven.reply(method, UNKNOWN).failure == f"it does not answer {method}: no such method"
    assert driven.methods == [method]
    driven = DrivenProbe(configured(era))
    assert "did not answer" in (driven.late().failure or driven.late().failure)


def test_only_an_open_discovery_may_have_harmed_a_process() -> None:
    driven = DrivenProbe()
    assert driven.probe.may_have_harmed
    driven.late()
    assert driven.probe.may_have_harmed
    driven.reply("server/discover", UNKNOWN)
    assert not driven.probe.may_have_harmed
    assert not DrivenProbe(Known(eras=(LEGACY,))).probe.may_have_harmed
    driven = DrivenProbe()
    driven.child.started = False
    assert not driven.probe.may_have_harmed


def test_answers_to_other_requests_are_not_the_probes() -> None:
    driven = DrivenProbe()
    answer = jsonrpc.parse(b'{"jsonrpc":"2.0","id":"x","result":{}}')
    for id in ("x", "probe initialize", "probe x", ""):
        assert driven.probe.answered(id, answer) is None

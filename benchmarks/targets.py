"""The targets of the benchmark: servers on free loopback ports, each with the pids of its root processes."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.broker import Broker, own_broker
from benchmarks.peers import PEERS, Peer
from benchmarks.relay import ECHO
from benchmarks.starting import StartError, announced, running

LEGACY, REPEATABLE, GRANTED = "legacy session", "modern, repeatable", "modern, granted"
MODES = {LEGACY: (False, "echo"), REPEATABLE: (True, "echo"), GRANTED: (True, "act")}
"""The kinds of call: whether it is modern, and its tool."""
TRANSPORTS = ("http", "ws", "tcp", "unix", "stdio")
_SCRIPTS = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Running:
    """A started target."""

    urls: dict[str, str]
    """The URL of the stdio echo by transport."""
    pids: list[int]
    """The root processes, including those of its broker."""


@dataclass(frozen=True)
class Target:
    """A server to measure."""

    start: Callable[[], AbstractContextManager[Running]]
    transports: tuple[str, ...] = ("http",)
    modes: tuple[str, ...] = tuple(MODES)
    """The kinds of call that are measured."""
    sessions: int = 8
    """Sessions that share the calls in flight."""
    peer: bool = False
    """It is another project: its failure is a result, and does not end the run."""


@contextmanager
def _module(name: str, stdio: Sequence[str] = ()) -> Iterator[Running]:
    """Run a module of this package, which prints its addresses; `stdio` is the command of its stdio sessions."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        command = [sys.executable, "-m", f"benchmarks.{name}", f"{directory}/socket"]
        with running(command, announced, PYTHONPATH=str(_ROOT)) as (pid, addresses):
            yield Running({url.partition(":")[0]: url for url in [*addresses.split(), f"stdio:{shlex.join(stdio)}"]}, [pid])


@contextmanager
def _fabric(broker: Broker | None = None, *, listeners: bool = False, apart: bool = False) -> Iterator[Running]:
    """The fabric with the stdio echo as its only server: `mcp-fabric up`, or apart: an edge and a bridge."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory, ExitStack() as stack:
        config = Path(directory, "mcp.json")
        config.write_text(json.dumps({"mcpServers": {"echo": {"command": ECHO[0], "args": ECHO[1:]}}}))
        program, unix, state = str(_SCRIPTS / "mcp-fabric"), f"{directory}/socket", Path(directory, "state")
        if not Path(program).exists():
            raise StartError(f"{program} is missing: install the project into this environment first")
        at = ["--broker", broker.url] if broker else []
        secret = (
            {"FABRIC_SECRET": secrets.token_hex(32)} if broker else {}
        )  # without a broker URL, the state folder has its own secret
        environment = {"FABRIC_STATE": str(state), **secret}
        pids = list(broker.pids) if broker else []
        if apart:
            bridge = [program, "bridge", str(config), *at]
            pids.append(
                stack.enter_context(running(bridge, lambda output: "ready" if "ready" in output else None, **environment))[0]
            )
        command = [program, "edge" if apart else "up", str(config), "--http", "127.0.0.1:0", *at]
        command += ["--tcp", "127.0.0.1:0=echo", "--unix", f"{unix}=echo"] if listeners else []
        pid, addresses = stack.enter_context(running(command, announced, **environment))
        if not broker:
            # The keeper of the embedded broker is a daemon outside the tree; its CPU has to count as well.
            pids.append(json.loads((state / "broker.json").read_text())["keeper"])
        host, *others = [address.rstrip("/").partition("://")[2].removesuffix("=echo") for address in addresses.split()]
        urls = {
            "http": f"http://{host}/echo/mcp",
            "ws": f"ws://{host}/echo/ws",
            "tcp": f"tcp://{others[0] if listeners else ''}",
            "unix": f"unix://{unix}",
            "stdio": f"stdio:{shlex.join(['env', f'FABRIC_STATE={state}', program, 'connect', 'echo'])}",
        }
        yield Running(urls, [pid, *pids])


@contextmanager
def _fabric_on(name: str) -> Iterator[Running]:
    with own_broker(name) as broker, _fabric(broker) as fabric:
        yield fabric


@contextmanager
def _peer(peer: Peer) -> Iterator[Running]:
    with peer.started() as (pid, url):
        yield Running({url.partition(":")[0]: url}, [pid])


_LINK = ("env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", "benchmarks.links")

TARGETS = {
    "ceiling": Target(partial(_module, "ceiling", ECHO), TRANSPORTS, (LEGACY,)),
    "links": Target(partial(_module, "links", _LINK), TRANSPORTS, (LEGACY,), sessions=1),
    "relay": Target(partial(_module, "relay"), modes=(LEGACY, REPEATABLE)),
    "embedded": Target(partial(_fabric, listeners=True), ("http", "ws", "tcp", "unix")),
    "apart": Target(partial(_fabric, apart=True)),
    "connect": Target(_fabric, ("stdio",), (LEGACY, REPEATABLE)),
    **{name: Target(partial(_fabric_on, name)) for name in ("memory", "nats", "jetstream", "redis", "amqp")},
    **{name: Target(partial(_peer, peer), (peer.transport,), (LEGACY,), peer=True) for name, peer in PEERS.items()},
}
"""By name: the limit of the client; each link alone; the relay; the fabric over each listener, with edge and bridge in two
processes, over a `connect` for each session, and on each broker; peers."""

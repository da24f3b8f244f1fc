"""What is measured: servers started on free loopback ports, each with the pids its processes descend from."""

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
"""What a call is: whether it is modern, and the tool."""
TRANSPORTS = ("http", "ws", "tcp", "unix", "stdio")
_SCRIPTS = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Running:
    """A server under load: its URL for the stdio echo by transport, and the roots of all its processes, its broker included."""

    urls: dict[str, str]
    pids: list[int]


@dataclass(frozen=True)
class Target:
    """How a server is started, and what is measured of it.

    sessions: over how many the calls in flight are spread. peer: a failure of it is a result, and not the end of the run.
    """

    start: Callable[[], AbstractContextManager[Running]]
    transports: tuple[str, ...] = ("http",)
    modes: tuple[str, ...] = tuple(MODES)
    sessions: int = 8
    peer: bool = False


@contextmanager
def _module(name: str, stdio: Sequence[str] = ()) -> Iterator[Running]:
    """A module of this package that names its addresses when it is ready; and what is started for each stdio session of it."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        command = [sys.executable, "-m", f"benchmarks.{name}", f"{directory}/socket"]
        with running(command, announced, PYTHONPATH=str(_ROOT)) as (pid, addresses):
            yield Running({url.partition(":")[0]: url for url in [*addresses.split(), f"stdio:{shlex.join(stdio)}"]}, [pid])


@contextmanager
def _fabric(broker: Broker | None = None, *, doors: bool = False, apart: bool = False) -> Iterator[Running]:
    """The fabric with the stdio echo as its only server: `mcp-fabric up`, or apart: an edge and a bridge."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory, ExitStack() as stack:
        config = Path(directory, "mcp.json")
        config.write_text(json.dumps({"mcpServers": {"echo": {"command": ECHO[0], "args": ECHO[1:]}}}))
        program, unix, state = str(_SCRIPTS / "mcp-fabric"), f"{directory}/socket", Path(directory, "state")
        if not Path(program).exists():
            raise StartError(f"{program} is not there: install the project into this environment first")
        at = ["--broker", broker.url] if broker else []
        secret = {"FABRIC_SECRET": secrets.token_hex(32)} if broker else {}  # without one, the state folder has its own
        environment = {"FABRIC_STATE": str(state), **secret}
        pids = list(broker.pids) if broker else []
        if apart:
            bridge = [program, "bridge", str(config), *at]
            pids.append(
                stack.enter_context(running(bridge, lambda said: "ready" if "ready" in said else None, **environment))[0]
            )
        command = [program, "edge" if apart else "up", str(config), "--http", "127.0.0.1:0", *at]
        command += ["--tcp", "127.0.0.1:0=echo", "--unix", f"{unix}=echo"] if doors else []
        pid, addresses = stack.enter_context(running(command, announced, **environment))
        if not broker:
            # The embedded broker hangs on a keeper that is nobody's child; a fabric that hides it must not get off cheaper.
            pids.append(json.loads((state / "broker.json").read_text())["keeper"])
        host, *others = [address.rstrip("/").partition("://")[2].removesuffix("=echo") for address in addresses.split()]
        urls = {
            "http": f"http://{host}/echo/mcp",
            "ws": f"ws://{host}/echo/ws",
            "tcp": f"tcp://{others[0] if doors else ''}",
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
    "embedded": Target(partial(_fabric, doors=True), ("http", "ws", "tcp", "unix")),
    "apart": Target(partial(_fabric, apart=True)),
    "connect": Target(_fabric, ("stdio",), (LEGACY, REPEATABLE)),
    **{name: Target(partial(_fabric_on, name)) for name in ("memory", "nats", "jetstream", "redis", "amqp")},
    **{name: Target(partial(_peer, peer), (peer.transport,), (LEGACY,), peer=True) for name, peer in PEERS.items()},
}
"""By name: what the client can reach; each link alone; the limit; the fabric through each door, with edge and bridge apart,
through a `connect` for each session, and on each broker; peers."""

"""Other proxies that put a stdio server behind HTTP or WebSocket, with exact versions.

`python -m benchmarks.peers` installs those that are missing. To raise a version, edit its line.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.packages import SEARCH, Package, install
from benchmarks.relay import ECHO
from benchmarks.starting import accepts, free_port, running


@dataclass(frozen=True)
class Peer:
    """One of these proxies."""

    package: Package
    arguments: Callable[[int, Path], list[str]]
    """Its program's arguments for a port and an mcpServers file."""
    url: str
    """Where it serves, with {port} for the port."""

    @property
    def transport(self) -> str:
        """Its URL's scheme."""
        return self.url.partition(":")[0]

    @contextmanager
    def started(self) -> Iterator[tuple[int, str]]:
        """Run it in front of the stdio echo until the block ends; yields its pid and URL. Raises StartError."""
        with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
            settings, port = Path(directory, "mcp.json"), free_port()
            settings.write_text(json.dumps({"mcpServers": {"echo": {"command": ECHO[0], "args": ECHO[1:]}}}))
            command, url = [*self.package.command(), *self.arguments(port, settings)], self.url.format(port=port)
            with running(command, accepts(port, url), PATH=SEARCH) as started:
                yield started


def _mcp_proxy_py(port: int, _: Path) -> list[str]:
    return ["--port", str(port), "--pass-environment", "--", *ECHO]


def _mcp_proxy_npm(port: int, _: Path) -> list[str]:
    return ["--host", "127.0.0.1", "--port", str(port), "--server", "stream", "--", *ECHO]


def _supergateway(transport: str, *more: str) -> Callable[[int, Path], list[str]]:
    common = ["--stdio", shlex.join(ECHO), "--logLevel", "none", "--outputTransport", transport, *more]
    return lambda port, _: [*common, "--port", str(port)]


def _fastmcp(port: int, settings: Path) -> list[str]:
    return ["run", str(settings), "--transport", "http", "--port", str(port), "--no-banner", "--log-level", "ERROR"]


_SUPERGATEWAY = Package("supergateway@4.0.0")
PEERS = {
    "mcp-proxy-py": Peer(Package("mcp-proxy==0.13.0"), _mcp_proxy_py, "http://127.0.0.1:{port}/mcp"),
    "mcp-proxy-npm": Peer(Package("mcp-proxy@6.7.19"), _mcp_proxy_npm, "http://127.0.0.1:{port}/mcp"),
    "supergateway": Peer(_SUPERGATEWAY, _supergateway("streamableHttp", "--stateful"), "http://127.0.0.1:{port}/mcp"),
    "supergateway-ws": Peer(_SUPERGATEWAY, _supergateway("ws"), "ws://127.0.0.1:{port}/message"),
    "fastmcp": Peer(Package("fastmcp==4.1.2"), _fastmcp, "http://127.0.0.1:{port}/mcp"),
}
"""By their names in the results."""


if __name__ == "__main__":
    install(peer.package for peer in PEERS.values())

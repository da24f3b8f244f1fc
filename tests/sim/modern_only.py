"""A simulated server that speaks only the modern revision: it refuses whatever a client of an older era would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.mcp import jsonrpc
from fabric.mcp.across_eras.modern_requests import LOG_LEVEL
from tests.sim.servers import Era, SimServer

if TYPE_CHECKING:
    from tests.sim.process import BridgeProcess
    from tests.sim.world import World

META = tuple(f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities"))
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "completions": {},
    "extensions": {"x.example/e": {}},
}
KINDS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
LEGACY_ONLY = frozenset(("ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"))


class ModernOnly(SimServer):
    """One process. Beside those of SimServer, the arguments of a call are:

    rounds   how often it asks for input; once where only `ask` is given
    inputs   for how many inputs each time
    states   how often it first gives only a requestState
    steps    how many progress notifications each round sends, from 1 on
    """

    def __init__(self, world: World, bridge: BridgeProcess, child: str, era: Era) -> None:
        super().__init__(world, bridge, child, era)
        self.listens: dict[str, dict[str, Any]] = {}
        """The filters of open subscriptions, by the ids of their requests."""
        self.cancelled: list[str] = []
        """The ids of the requests that were cancelled."""

    def _received(self, message: Any) -> None:
        method, id, params = message.get("method"), message.get("id"), message.get("params", {})
        if not self.alive or self.hangs:
            return
        if id is not None and not all(key in params.get("_meta", {}) for key in META):
            self.methods.append(method)
            if method == "initialize" and self.behaviour.exits_on_initialize:
                self.crash()
                return
            if method != "initialize":
                self.world.violated(f"{self.child} was sent {message}, without the metadata of a request")
            self.send(id=id, error={"code": -32602, "message": "_meta is missing"})
        elif method is None or method in LEGACY_ONLY or (id is None and method != "notifications/cancelled"):
            self.world.violated(f"{self.child} was sent {message}, which its revision does not know")
        elif method == "server/discover":
            self.methods.append(method)
            self._initialized = True
            info = {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "1", "icons": []}}}
            about = {"supportedVersions": [jsonrpc.MODERN_VERSION], "capabilities": CAPABILITIES, "instructions": "Be quick."}
            self.send(id=id, result={"resultType": "complete", "ttlMs": 0, "cacheScope": "public", **about, **info})
        elif method == "subscriptions/listen":
            self.methods.append(method)
            self._listen(id, params["notifications"])
        elif method == "notifications/cancelled":
            self.cancelled.append(params["requestId"])
            self.listens.pop(params["requestId"], None)
            super()._received(message)
        else:
            super()._received(message)

    # ------------------------------------------------------------ subscriptions
    def _listen(self, id: str, wanted: dict[str, Any]) -> None:
        uris = [uri for uri in wanted.get("resourceSubscriptions", []) if not uri.startswith("refused:")]
        self.listens[id] = wanted | {"resourceSubscriptions": uris}
        self._notify(id, "notifications/subscriptions/acknowledged", notifications=self.listens[id])

    def change(self, method: str, uri: str = "") -> None:
        """Notify those who listen to it of a change."""
        for id, wanted in self.listens.items():
            if uri and uri in wanted["resourceSubscriptions"]:
                self._notify(id, method, uri=uri)
            elif not uri and wanted.get(KINDS[method]):
                self._notify(id, method)

    def end_listening(self) -> None:
        """End each subscription."""
        for id in list(self.listens):
            del self.listens[id]
            self.send(id=id, result={"resultType": "complete", "_meta": {SUBSCRIPTION: id}})

    def _notify(self, id: str, method: str, **params: Any) -> None:
        self.send(method=method, params={**params, "_meta": {SUBSCRIPTION: id}})

    # ------------------------------------------------------------ calls
    def _tool(self, id: str, params: dict[str, Any], meta: dict[str, Any]) -> None:
        arguments = params["arguments"]
        key, states, rounds = (
            arguments["key"],
            arguments.get("states", 0),
            arguments.get("rounds", int(arguments.get("ask", False))),
        )
        state, _, round = params.get("requestState", f"{key} 0").rpartition(" ")
        if state != key:
            self.world.violated(f"{self.child} was sent the state of {state} for {key}")
        for step in range(1, arguments.get("steps", 0) + 1):
            self.send(method="notifications/progress", params={"progressToken": meta["progressToken"], "progress": step})
        asked = arguments.get("inputs", 1) if int(round) > states else 0
        given = {f"q{number}": {"key": key} for number in range(asked)}
        if params.get("inputResponses", {}) != given:
            self.world.violated(f"{self.child} was given {params.get('inputResponses')} for {given}")
        if int(round) < states + rounds:
            self._ask(id, key, arguments.get("inputs", 1) if int(round) >= states else 0, int(round) + 1)
            return
        arguments = {name: value for name, value in arguments.items() if name != "ask"}
        if meta.get(LOG_LEVEL):
            self.send(method="notifications/message", params={"level": meta[LOG_LEVEL], "data": key})
        self._call(id, arguments, meta.get("progressToken"))

    def _ask(self, id: str, key: str, inputs: int, round: int) -> None:
        self.world.questions += 1
        asked = {f"q{n}": {"method": "sampling/createMessage", "params": {"key": key}} for n in range(inputs)}
        result = {"resultType": "input_required", "requestState": f"{key} {round}"} | (
            {"inputRequests": asked} if asked else {}
        )
        self.send(id=id, result=result)

"""One call of a client of either era, as a tool or a prompt sees it: its arguments, and `await call.ask(...)`.

Towards a legacy client a question is a request of the server's own. Towards a modern one it is an `input_required` result: the
handler ends there, and the retry runs it again from the start with the answers so far (specification: basic, multi round-trip
requests).
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

Context = ServerRequestContext[Any, Any]
Answers = dict[str, dict[str, Any]]
LEVELS: tuple[types.LoggingLevel, ...] = get_args(types.LoggingLevel)
RESULTS: dict[str, type[types.CreateMessageResult | types.ElicitResult | types.ListRootsResult]] = {
    "sampling/createMessage": types.CreateMessageResult,
    "elicitation/create": types.ElicitResult,
    "roots/list": types.ListRootsResult,
}
CAPABILITIES = {
    "sampling/createMessage": types.ClientCapabilities(sampling=types.SamplingCapability()),
    "elicitation/create": types.ClientCapabilities(elicitation=types.ElicitationCapability()),
    "roots/list": types.ClientCapabilities(roots=types.RootsCapability()),
}

events = InMemorySubscriptionBus()
"""Where changes are announced to modern clients that listen."""


@dataclass
class LegacyClient:
    """The settings of the one legacy client of this process."""

    level: types.LoggingLevel = "debug"
    subscribed: set[str] = field(default_factory=set)


legacy = LegacyClient()


class InputRequiredError(Exception):
    """A modern client has to answer first: ends the handler, until the retry runs it again."""

    def __init__(self, requests: types.InputRequests, state: list[Answers]) -> None:
        self.result = types.InputRequiredResult(input_requests=requests, request_state=json.dumps(state))


class Call:
    """One tools/call or prompts/get, and the client that made it."""

    def __init__(self, ctx: Context, params: types.CallToolRequestParams | types.GetPromptRequestParams) -> None:
        self.ctx = ctx
        self.modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        self.state = params.request_state
        self._arguments: dict[str, Any] = dict(params.arguments or {})
        self._answered: list[Answers] = json.loads(params.request_state or "[]")
        self._asked = 0
        self._responses = {key: dumped(answer) for key, answer in (params.input_responses or {}).items()}

    def argument(self, name: str) -> str:
        """One required argument; MCPError (invalid params) without it."""
        if name not in self._arguments:
            raise MCPError(types.INVALID_PARAMS, f"Missing argument: {name}")
        return str(self._arguments[name])

    def supports(self, request: types.InputRequest) -> bool:
        """Whether the client declared what `request` needs."""
        return self.ctx.session.check_client_capability(CAPABILITIES[request.method])

    async def ask(self, requests: types.InputRequests) -> Answers:
        """The client's answers to `requests`, by key; MCPError (missing capability) if it cannot answer.

        What a handler does before its last question is done once a round: nothing that may not be done twice belongs there.
        """
        for request in requests.values():
            if not self.supports(request):
                missing = types.MissingRequiredClientCapabilityErrorData(required_capabilities=CAPABILITIES[request.method])
                message = f"The client cannot serve {request.method}"
                raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, dumped(missing))
        if not self.modern:
            here, send = ServerMessageMetadata(related_request_id=self.ctx.request_id), self.ctx.session.send_request
            return {key: dumped(await send(asked, RESULTS[asked.method], metadata=here)) for key, asked in requests.items()}
        self._asked += 1
        if self._asked > len(self._answered):
            if not requests.keys() <= self._responses.keys():
                raise InputRequiredError(requests, self._answered)
            self._answered.append({key: self._responses[key] for key in requests})
        return self._answered[self._asked - 1]

    async def log(self, data: str) -> None:
        """An info message on this call's stream, if the client wants that level."""
        if self.modern or LEVELS.index("info") >= LEVELS.index(legacy.level):
            await self.ctx.session.send_log_message("info", data, "conformance", related_request_id=self.ctx.request_id)

    async def changed(self, event: ServerEvent, notify: Callable[[], Awaitable[None]]) -> None:
        """Announce a change to all modern clients that listen, or with `notify` to the legacy client of this process."""
        if self.modern:
            await events.publish(event)
        else:
            await notify()


def dumped(model: BaseModel) -> dict[str, Any]:
    """The model as the JSON object it is on the wire."""
    wire: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return wire

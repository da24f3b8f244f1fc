"""The names in traces and metrics: OpenTelemetry's semantic conventions (MCP, gen_ai, messaging, network) and our own."""

from __future__ import annotations

SCOPE = "mcp-fabric"
"""The instrumentation scope of all spans."""

# ---------------------------------------------------------------- resource
SERVICE_NAME = "service.name"
SERVICE_INSTANCE = "service.instance.id"
SERVICE_VERSION = "service.version"

# ---------------------------------------------------------------- MCP and gen_ai
MCP_METHOD = "mcp.method.name"
MCP_VERSION = "mcp.protocol.version"
MCP_SESSION = "mcp.session.id"
MCP_RESOURCE = "mcp.resource.uri"
REQUEST_ID = "jsonrpc.request.id"
STATUS_CODE = "rpc.response.status_code"
ERROR_TYPE = "error.type"
OPERATION = "gen_ai.operation.name"
EXECUTE_TOOL = "execute_tool"
TOOL = "gen_ai.tool.name"
PROMPT = "gen_ai.prompt.name"

# ---------------------------------------------------------------- network
CLIENT = "client.address"
SCHEME = "url.scheme"
HOST = "server.address"
TRANSPORT = "network.transport"
PROTOCOL = "network.protocol.name"

# ---------------------------------------------------------------- messaging
SYSTEM = "messaging.system"
MESSAGING_OPERATION = "messaging.operation.name"
MESSAGING_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
CONVERSATION = "messaging.message.conversation_id"
SEND = "send"
RECEIVE = "receive"
PROCESS = "process"

# ---------------------------------------------------------------- our metrics
CONNECTS = "mcp.fabric.connects"
EXCHANGES_OPEN = "mcp.fabric.exchanges.open"
EXCHANGES_FINISHED = "mcp.fabric.exchanges.finished"
JOBS_FINISHED = "mcp.fabric.jobs.finished"
SESSIONS = "mcp.fabric.sessions"
PROCESSES = "mcp.fabric.processes"

# ---------------------------------------------------------------- our attributes
SERVER = "mcp.fabric.server"
STATE = "mcp.fabric.state"
PEER = "mcp.fabric.peer"
RETRY = "mcp.fabric.retry"
ATTEMPT = "mcp.fabric.attempt"
"""The number of the exchange's sending; absent for the first."""


def mcp_span(method: str, target: str) -> str:
    """A span's name: `{mcp.method.name} {tool or prompt}`, or the method alone if it names neither."""
    return f"{method} {target}" if target else method


def messaging_span(operation: str, destination: str) -> str:
    """A span's name: `{operation} {destination}`."""
    return f"{operation} {destination}"

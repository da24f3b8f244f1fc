"""The server that the MCP conformance suites expect, over stdio, for clients of every revision.

The suites of @modelcontextprotocol/conformance call tools, prompts and resources by name and speak only HTTP; this is the stdio
server behind them. A process serves one connection: a legacy client by initialize, or modern ones by each request's metadata.

    python conformance.py                    serve stdin and stdout
    python conformance.py --http 8000        the SDK's own Streamable HTTP, to compare with
"""

import argparse
import json
import warnings
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from conformance_tools import PNG, STRING, WATCHED, elicitation, embedded, image, text, tools
from conversation import Call, Context, InputRequiredError, events, legacy

NAME, VERSION = "conformance", "1.0.0"


def prompt(name: str, description: str, *arguments: str) -> types.Prompt:
    """A prompt whose arguments are all required."""
    required = [types.PromptArgument(name=argument, description=argument, required=True) for argument in arguments]
    return types.Prompt(name=name, description=description, arguments=required or None)


PROMPTS = [
    prompt("test_simple_prompt", "A prompt without arguments"),
    prompt("test_prompt_with_arguments", "A prompt with two arguments", "arg1", "arg2"),
    prompt("test_prompt_with_embedded_resource", "A prompt that carries a resource", "resourceUri"),
    prompt("test_prompt_with_image", "A prompt that carries an image"),
    prompt("test_input_required_result_prompt", "A prompt that asks its user first"),
]
RESOURCES = [
    types.Resource(uri="test://static-text", name="static-text", description="A text", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", description="An image", mime_type="image/png"),
    types.Resource(uri=WATCHED, name="watched-resource", description="To subscribe to", mime_type="text/plain"),
]
TEMPLATE = types.ResourceTemplate(
    uri_template="test://template/{id}/data", name="template", description="Data by id", mime_type="application/json"
)


async def prompt_content(call: Call, name: str) -> list[types.ContentBlock]:
    """The content of the prompt `name`; MCPError (invalid params) for an unknown one."""
    match name:
        case "test_simple_prompt":
            return [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            return [text(f"Prompt with arguments: arg1='{call.argument('arg1')}', arg2='{call.argument('arg2')}'")]
        case "test_prompt_with_embedded_resource":
            resource = embedded(call.argument("resourceUri"), "Embedded resource content for testing.", "text/plain")
            return [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [image(), text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            answers = await call.ask({"user_context": elicitation("What context should the prompt use?", {"context": STRING})})
            return [text(f"Use this context: {answers['user_context'].get('content', {}).get('context')}")]
    raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {name}")


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[offer.tool for offer in tools.values()])


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    if params.name not in tools:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    try:
        return types.CallToolResult(content=await tools[params.name].run(Call(ctx, params)))
    except InputRequiredError as required:
        return required.result
    except RuntimeError as failure:
        return types.CallToolResult(content=[text(str(failure))], is_error=True)


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=PROMPTS)


async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    try:
        content = await prompt_content(Call(ctx, params), params.name)
    except InputRequiredError as required:
        return required.result
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=block) for block in content])


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=RESOURCES)


async def list_templates(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(resource_templates=[TEMPLATE])


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri, plain = params.uri, "text/plain"
    content: types.TextResourceContents | types.BlobResourceContents
    match uri.removeprefix("test://").split("/"):
        case ["static-text"]:
            content = types.TextResourceContents(
                uri=uri, mime_type=plain, text="This is the content of the static text resource."
            )
        case ["static-binary"]:
            content = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
        case ["watched-resource"]:
            content = types.TextResourceContents(uri=uri, mime_type=plain, text="Watched resource content")
        case ["template", ident, "data"]:
            data = json.dumps({"id": ident, "templateTest": True, "data": f"Data for ID: {ident}"}, separators=(",", ":"))
            content = types.TextResourceContents(uri=uri, mime_type="application/json", text=data)
        case _:
            raise MCPError(types.INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
    return types.ReadResourceResult(contents=[content])


async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    legacy.subscribed.add(params.uri)
    return types.EmptyResult()


async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    legacy.subscribed.discard(params.uri)
    return types.EmptyResult()


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    legacy.level = params.level
    return types.EmptyResult()


def input_schema(name: str) -> dict[str, Any] | None:
    """A tool's input schema, by which the SDK checks mirrored headers."""
    return tools[name].tool.input_schema if name in tools else None


def build() -> Server[Any]:
    """The server, ready to run on any transport of the SDK."""
    lists: CacheHint = CacheHint(ttl_ms=60_000, scope="public")
    server: Server[Any] = Server(
        NAME,
        version=VERSION,
        title="MCP conformance",
        instructions="Everything the conformance suites ask for.",
        cache_hints={"tools/list": lists, "prompts/list": lists, "resources/list": lists, "resources/templates/list": lists},
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(events),
        on_completion=complete,
        on_set_logging_level=set_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one connection until stdin ends."""
    changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options(changes))


def main() -> None:
    """Serve stdio, or HTTP with `--http`."""
    parser = argparse.ArgumentParser(description="The server that the MCP conformance suites expect.")
    parser.add_argument("--http", type=int, metavar="PORT", help="serve the SDK's own Streamable HTTP on this loopback port")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # the older revisions are served on purpose
    server = build()
    if arguments.http is None:
        anyio.run(serve_stdio, server)
    else:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=arguments.http, access_log=False)


if __name__ == "__main__":
    main()

"""The tools that the conformance suites call, each with the texts that the suites' descriptions ask for."""

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
from mcp.server.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged

from conversation import Call, legacy

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # one red pixel
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="  # one silent sample
PAUSE = 0.05  # seconds between notifications, so that a client sees them arrive one by one
WATCHED = "test://watched-resource"


ToolHandler = Callable[[Call], Awaitable[list[types.ContentBlock]]]


@dataclass(frozen=True)
class Offer:
    """A tool and what runs it."""

    tool: types.Tool
    run: ToolHandler


tools: dict[str, Offer] = {}


def tool(
    description: str, *, read_only: bool = False, takes: tuple[str, ...] = (), schema: dict[str, Any] | None = None
) -> Callable[[ToolHandler], ToolHandler]:
    """Offer the decorated function as a tool of its own name; `takes` are its required string arguments."""
    accepted = schema or {"type": "object", "properties": {n: {"type": "string"} for n in takes}, "required": list(takes)}

    def register(run: ToolHandler) -> ToolHandler:
        name = getattr(run, "__name__", description)
        hints = types.ToolAnnotations(read_only_hint=True) if read_only else None
        offered = types.Tool(name=name, description=description, input_schema=accepted, annotations=hints)
        tools[name] = Offer(offered, run)
        return run

    return register


def text(value: str) -> types.TextContent:
    """A text block."""
    return types.TextContent(text=value)


def embedded(uri: str, value: str, mime_type: str) -> types.EmbeddedResource:
    """A resource block that carries its text."""
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, text=value, mime_type=mime_type))


def image() -> types.ImageContent:
    """An image block: one red pixel."""
    return types.ImageContent(data=PNG, mime_type="image/png")


@tool("Returns one text", read_only=True)
async def test_simple_text(call: Call) -> list[types.ContentBlock]:
    return [text("This is a simple text response for testing.")]


@tool("Returns one image", read_only=True)
async def test_image_content(call: Call) -> list[types.ContentBlock]:
    return [image()]


@tool("Returns one sound", read_only=True)
async def test_audio_content(call: Call) -> list[types.ContentBlock]:
    return [types.AudioContent(data=WAV, mime_type="audio/wav")]


@tool("Returns one embedded resource", read_only=True)
async def test_embedded_resource(call: Call) -> list[types.ContentBlock]:
    return [embedded("test://embedded-resource", "This is an embedded resource content.", "text/plain")]


@tool("Returns text, image and resource together", read_only=True)
async def test_multiple_content_types(call: Call) -> list[types.ContentBlock]:
    data = json.dumps({"test": "data", "value": 123}, separators=(",", ":"))
    return [text("Multiple content types test:"), image(), embedded("test://mixed-content-resource", data, "application/json")]


@tool("Always fails", read_only=True)
async def test_error_handling(call: Call) -> list[types.ContentBlock]:
    raise RuntimeError("This tool intentionally returns an error for testing")


@tool("Logs three messages while it runs")
async def test_tool_with_logging(call: Call) -> list[types.ContentBlock]:
    await call.log("Tool execution started")
    await anyio.sleep(PAUSE)
    await call.log("Tool processing data")
    await anyio.sleep(PAUSE)
    await call.log("Tool execution completed")
    return [text("Tool with logging executed successfully")]


@tool("Logs one message")
async def test_logging_tool(call: Call) -> list[types.ContentBlock]:
    await call.log("Logging tool executed")
    return [text("Logging tool executed")]


@tool("Reports its progress three times")
async def test_tool_with_progress(call: Call) -> list[types.ContentBlock]:
    for progress in (0, 50, 100):
        await call.ctx.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        if progress < 100:
            await anyio.sleep(PAUSE)
    return [text("Tool with progress executed successfully")]


@tool("Closes the stream of its own call and answers on the next one, where the transport can")
async def test_reconnection(call: Call) -> list[types.ContentBlock]:
    if call.ctx.close_sse_stream:
        await call.ctx.close_sse_stream()
    await anyio.sleep(2 * PAUSE)
    return [text("Reconnection test completed successfully")]


@tool("Takes one argument that HTTP clients mirror in a header", read_only=True, schema={
    "type": "object",
    "properties": {"region": {"type": "string", "description": "Where to run", "x-mcp-header": "Region"}},
    "required": ["region"],
})  # fmt: skip
async def test_x_mcp_header(call: Call) -> list[types.ContentBlock]:
    return [text(f"region: {call.argument('region')}")]


@tool("Tool with JSON Schema 2020-12 features", read_only=True, schema={
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
})  # fmt: skip
async def json_schema_2020_12_tool(call: Call) -> list[types.ContentBlock]:
    return [text("JSON Schema 2020-12 tool called")]


@tool("Announces that the list of tools changed")
async def test_trigger_tool_change(call: Call) -> list[types.ContentBlock]:
    await call.changed(ToolsListChanged(), call.ctx.session.send_tool_list_changed)
    return [text("Tool list change announced")]


@tool("Announces that the list of prompts changed")
async def test_trigger_prompt_change(call: Call) -> list[types.ContentBlock]:
    await call.changed(PromptsListChanged(), call.ctx.session.send_prompt_list_changed)
    return [text("Prompt list change announced")]


@tool("Announces that the watched resource was updated, to those who subscribed to it")
async def test_trigger_resource_update(call: Call) -> list[types.ContentBlock]:
    async def notify() -> None:
        if WATCHED in legacy.subscribed:
            await call.ctx.session.send_resource_updated(WATCHED)

    await call.changed(ResourceUpdated(uri=WATCHED), notify)
    return [text("Resource update announced")]


@tool("Returns the caller's token, this process, the client and its protocol revision", takes=("token",))
async def test_identity(call: Call) -> list[types.ContentBlock]:
    client = call.ctx.session.client_params
    return [text(json.dumps({
        "token": call.argument("token"),
        "pid": os.getpid(),
        "client": client.client_info.name if client else None,
        "protocolVersion": call.ctx.protocol_version,
    }))]  # fmt: skip


# ---------------------------------------------------------------- tools that ask their client


def elicitation(message: str, properties: dict[str, Any], required: tuple[str, ...] | None = None) -> types.ElicitRequest:
    """A request for a form; every property is required unless `required` says otherwise."""
    schema = {"type": "object", "properties": properties, "required": list(properties if required is None else required)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(prompt: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    """A request for one completion."""
    message = types.SamplingMessage(role="user", content=text(prompt))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


STRING, NAMED = {"type": "string"}, {"name": {"type": "string"}}
CONFIRM = elicitation("Please confirm", {"ok": {"type": "boolean"}})


def outcome(answer: dict[str, Any]) -> str:
    """An elicitation's answer in the form that the suites expect."""
    return f"action={answer['action']}, content={json.dumps(answer.get('content', {}))}"


@tool("Asks the client's model", takes=("prompt",))
async def test_sampling(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({"sample": sampling(call.argument("prompt"))})
    return [text(f"LLM response: {answers['sample']['content']['text']}")]


@tool("Needs a client that can sample")
async def test_missing_capability(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({"sample": sampling("Say anything")})
    return [text(f"LLM response: {answers['sample']['content']['text']}")]


@tool("Asks the user for a name and an address", takes=("message",))
async def test_elicitation(call: Call) -> list[types.ContentBlock]:
    user = {"type": "string", "description": "User's response"}, {"type": "string", "description": "User's email address"}
    form = elicitation(call.argument("message"), {"username": user[0], "email": user[1]})
    return [text(f"User response: {outcome((await call.ask({'user': form}))['user'])}")]


@tool("Asks the user while its stream is open")
async def test_streaming_elicitation(call: Call) -> list[types.ContentBlock]:
    await call.ctx.session.report_progress(0, 1)
    return [text(f"User response: {outcome((await call.ask({'confirm': CONFIRM}))['confirm'])}")]


@tool("Asks with a default for every primitive type")
async def test_elicitation_sep1034_defaults(call: Call) -> list[types.ContentBlock]:
    form = elicitation("Please review and update the form fields with defaults", {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    }, required=())  # fmt: skip
    return [text(f"Elicitation completed: {outcome((await call.ask({'form': form}))['form'])}")]


@tool("Asks with every kind of enumeration")
async def test_elicitation_sep1330_enums(call: Call) -> list[types.ContentBlock]:
    plain, ordinals = ["option1", "option2", "option3"], ("First", "Second", "Third")
    options, choices = (
        [{"const": f"value{n}", "title": f"{ordinal} {kind}"} for n, ordinal in enumerate(ordinals, 1)]
        for kind in ("Option", "Choice")
    )
    form = elicitation("Please select options from the enumerations", {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": options},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": choices}},
    }, required=())  # fmt: skip
    return [text(f"Elicitation completed: {outcome((await call.ask({'form': form}))['form'])}")]


@tool("Asks for a name, and greets")
async def test_input_required_result_elicitation(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({"user_name": elicitation("What is your name?", NAMED)})
    return [text(f"Hello, {answers['user_name'].get('content', {}).get('name', 'stranger')}!")]


@tool("Asks the client's model for a capital")
async def test_input_required_result_sampling(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({"capital_question": sampling("What is the capital of France?")})
    return [text(answers["capital_question"]["content"]["text"])]


@tool("Asks for the client's roots")
async def test_input_required_result_list_roots(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({"client_roots": types.ListRootsRequest(params=types.RequestParams())})
    return [text("Roots: " + ", ".join(root["uri"] for root in answers["client_roots"]["roots"]))]


@tool("Asks, and says whether its state came back")
async def test_input_required_result_request_state(call: Call) -> list[types.ContentBlock]:
    await call.ask({"confirm": CONFIRM})
    return [text("state-missing" if call.modern and call.state is None else "state-ok")]


@tool("Asks, and trusts only the state it sealed")
async def test_input_required_result_tampered_state(call: Call) -> list[types.ContentBlock]:
    return await test_input_required_result_request_state(call)


@tool("Asks for three different things at once")
async def test_input_required_result_multiple_inputs(call: Call) -> list[types.ContentBlock]:
    answers = await call.ask({
        "user_name": elicitation("What is your name?", NAMED),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(params=types.RequestParams()),
    })  # fmt: skip
    name, roots = answers["user_name"].get("content", {}).get("name"), len(answers["client_roots"]["roots"])
    return [text(f"{answers['greeting']['content']['text']} {name}, {roots} roots")]


@tool("Asks twice, one question after the other")
async def test_input_required_result_multi_round(call: Call) -> list[types.ContentBlock]:
    first = await call.ask({"step1": elicitation("Step 1: What is your name?", NAMED)})
    second = await call.ask({"step2": elicitation("Step 2: What is your favorite color?", {"color": STRING})})
    name, color = first["step1"].get("content", {}).get("name"), second["step2"].get("content", {}).get("color")
    return [text(f"{name} likes {color}")]


@tool("Asks only what the client declared that it can answer")
async def test_input_required_result_capabilities(call: Call) -> list[types.ContentBlock]:
    questions: types.InputRequests = {"confirm": CONFIRM, "greeting": sampling("Generate a greeting")}
    asked = {key: request for key, request in questions.items() if call.supports(request)}
    return [text("Asked: " + ", ".join(sorted(await call.ask(asked) if asked else [])))]

"""The configuration file as it may be written: its keys, their types, bounds and meaning.

It is an ordinary `mcpServers` file as MCP hosts have it, with a `fabric` key and with mcp-server-runner's `defaultServer`,
`host` and `port`. files/hosts.py removes the keys that only hosts know before the file is checked; all other unknown keys are
refused. docs/config.schema.json is made from these models.
"""

from __future__ import annotations

import json

from pydantic import ConfigDict, Field

from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.section import Section, open_to_hosts
from fabric.config.schema.server import ServerSection
from fabric.config.schema.value_types import Name, Port, Word


class ConfigFile(Section):
    """The whole file."""

    model_config = ConfigDict(json_schema_extra=open_to_hosts)

    json_schema: str | None = Field(default=None, alias="$schema")
    """The URL where editors find this schema."""
    mcp_servers: dict[Name, ServerSection] = Field(default={})
    """The MCP servers by name."""
    default_server: Word | None = None
    """The server that /mcp means; if there is only one server, that one."""
    host: Word | None = None
    """The host to listen on, as in mcp-server-runner's files; `fabric.http` does the same."""
    port: Port | None = None
    """The port to listen on, as in mcp-server-runner's files."""
    fabric: FabricSection = FabricSection()
    """How the fabric runs."""


def json_schema_text() -> str:
    """The JSON Schema of the file, as it is published at docs/config.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ConfigFile.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"

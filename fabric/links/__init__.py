"""One file a transport: how JSON-RPC frames reach clients and MCP servers."""

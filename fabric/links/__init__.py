"""Links carry JSON-RPC frames to clients and to MCP servers: a folder or a file for each transport.

base.py is their contract. Above this package, fabric/runtime and the workers open links and listeners by registry.py. Below it
are fabric/mcp (what a frame is) and fabric/security.
"""

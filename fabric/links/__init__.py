"""Links carry JSON-RPC frames to clients and to MCP servers: a folder or a file for each transport.

Above them: fabric/runtime, by way of registry.py. base.py is their contract.
"""

"""MCP Transport Fabric: a distributed transport for the Model Context Protocol."""

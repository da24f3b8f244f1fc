"""Reads configuration files: JSON as people and MCP hosts write it, with variables; and what stands in for a file."""

"""Reads configuration files: JSON as people and MCP hosts write it, with variables in it."""

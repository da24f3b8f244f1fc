"""The commands that ask a running fabric: ls, tools, resources, prompts, call, restart; and the MCP client that they use.

Their options are in workers/commands/asking.py.
"""

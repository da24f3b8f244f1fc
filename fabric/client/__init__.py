"""The Python API: clients of MCP servers (`fabric.connect`, `fabric.join`), and server objects in a fabric (`fabric.serve`).

Above it: programs of users. Below it: the runtime, links and configuration. It alone imports the MCP SDK. Like the workers, it
reads the environment.
"""

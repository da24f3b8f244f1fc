"""The Python API: clients of MCP servers, through a fabric or straight to a server; `fabric.connect` and `fabric.join`.

Above it: programs of users. Below it: the runtime, links and configuration. It alone imports the MCP SDK. Like the workers, it
reads the environment.
"""

"""The program `mcp-fabric`: the command line, and what each command runs. No package below reads the environment.

commands/ has the arguments and options of all commands. The commands themselves are in serving/ (up, edge, bridge, connect),
asking/ (ls, tools, resources, prompts, call, restart) and checking/ (doctor, transports, config). They share answering/,
tools/, process/ and screen/. Below: fabric/config and fabric/runtime.
"""

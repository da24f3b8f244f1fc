"""MCP over stdio: servers as child processes, and this process's own stdin and stdout.

server.py is the link to a server, whose process may be that of a container (container.py), and own_streams.py the link to a
client. processes.py starts child processes by keeper.py.
"""

"""Speakers: each translates between one process of a server, in the era that it speaks, and its clients, of either era.

Above it: jobs, sessions and server_events, which write the frames that a Speaker returns and act on the meanings that it finds.
Below it: fabric/mcp.
"""

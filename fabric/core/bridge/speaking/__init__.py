"""Speakers: how a bridge talks with one process of a server, in the era that the process speaks, for clients of either era.

Above it: jobs, sessions and processes, which write the frames that a Speaker returns and carry out what it has heard.
Below it: fabric/mcp.
"""

"""Frames between a client of one era and a server of the other, as pure functions: each value that passes keeps its bytes.

Above it: the Speakers across eras. Below it: the rest of fabric/mcp.
"""

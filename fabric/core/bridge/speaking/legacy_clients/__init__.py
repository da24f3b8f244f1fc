"""Speakers of a modern server's processes for legacy clients: one keeps what such a server forgets, one finds out whether to.

Above it: the choice of a Speaker. Below it: the other Speakers, and fabric/mcp/across_eras.
"""

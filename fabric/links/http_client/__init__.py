"""Links to remote MCP servers over Streamable HTTP, both eras, and HTTP+SSE.

link.py is the link; connection_pool.py, below it, is the only file that imports aiohttp.
"""

"""Links over any byte stream: stdio, sockets, WebSockets and the pair in memory are connected in the same way.

Neither half of a link knows descriptors or sockets. `Source` (incoming.py) and `Sink` (outgoing.py) are the parts of asyncio's
transports that they use.
"""

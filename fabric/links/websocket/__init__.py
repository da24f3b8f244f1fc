"""WebSockets: frames, handshakes, the link over an open connection, and the client.

Above it: fabric/links/http, which upgrades connections to WebSockets.
"""

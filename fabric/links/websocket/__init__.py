"""WebSockets: frames, handshakes, an open connection as a link, and the client side.

Above it: fabric/links/http, which upgrades connections to these.
"""

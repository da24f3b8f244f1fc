"""How an edge meets its clients: HTTP requests and long links, and the links whose clients are slow.

Above it: the edge's core. Below it: routing, which sends a request on its way, and correlation, which says what came of it.
"""

"""The clients of an edge: HTTP requests and long links, and the links whose clients are slow.

Above it: the edge's core. Below it: routing, which sends their requests, and correlation, which calls their askers.
"""

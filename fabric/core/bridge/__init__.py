"""Decides for servers: which process runs which work, and what is said of it.

Above it: fabric/runtime/bridge.py. Below it: peers. It knows nothing of fabric/core/edge.
"""

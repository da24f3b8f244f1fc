"""Decides for clients: which request becomes which exchange, where it goes, and what its client is told.

Above it: fabric/runtime/edge.py. Below it: peers. It knows nothing of fabric/core/bridge.
"""

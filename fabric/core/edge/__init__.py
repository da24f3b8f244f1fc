"""The decisions about clients: which exchange a request becomes, where it goes, and how its client is answered.

Above it: fabric/runtime/edge.py. Below it: peers. It knows nothing of fabric/core/bridge.
"""

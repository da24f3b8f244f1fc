"""How two incarnations talk: lanes, leases and announcements. Clients and servers are unknown here.

Above it: the cores of edge and bridge, and the observer's beside it. Below it: events, effects, the envelope.
"""
